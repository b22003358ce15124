//! How a run begins: which accounts and regions must be read, and as whom.
//!
//! The expected cells are known before anything is read in them: an account whose role cannot be assumed is unread, not absent, and where a
//! list of accounts or regions could not be read to its end, a cell that stands for the rest is unread too.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, PoisonError},
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::{
    config::{Accounts, AwsConfig, Organization, Regions},
    credentials::Who,
    session::{Connection, ORGANIZATION},
};
use crate::{
    contract::{Answer, Context},
    declared::system::{Ask, Asked, Cell, Expected, LeftOut, SCOPE, Scope},
    recorder::Draft,
};

/// The calls by which the scope is found out. They need permissions as those of collectors do.
pub const CALLS: [&str; 4] = [
    "ec2.DescribeRegions",
    "organizations.DescribeOrganization",
    "organizations.ListAccounts",
    "sts.GetCallerIdentity",
];

const SOURCE: &str = "source";
const ACCOUNTS: &str = "accounts";
const REGIONS: &str = "accounts x regions";

/// A scope with how it was found out.
pub(super) struct FoundOut {
    pub scope: Scope,
    /// In the order of asking.
    pub answers: Vec<Asked>,
    /// What a person may want to know, for the run's log.
    pub notes: Vec<String>,
}

impl FoundOut {
    /// Of these kinds nothing is expected yet; others are not asked about.
    fn new(kinds: &BTreeSet<String>) -> Self {
        let cells = kinds.iter().map(|kind| (kind.clone(), Vec::new())).collect();
        Self { scope: Scope { cells, left_out: Vec::new() }, answers: Vec::new(), notes: Vec::new() }
    }

    fn wants(&self, kind: &str) -> bool {
        self.scope.cells.contains_key(kind)
    }

    fn expect(&mut self, kind: &str, cell: Cell, unread: Option<String>) {
        if let Some(cells) = self.scope.cells.get_mut(kind) {
            cells.push(Expected { cell, unread });
        }
    }

    fn leave_out(&mut self, cell: Cell, why: String) {
        self.scope.left_out.push(LeftOut { cell, why });
    }

    /// Of every kind there is something that nothing is known of.
    fn unread_everywhere(&mut self, why: &str) {
        for cells in self.scope.cells.values_mut() {
            cells.push(Expected { cell: Cell::default(), unread: Some(why.to_owned()) });
        }
    }

    /// Keeps the scope, and after it how it was found out.
    pub(super) fn keep(
        self,
        context: &mut Context<'_>,
        began_at: DateTime<Utc>,
        request: Value,
    ) -> std::io::Result<Scope> {
        let all = self.scope.cells.values().flatten();
        let (all, unread) =
            all.fold((0, 0), |(all, unread), cell| (all + 1, unread + usize::from(cell.unread.is_some())));
        let left_out = self.scope.left_out.len();
        let draft = Draft {
            ended_at: (context.now)(),
            answer: Answer::Ok,
            detail: format!("{all} cells, {unread} of them cannot be read, {left_out} left out"),
            end: Some("the whole scope".into()),
            ..Draft::new(SCOPE, request, "the agent", began_at)
        };
        let body = serde_json::to_vec_pretty(&self.scope)?;
        context.recorder.record(draft, "json", Some(&body))?;
        for asked in self.answers {
            context.recorder.record(asked.draft, asked.extension, asked.body.as_deref())?;
        }
        for note in self.notes {
            context.recorder.note(&note)?;
        }
        Ok(self.scope)
    }
}

/// Everything is unread, for one reason: nothing can be asked at all.
pub(super) fn unread(config: &AwsConfig, kinds: &BTreeSet<String>, why: &str) -> FoundOut {
    let mut found = FoundOut::new(kinds);
    let Some(Accounts::Given(accounts)) = &config.accounts else {
        found.unread_everywhere(why);
        return found;
    };
    found.expect(SOURCE, Cell::default(), Some(why.to_owned()));
    for account in accounts {
        unread_account(&mut found, config, account, why);
    }
    found
}

