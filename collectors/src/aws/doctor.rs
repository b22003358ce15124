//! Tries an AWS source without keeping anything: credentials, clock, accounts, regions, and whether the permissions suffice, or are far more
//! than it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};

use super::{
    Aws, CELLS,
    credentials::Who,
    scope::{self, FoundOut},
    session::{Connection, MOST_SKEW, ORGANIZATION},
};
use crate::{
    contract::{Collector, NeedKind, Now},
    declared::system::{Ask, Cell, Expected},
    finding::Finding,
};

/// The call that tells what a principal may do, and the permission for it. Nothing but the doctor and the warning at start needs it.
pub const CALL: &str = "iam.SimulatePrincipalPolicy";

/// Actions that no collector needs, one for each kind of harm: to change who may do what, to read data and secrets, to destroy, to stop logs.
const FAR_MORE: [&str; 16] = [
    "cloudtrail:StopLogging",
    "dynamodb:GetItem",
    "ec2:TerminateInstances",
    "iam:AttachRolePolicy",
    "iam:CreateAccessKey",
    "iam:CreateUser",
    "iam:PutRolePolicy",
    "kms:Decrypt",
    "kms:ScheduleKeyDeletion",
    "lambda:InvokeFunction",
    "rds:DeleteDBInstance",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:PutObject",
    "secretsmanager:GetSecretValue",
    "ssm:GetParameter",
];

/// So many actions are asked about at once.
const AT_ONCE: usize = 40;

const POLICY: &str = "attach the policy that `evidenced iam-policy` prints";

/// Tries the source for these collectors.
pub async fn examine(aws: &Aws, collectors: &[Arc<dyn Collector>], now: Now) -> Vec<Finding> {
    let mut findings = Vec::new();
    let connection = match aws.connect(now).await {
        Ok(connection) => connection,
        Err(why) => return vec![Finding::wrong("configuration", why, "name a file that can be read")],
    };
    if !credentials(&connection, &mut findings).await {
        return findings;
    }
    let found = scope::find_out(&connection, &every_kind()).await;
    findings.push(clock(&connection));
    accounts(&connection, &found, &mut findings);
    findings.extend(regions(&connection, &found).await);
    findings.extend(permissions(&connection, &found, collectors).await);
    findings
}

/// What the source's roles may do that is far more than any collector needs, as far as it can be told: one line for each of them.
pub async fn far_more(aws: &Aws, now: Now) -> Vec<String> {
    let Ok(connection) = aws.connect(now).await else { return Vec::new() };
    let found = scope::find_out(&connection, &every_kind()).await;
    let asked = readable(&found).into_iter().map(|(who, cell)| {
        let connection = connection.clone();
        async move {
            let principal = principal(&connection, &who)?;
            let decisions = simulate(&connection, &who, &cell, &principal, &FAR_MORE).await.ok()?;
            far_more_of(&principal, &decisions)
        }
    });
    let parallel = usize::from(connection.config.parallel).max(1);
    stream::iter(asked).buffered(parallel).filter_map(|line| async { line }).collect().await
}

fn every_kind() -> BTreeSet<String> {
    CELLS.iter().map(|kind| (*kind).to_owned()).collect()
}

/// Whether there are credentials at all, and whose.
async fn credentials(connection: &Arc<Connection>, findings: &mut Vec<Finding>) -> bool {
    let about = "credentials";
    if let Err(none) = connection.issuer.get(&Who::Itself, &[]).await {
        let to_do = "run it where an instance, task or pod has a role, or set AWS_PROFILE, `profile` of the source, or AWS_ACCESS_KEY_ID with \
                     AWS_SECRET_ACCESS_KEY";
        findings.push(Finding::wrong(about, none.text, to_do));
        return false;
    }
    let (asked, identity) = scope::identify(connection, &Who::Itself, Cell::default()).await;
    let arn = asked.draft.caller;
    findings.push(match identity {
        Err(why) => {
            findings.push(clock(connection));
            let to_do = "are they valid, and does the network let it reach STS? For a private endpoint set `endpoints: {sts: …}`";
            findings.push(Finding::wrong(about, format!("whose they are is not known: {why}"), to_do));
            return false;
        }
        Ok(_) if arn.ends_with(":root") => {
            Finding::wrong(about, format!("they are {arn}, who may do everything"), "use a role that only reads")
        }
        Ok(_) => Finding::fine(about, arn),
    });
    true
}