fn unread_account(found: &mut FoundOut, config: &AwsConfig, account: &str, why: &str) {
    found.expect(ACCOUNTS, of_account(account), Some(why.to_owned()));
    match &config.regions {
        Regions::Enabled => found.expect(REGIONS, of_account(account), Some(why.to_owned())),
        Regions::Given(regions) => {
            for region in regions {
                found.expect(REGIONS, of_region(account, region), Some(why.to_owned()));
            }
        }
    }
}

fn of_account(account: &str) -> Cell {
    Cell::new([("account", account)])
}

fn of_region(account: &str, region: &str) -> Cell {
    Cell::new([("account", account), ("region", region)])
}

/// Finds out the cells of these kinds, and asks no more than that takes.
pub(super) async fn find_out(connection: &Arc<Connection>, kinds: &BTreeSet<String>) -> FoundOut {
    let config = connection.config.clone();
    let mut found = FoundOut::new(kinds);
    let accounts: Vec<Listed> = match &config.accounts {
        Some(Accounts::Given(accounts)) => accounts.iter().map(|account| Listed::active(account)).collect(),
        Some(Accounts::Organization(organization)) => of_organization(connection, organization, &mut found).await,
        None => match own_account(connection, &mut found).await {
            Ok(account) => vec![account],
            Err(why) => {
                found.unread_everywhere(&why);
                return found;
            }
        },
    };
    let of_organization = config.organization().is_some();
    if of_organization && !found.wants(ACCOUNTS) && !found.wants(REGIONS) {
        return found;
    }
    let wants_regions = found.wants(REGIONS);
    let asked = accounts.clone().into_iter();
    let asked = asked.map(|account| read_account(connection.clone(), account, wants_regions));
    let readings: Vec<Reading> = stream::iter(asked).buffered(usize::from(config.parallel).max(1)).collect().await;
    let first = readings.iter().find(|reading| reading.unread.is_none()).map(|reading| reading.account.clone());
    for reading in readings {
        reading.into_cells(&config, &mut found);
    }
    if !of_organization && found.wants(SOURCE) {
        let cells: Vec<&str> = accounts.iter().map(|account| account.id.as_str()).collect();
        source_without_organization(connection, first, &cells, &mut found).await;
    }
    found
}

/// An account that must be read.
#[derive(Debug, Clone)]
struct Listed {
    id: String,
    /// Why nothing can be asked in it.
    inactive: Option<String>,
    /// Whether the credentials said already that they are its own.
    is_identified: bool,
}

impl Listed {
    fn active(id: &str) -> Self {
        Self { id: id.to_owned(), inactive: None, is_identified: false }
    }
}

/// The account that the credentials, or the one role, are of.
async fn own_account(connection: &Arc<Connection>, found: &mut FoundOut) -> Result<Listed, String> {
    if let Some(role) = &connection.config.role {
        return role.split(':').nth(4).map(Listed::active).ok_or_else(|| format!("{role} names no account"));
    }
    if let Err(none) = connection.issuer.get(&Who::Itself, &[]).await {
        return Err(none.text);
    }
    let (asked, identity) = identify(connection, &Who::Itself, Cell::default()).await;
    let arn = asked.draft.caller.clone();
    found.answers.push(asked);
    let identity = identity.map_err(|why| format!("whose the credentials are is not known: {why}"))?;
    let mut callers = connection.callers.lock().unwrap_or_else(PoisonError::into_inner);
    callers.insert(Who::Account(identity.account.clone()), arn);
    Ok(Listed { is_identified: true, ..Listed::active(&identity.account) })
}

/// The accounts of the organisation, with its own cell.
async fn of_organization(
    connection: &Arc<Connection>,
    organization: &Organization,
    found: &mut FoundOut,
) -> Vec<Listed> {
    let mut rows: Vec<Value> = Vec::new();
    let cut = match connection.issuer.get(&Who::Discovery, &[]).await {
        Err(none) => Some(none.text),
        Ok(_) => {
            let (asked, identity) = identify(connection, &Who::Discovery, Cell::default()).await;
            found.answers.push(asked);
            match identity {
                Err(why) => Some(why),
                Ok(identity) if !organization.role.contains(&format!(":{}:", identity.account)) => {
                    Some(format!("the role {} answers for another account, {}", organization.role, identity.account))
                }
                Ok(_) => list_accounts(connection, &mut rows, found).await,
            }
        }
    };
    if let Some(why) = &cut {
        found.unread_everywhere(&format!("the organisation's list of accounts was not read to its end: {why}"));
    }
    // arn:aws:organizations::<management account>:account/<organisation>/<account>
    let arn = rows.iter().find_map(|row| row["Arn"].as_str()).unwrap_or_default();
    let management = arn.split(':').nth(4).map(str::to_owned).filter(|account| !account.is_empty());
    let id = arn.split('/').nth(1).map(str::to_owned);
    if let Some((account, id)) = management.clone().zip(id) {
        found.expect(SOURCE, Cell::new([("account", &account), (ORGANIZATION, &id)]), None);
    } else if cut.is_none() {
        found.unread_everywhere("the organisation's list of accounts is empty, which cannot be");
    }
    *connection.issuer.management.lock().unwrap_or_else(PoisonError::into_inner) = management;
    let mut accounts = Vec::new();
    for row in &rows {
        let Some(id) = row["Id"].as_str() else {
            found.unread_everywhere("the organisation lists an account without an id");
            continue;
        };
        match organization.except.iter().find(|except| except.account == id) {
            Some(except) => found.leave_out(of_account(id), format!("by the configuration: {}", except.reason)),
            None => accounts.push(Listed { inactive: inactive(row), ..Listed::active(id) }),
        }
    }
    for except in &organization.except {
        if cut.is_none() && !rows.iter().any(|row| row["Id"] == except.account.as_str()) {
            found.notes.push(format!(
                "accounts.organization.except names {}, which the organisation does not list",
                except.account
            ));
        }
    }
    accounts
}

/// Why nothing can be asked in an account, by its state.
fn inactive(row: &Value) -> Option<String> {
    let state = row["State"].as_str().or_else(|| row["Status"].as_str()).unwrap_or_default();
    let says = match state {
        "ACTIVE" | "" => return None,
        "SUSPENDED" => "it is suspended",
        "PENDING_CLOSURE" => "it is being closed",
        "CLOSED" => "it is closed",
        "PENDING_ACTIVATION" => "it is not activated yet",
        _ => "it is not active",
    };
    Some(format!("the organisation says of the account: {state}; {says}, and nothing can be asked in it"))
}