fn clock(connection: &Connection) -> Finding {
    let skew = *connection.clock.lock().unwrap_or_else(PoisonError::into_inner);
    match skew {
        None => {
            Finding::unknown("clock", "no answer told AWS's time", "synchronise this machine's clock, if it is not")
        }
        Some(skew) if skew.abs() > MOST_SKEW => {
            let way = if skew.num_seconds() > 0 { "ahead of" } else { "behind" };
            let says =
                format!("it is {} s {way} AWS's, which refuses more than five minutes", skew.num_seconds().abs());
            Finding::wrong("clock", says, "synchronise this machine's clock")
        }
        Some(skew) => Finding::fine("clock", format!("within {} s of AWS's", skew.num_seconds().abs() + 1)),
    }
}

/// Whether each account answers, and what is known of its regions.
fn accounts(connection: &Connection, found: &FoundOut, findings: &mut Vec<Finding>) {
    let cells = |kind: &str| found.scope.cells.get(kind).map(Vec::as_slice).unwrap_or_default();
    let mut read = 0;
    let mut said = BTreeSet::new();
    for (kind, cell) in cells("accounts")
        .iter()
        .map(|cell| ("account", cell))
        .chain(cells("source").iter().map(|cell| ("organisation", cell)))
    {
        match &cell.unread {
            None if kind == "account" => read += 1,
            None => {
                findings.push(Finding::fine("organisation", format!("read in the management account, {}", cell.cell)))
            }
            Some(why) if !said.insert(why.clone()) => {}
            Some(why) => {
                let account = cell.cell.get("account").unwrap_or_default();
                let about = if account.is_empty() { kind.to_owned() } else { format!("{kind} {account}") };
                findings.push(Finding::wrong(about, why.clone(), to_do(connection, why, kind)));
            }
        }
    }
    if read > 0 {
        findings.push(Finding::fine("accounts", format!("{read} answer as themselves")));
    }
    for cell in cells("accounts x regions") {
        if let Some(why) = cell.unread.as_ref().filter(|why| said.insert((*why).clone())) {
            let to_do = "allow ec2:DescribeRegions, or correct `regions`";
            findings.push(Finding::wrong(cell.cell.to_string(), why.clone(), to_do));
        }
    }
    for left in &found.scope.left_out {
        if !left.why.starts_with("not-opted-in") {
            findings.push(Finding::fine(left.cell.to_string(), format!("not read, {}", left.why)));
        }
    }
}

fn to_do(connection: &Connection, why: &str, kind: &str) -> String {
    let callers = connection.callers.lock().unwrap_or_else(PoisonError::into_inner);
    let own = callers.get(&Who::Itself).cloned().unwrap_or_default();
    if why.contains("could not be assumed") {
        let id = if connection.issuer.external_id.is_some() { ", with the configured external id" } else { "" };
        return format!(
            "the role must be there, its trust policy must let {own} assume it{id}, and {own} must be allowed sts:AssumeRole on it"
        );
    }
    match kind {
        "organisation" => {
            "configure `accounts.organization.role` with a role that may read the organisation, or switch off the jobs that need it, with a reason"
                .to_owned()
        }
        _ => "correct the role or the list of accounts; what stays unread is unknown in every check".to_owned(),
    }
}

/// Who is there to ask, and in which cell.
fn readable(found: &FoundOut) -> Vec<(Who, Cell)> {
    let mut all: BTreeMap<Who, Cell> = BTreeMap::new();
    let asked = |cell: &&Expected| cell.unread.is_none();
    for cell in found.scope.cells.get("accounts").into_iter().flatten().filter(asked) {
        if let Some(account) = cell.cell.get("account") {
            all.insert(Who::Account(account.to_owned()), cell.cell.clone());
        }
    }
    for cell in found.scope.cells.get("source").into_iter().flatten().filter(asked) {
        if cell.cell.get(ORGANIZATION).is_some() {
            all.insert(Who::Discovery, cell.cell.clone());
        }
    }
    all.into_iter().collect()
}