/// Reads all pages. Gives why they end too early.
async fn list_accounts(connection: &Arc<Connection>, rows: &mut Vec<Value>, found: &mut FoundOut) -> Option<String> {
    let (mut token, mut seen, mut page) = (None::<String>, HashSet::new(), 1);
    loop {
        let mut parameters = Map::new();
        parameters.extend(token.take().map(|token| ("NextToken".to_owned(), token.into())));
        let ask = ask("scope.accounts", "organizations.ListAccounts", Cell::default(), parameters, page);
        let mut asked = connection.ask(&Who::Discovery, &ask).await;
        asked.draft.page = Some(page);
        let next = match &asked.decoded {
            Some(answer) if answer["Accounts"].is_array() => {
                rows.extend(answer["Accounts"].as_array().into_iter().flatten().cloned());
                Ok(answer["NextToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned))
            }
            Some(_) => Err("the answer has no list of accounts".to_owned()),
            None => Err(asked.draft.detail.clone()),
        };
        let ended = match next {
            Err(why) => Some(Some(why)),
            Ok(None) => {
                asked.draft.end = Some("no NextToken".into());
                Some(None)
            }
            Ok(Some(next)) if !seen.insert(next.clone()) => Some(Some("its pages go in circles".to_owned())),
            Ok(Some(next)) => {
                token = Some(next);
                None
            }
        };
        found.answers.push(asked);
        if let Some(why) = ended {
            return why;
        }
        page += 1;
    }
}

/// What an account said of itself.
struct Reading {
    account: String,
    answers: Vec<Asked>,
    /// Why nothing can be asked in it.
    unread: Option<String>,
    /// Its regions with what they are to it: `opted-in`, `not-opted-in` …; or why they are not known.
    regions: Result<BTreeMap<String, String>, String>,
}

async fn read_account(connection: Arc<Connection>, listed: Listed, wants_regions: bool) -> Reading {
    let account = listed.id;
    let mut reading = Reading {
        account: account.clone(),
        answers: Vec::new(),
        unread: listed.inactive,
        regions: Ok(BTreeMap::new()),
    };
    if reading.unread.is_some() {
        return reading;
    }
    let who = Who::Account(account.clone());
    if let Err(none) = connection.issuer.get(&who, &[]).await {
        reading.unread = Some(none.text);
        return reading;
    }
    let identity = match listed.is_identified {
        true => Ok(Identity { account: account.clone() }),
        false => {
            let (asked, identity) = identify(&connection, &who, of_account(&account)).await;
            reading.answers.push(asked);
            identity
        }
    };
    reading.unread = match identity {
        Err(why) => Some(format!("whose the credentials are is not known: {why}")),
        Ok(identity) if identity.account != account => {
            let role = connection.issuer.role(&who);
            let what = role.map_or("the credentials answer".to_owned(), |role| format!("the role {role} answers"));
            Some(format!("{what} for another account, {}", identity.account))
        }
        Ok(_) => None,
    };
    if reading.unread.is_none() && wants_regions {
        let parameters = Map::from_iter([("AllRegions".to_owned(), true.into())]);
        let ask = ask("scope.regions", "ec2.DescribeRegions", of_account(&account), parameters, 1);
        let mut asked = connection.ask(&who, &ask).await;
        reading.regions = match &asked.decoded {
            None => Err(asked.draft.detail.clone()),
            Some(answer) => regions(answer),
        };
        asked.draft.end = reading.regions.is_ok().then(|| "one answer".to_owned());
        reading.answers.push(asked);
    }
    reading
}

fn regions(answer: &Value) -> Result<BTreeMap<String, String>, String> {
    let rows = answer["Regions"].as_array().filter(|rows| !rows.is_empty()).ok_or("the answer names no region")?;
    let row = |row: &Value| {
        let name = row["RegionName"].as_str().ok_or("the answer has a region without a name")?;
        Ok((name.to_owned(), row["OptInStatus"].as_str().unwrap_or("opt-in-not-required").to_owned()))
    };
    rows.iter().map(row).collect()
}

impl Reading {
    fn into_cells(self, config: &AwsConfig, found: &mut FoundOut) {
        let account = self.account;
        found.answers.extend(self.answers);
        if let Some(why) = &self.unread {
            return unread_account(found, config, &account, why);
        }
        found.expect(ACCOUNTS, of_account(&account), None);
        if !found.wants(REGIONS) {
            return;
        }
        let known = match (&config.regions, self.regions) {
            (_, Ok(known)) => known,
            (Regions::Enabled, Err(why)) => {
                let why = format!("which regions the account has enabled is not known: {why}");
                return found.expect(REGIONS, of_account(&account), Some(why));
            }
            // They are named: what cannot be read in them shows when they are asked.
            (Regions::Given(regions), Err(_)) => {
                for region in regions {
                    found.expect(REGIONS, of_region(&account, region), None);
                }
                return;
            }
        };
        let wanted: BTreeSet<&String> = match &config.regions {
            Regions::Enabled => known.keys().collect(),
            Regions::Given(regions) => regions.iter().collect(),
        };
        for region in wanted {
            let cell = of_region(&account, region);
            let except = config.except_regions.iter().find(|except| except.region == *region);
            match (known.get(region).map(String::as_str), except) {
                (_, Some(except)) => found.leave_out(cell, format!("by the configuration: {}", except.reason)),
                (Some("not-opted-in"), None) => {
                    found.leave_out(
                        cell,
                        "not-opted-in, ec2.DescribeRegions says: the account has not enabled the region".into(),
                    );
                }
                (Some(_), None) => found.expect(REGIONS, cell, None),
                (None, None) => {
                    let why = "ec2.DescribeRegions lists no such region for the account: is its name right?";
                    found.expect(REGIONS, cell, Some(why.into()));
                }
            }
        }
    }
}

/// The organisation's cell where none is configured: an account that is read may be its management account, or in none at all.
async fn source_without_organization(
    connection: &Arc<Connection>,
    first: Option<String>,
    accounts: &[&str],
    found: &mut FoundOut,
) {
    let Some(first) = first else {
        let why = "no account could be asked whether it is in an organisation";
        return found.expect(SOURCE, Cell::default(), Some(why.into()));
    };
    let who = Who::Account(first.clone());
    let ask = ask("scope.organization", "organizations.DescribeOrganization", of_account(&first), Map::new(), 1);
    let mut asked = connection.ask(&who, &ask).await;
    let none = asked.draft.code.as_deref() == Some("AWSOrganizationsNotInUseException");
    let management = asked.decoded.as_ref().and_then(|answer| {
        let organization = &answer["Organization"];
        let management = organization["ManagementAccountId"].as_str().or(organization["MasterAccountId"].as_str());
        management.map(str::to_owned)
    });
    asked.draft.end = management.is_some().then(|| "one answer".to_owned());
    let (cell, unread) = match management {
        _ if none && accounts.len() == 1 => (of_account(&first), None),
        _ if none => {
            (Cell::default(), Some(format!("the account {first} is in no organisation; of the others it is not known")))
        }
        Some(account) if accounts.contains(&account.as_str()) => (of_account(&account), None),
        Some(account) => {
            let what = "is not read here: configure `accounts.organization` with a role that may read it";
            (of_account(&account), Some(format!("the organisation's management account {account} {what}")))
        }
        None => {
            (Cell::default(), Some(format!("whether there is an organisation is not known: {}", asked.draft.detail)))
        }
    };
    found.answers.push(asked);
    found.expect(SOURCE, cell, unread);
}

/// Who answered.
pub(super) struct Identity {
    account: String,
}

/// Asks whose the credentials are, and remembers the name for what is asked next.
pub(super) async fn identify(connection: &Arc<Connection>, who: &Who, cell: Cell) -> (Asked, Result<Identity, String>) {
    let ask = ask("scope.identity", "sts.GetCallerIdentity", cell, Map::new(), 1);
    let mut asked = connection.ask(who, &ask).await;
    let identity = match &asked.decoded {
        None => Err(asked.draft.detail.clone()),
        Some(answer) => match (answer["Account"].as_str(), answer["Arn"].as_str()) {
            (Some(account), Some(arn)) => {
                asked.draft.caller = arn.to_owned();
                let mut callers = connection.callers.lock().unwrap_or_else(PoisonError::into_inner);
                callers.insert(who.clone(), arn.to_owned());
                Ok(Identity { account: account.to_owned() })
            }
            _ => Err("GetCallerIdentity names no account".to_owned()),
        },
    };
    asked.draft.end = identity.is_ok().then(|| "one answer".to_owned());
    (asked, identity)
}

pub(super) fn ask(request: &str, call: &str, cell: Cell, parameters: Map<String, Value>, page: u64) -> Ask {
    Ask {
        request: request.into(),
        call: call.into(),
        cell,
        region: None,
        parameters,
        item: None,
        items: Vec::new(),
        page,
        window: None,
    }
}

/// What stands in the scope's own exchange as what was asked: the configuration of the source.
pub(super) fn request(config: &AwsConfig) -> Value {
    json!({
        "accounts": config.accounts,
        "regions": config.regions,
        "except_regions": config.except_regions,
        "role": config.role,
        "home_region": config.home_region,
    })
}