/// Whether each region answers, asked in one account.
async fn regions(connection: &Arc<Connection>, found: &FoundOut) -> Vec<Finding> {
    let cells = found.scope.cells.get("accounts x regions").into_iter().flatten().filter(|cell| cell.unread.is_none());
    let mut by_region: BTreeMap<String, Cell> = BTreeMap::new();
    for cell in cells {
        if let Some(region) = cell.cell.get("region") {
            by_region.entry(region.to_owned()).or_insert_with(|| cell.cell.clone());
        }
    }
    let total = by_region.len();
    let asked = by_region.into_iter().map(|(region, cell)| {
        let connection = connection.clone();
        async move {
            let who = Who::Account(cell.get("account").unwrap_or_default().to_owned());
            let ask = scope::ask("doctor.region", "sts.GetCallerIdentity", cell, Map::new(), 1);
            let answer = connection.ask(&who, &Ask { region: Some(region.clone()), ..ask }).await;
            answer.decoded.is_none().then(|| {
                let to_do = "does the network let it reach the region, and is the region enabled? A region that is not to be read goes into \
                             `except_regions`, with a reason";
                Finding::wrong(format!("region {region}"), answer.draft.detail, to_do)
            })
        }
    });
    let parallel = usize::from(connection.config.parallel).max(1);
    let mut findings: Vec<Finding> =
        stream::iter(asked).buffered(parallel).filter_map(|finding| async { finding }).collect().await;
    if findings.len() < total {
        findings.push(Finding::fine("regions", format!("{} of {total} answer", total - findings.len())));
    }
    findings
}

/// Whether each role may do what the collectors ask, and not far more.
async fn permissions(
    connection: &Arc<Connection>,
    found: &FoundOut,
    collectors: &[Arc<dyn Collector>],
) -> Vec<Finding> {
    let asked = readable(found).into_iter().map(|(who, cell)| {
        let connection = connection.clone();
        let needed = needed(collectors, &who);
        async move { permissions_of(&connection, &who, &cell, &needed).await }
    });
    let parallel = usize::from(connection.config.parallel).max(1);
    stream::iter(asked).buffered(parallel).flat_map(stream::iter).collect().await
}

/// The actions that somebody needs, with what becomes unknown without each.
fn needed(collectors: &[Arc<dyn Collector>], who: &Who) -> BTreeMap<String, BTreeSet<String>> {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for spec in collectors.iter().map(|collector| collector.spec()) {
        for need in spec.needs.iter().filter(|need| need.kind == NeedKind::Action) {
            let of_source = need.cells.iter().any(|kind| kind == "source");
            let only_source = of_source && need.cells.len() == 1;
            let applies = if *who == Who::Discovery { of_source || need.cells.is_empty() } else { !only_source };
            if applies {
                needed.entry(need.what.clone()).or_default().insert(spec.id.clone());
            }
        }
    }
    needed
}

async fn permissions_of(
    connection: &Arc<Connection>,
    who: &Who,
    cell: &Cell,
    needed: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Finding> {
    let Some(principal) = principal(connection, who) else {
        return vec![Finding::unknown(
            format!("permissions in {cell}"),
            "whose permissions are asked about is not known",
            "read it by a role",
        )];
    };
    let about = format!("permissions of {principal}");
    let mut actions: Vec<&str> = needed.keys().map(String::as_str).collect();
    actions.extend(FAR_MORE);
    let decisions = match simulate(connection, who, cell, &principal, &actions).await {
        Ok(decisions) => decisions,
        Err(why) => {
            let to_do = "allow it iam:SimulatePrincipalPolicy on itself, or see in the first runs what is unknown";
            return vec![Finding::unknown(about, format!("whether they suffice cannot be told: {why}"), to_do)];
        }
    };
    let mut findings = Vec::new();
    for (action, collectors) in needed {
        let collectors = collectors.iter().cloned().collect::<Vec<_>>().join(", ");
        match decisions.get(action) {
            Some(Decision::Allowed) => {}
            Some(Decision::Denied(why)) => {
                findings.push(Finding::wrong(
                    &about,
                    format!("{action} is denied ({why}): needed by {collectors}"),
                    POLICY,
                ));
            }
            Some(Decision::Depends(keys)) => {
                let says = format!("whether {action} is allowed depends on {keys}: needed by {collectors}");
                findings.push(Finding::unknown(&about, says, "see in the first runs whether it is refused"));
            }
            None => {
                let says = format!("nothing was answered of {action}: needed by {collectors}");
                findings.push(Finding::unknown(&about, says, "see in the first runs whether it is refused"));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine(&about, format!("all {} that the collectors need are allowed", needed.len())));
    }
    if let Some(says) = far_more_of(&principal, &decisions) {
        findings.push(Finding::wrong(about, says, format!("{POLICY}, and nothing else")));
    }
    findings
}

fn far_more_of(principal: &str, decisions: &BTreeMap<String, Decision>) -> Option<String> {
    let allowed: Vec<&str> =
        FAR_MORE.into_iter().filter(|action| decisions.get(*action) == Some(&Decision::Allowed)).collect();
    (!allowed.is_empty()).then(|| format!("{principal} may do far more than it needs: {}", allowed.join(", ")))
}

/// Whose policies are looked at: the role that is assumed, or that the credentials are of, or the user.
fn principal(connection: &Connection, who: &Who) -> Option<String> {
    if let Some(role) = connection.issuer.role(who) {
        return Some(role);
    }
    let callers = connection.callers.lock().unwrap_or_else(PoisonError::into_inner);
    let arn = callers.get(who).or_else(|| callers.get(&Who::Itself))?;
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, account, resource] = parts.as_slice() else { return None };
    match (*service, resource.split_once('/')) {
        // A session's name has no path; a role with one is asked about in vain, and said so.
        ("sts", Some(("assumed-role", session))) => {
            let role = session.split('/').next()?;
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        ("iam", Some(("user", _))) => Some(arn.clone()),
        _ => None,
    }
}

/// What AWS says of an action.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// By what.
    Denied(String),
    /// On values that only a request has.
    Depends(String),
}

/// Asks what a principal may do, on any resource.
async fn simulate(
    connection: &Arc<Connection>,
    who: &Who,
    cell: &Cell,
    principal: &str,
    actions: &[&str],
) -> Result<BTreeMap<String, Decision>, String> {
    let mut decisions = BTreeMap::new();
    for some in actions.chunks(AT_ONCE) {
        let mut marker: Option<String> = None;
        for page in 1.. {
            let mut parameters = json!({"PolicySourceArn": principal, "ActionNames": some});
            if let (Some(marker), Some(parameters)) = (marker.take(), parameters.as_object_mut()) {
                parameters.insert("Marker".into(), marker.into());
            }
            let parameters = parameters.as_object().cloned().unwrap_or_default();
            let asked =
                connection.ask(who, &scope::ask("doctor.permissions", CALL, cell.clone(), parameters, page)).await;
            let Some(answer) = asked.decoded else { return Err(asked.draft.detail) };
            let rows = answer["EvaluationResults"].as_array().map(Vec::as_slice).unwrap_or_default();
            decisions.extend(
                rows.iter().filter_map(|row| Some((row["EvalActionName"].as_str()?.to_owned(), decision(row)))),
            );
            marker = answer["Marker"].as_str().filter(|_| answer["IsTruncated"] == true).map(str::to_owned);
            if marker.is_none() || rows.is_empty() {
                break;
            }
        }
    }
    Ok(decisions)
}

fn decision(row: &Value) -> Decision {
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let missing = texts(&row["MissingContextValues"]);
    match row["EvalDecision"].as_str() {
        Some("allowed") => Decision::Allowed,
        _ if row["OrganizationsDecisionDetail"]["AllowedByOrganizations"] == false => {
            Decision::Denied("by a service control policy of the organisation".into())
        }
        _ if row["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"] == false => {
            Decision::Denied("by its permissions boundary".into())
        }
        Some("implicitDeny") if !missing.is_empty() => Decision::Depends(missing.join(", ")),
        Some("explicitDeny") => Decision::Denied("a policy denies it by name".into()),
        _ => Decision::Denied("no policy allows it on every resource".into()),
    }
}
