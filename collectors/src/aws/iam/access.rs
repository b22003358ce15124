//! `aws/iam-access`: users, groups, roles and policies, and which users and roles are administrators by which path. Whether a principal is
//! one is unknown wherever a policy that it has was not read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
};

use serde_json::{Map, Value, json};

use super::policy::{self, Grant, Grants};
use crate::{
    contract::{Population, Record, Records},
    declared::{
        reading::{Reading, State},
        system::{Cell, Expected},
    },
};

/// Kinds of records, each with the name that rows have and IAM's own count of them.
const KINDS: [(&str, &str, &str); 4] = [
    ("user", "User", "Users"),
    ("group", "Group", "Groups"),
    ("role", "Role", "Roles"),
    ("policy", "Policy", "Policies"),
];

/// Makes users, groups, roles, policies and administrators.
///
/// # Errors
/// The store's.
pub fn derive(reading: &Reading<'_>, out: &mut dyn Records) -> io::Result<()> {
    let details = reading.request("details");
    let mut populations: BTreeMap<&str, Population> =
        KINDS.iter().map(|(kind, ..)| Ok((*kind, reading.population(&[details])?))).collect::<io::Result<_>>()?;
    let mut administrators = reading.population(&[details])?;
    for expected in reading.expected(details).unwrap_or_default() {
        let account = Account::read(reading, expected)?;
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let unread = reading.rows(details, &expected.cell, &mut |row| {
            let value = jq::json(&row.value);
            *counts.entry(row_type(&value)).or_default() += 1;
            account.record(&value, row.exchange, out)
        })?;
        if let Some(why) = unread {
            cut(&mut administrators, &format!("{}: {why}", expected.cell));
        }
        if !matches!(reading.state(details, expected)?, State::Unread(_)) {
            account.count(reading, &counts, &mut populations, out)?;
        }
        if let Some(why) = &account.unread {
            cut(&mut administrators, why);
        }
    }
    for (kind, population) in populations {
        out.population(kind, population);
    }
    out.population("administrator", administrators);
    let stood_for = ["details", "summary", "aws_policies", "aws_policy_versions"].map(|name| reading.request(name));
    reading.gaps(&stood_for, out)
}

fn row_type(row: &Value) -> &'static str {
    let found = KINDS.iter().find(|(_, name, _)| row["Type"] == *name);
    found.map_or("", |(kind, ..)| kind)
}

/// What a policy, a group or a set of them grants.
#[derive(Debug, Clone)]
struct Held {
    grant: Grant,
    conditional: bool,
    denies_all: bool,
    /// By which ways the most is granted.
    paths: BTreeSet<String>,
    /// By which ways any role may be passed, and by which a service that takes one may be told what to run: both together lead to everything.
    passing: BTreeSet<String>,
    running: BTreeSet<String>,
    /// Policies that were not read.
    unread: BTreeSet<String>,
}

impl Held {
    fn nothing() -> Self {
        let none = BTreeSet::new;
        Self {
            grant: Grant::Limited,
            conditional: false,
            denies_all: false,
            paths: none(),
            passing: none(),
            running: none(),
            unread: none(),
        }
    }

    fn add(&mut self, found: &Result<Grants, String>, path: String) {
        let found = match found {
            Ok(found) => found,
            Err(_) => {
                self.unread.insert(path);
                return;
            }
        };
        self.denies_all |= found.denies_all;
        for (can, ways) in [(found.passes_roles, &mut self.passing), (found.runs_code, &mut self.running)] {
            if can {
                ways.insert(path.clone());
            }
        }
        if found.grant > self.grant {
            self.grant = found.grant;
            self.conditional = found.conditional;
            self.paths.clear();
        }
        if found.grant == self.grant && self.grant > Grant::Limited {
            self.conditional &= found.conditional;
            self.paths.insert(path);
        }
    }

    /// The ways, for a record; not known where none was found and not every policy was read.
    fn by(&self) -> Value {
        if self.paths.is_empty() && !self.unread.is_empty() { Value::Null } else { json!(self.paths) }
    }

    fn add_all(&mut self, other: &Held, by: &str) {
        let grants = Grants {
            grant: other.grant,
            conditional: other.conditional,
            denies_all: other.denies_all,
            passes_roles: false,
            runs_code: false,
        };
        for path in &other.paths {
            self.add(&Ok(grants.clone()), format!("{by}, {path}"));
        }
        self.denies_all |= other.denies_all;
        self.passing.extend(other.passing.iter().map(|path| format!("{by}, {path}")));
        self.running.extend(other.running.iter().map(|path| format!("{by}, {path}")));
        self.unread.extend(other.unread.iter().map(|path| format!("{by}, {path}")));
    }

    /// Takes together what no policy grants by itself.
    fn together(mut self) -> Self {
        if self.grant == Grant::Limited && !self.passing.is_empty() && !self.running.is_empty() {
            self.grant = Grant::Escalating;
            self.paths = self.passing.union(&self.running).cloned().collect();
        }
        self
    }

    /// What is known of it: `full`, `escalation`, `none`; `None`: a policy was not read, and the ones that were do not settle it.
    fn verdict(&self) -> Option<Grant> {
        match (self.denies_all, self.grant, self.unread.is_empty()) {
            (true, ..) => Some(Grant::Limited),
            (false, Grant::Full, _) | (false, _, true) => Some(self.grant),
            (false, _, false) => None,
        }
    }
}

/// What principals of an account are judged by.
struct Account {
    cell: Cell,
    /// What each managed policy grants, by ARN.
    policies: HashMap<String, Result<Grants, String>>,
    groups: HashMap<String, Held>,
    /// Whether users have a second factor, by ARN.
    second_factors: HashMap<String, Option<bool>>,
    unread: Option<String>,
}

impl Account {
    /// Goes through policies and groups, and holds what they grant, not their texts.
    fn read(reading: &Reading<'_>, expected: &Expected) -> io::Result<Self> {
        let cell = expected.cell.clone();
        let mut account = Self {
            cell,
            policies: HashMap::new(),
            groups: HashMap::new(),
            second_factors: HashMap::new(),
            unread: None,
        };
        let (details, versions) = (reading.request("details"), reading.request("aws_policy_versions"));
        reading.rows(details, &expected.cell, &mut |row| {
            let value = jq::json(&row.value);
            if let (true, Some(arn)) = (value["Type"] == "Policy", value["Arn"].as_str()) {
                let current = value["PolicyVersionList"].as_array().into_iter().flatten();
                let document = current.into_iter().find(|version| version["IsDefaultVersion"] == true);
                let grants =
                    document.map_or(Err("it has no version in force".into()), |v| policy::grants(&v["Document"]));
                account.policies.insert(arn.to_owned(), grants);
            }
            Ok(())
        })?;
        reading.rows(versions, &expected.cell, &mut |row| {
            let value = jq::json(&row.value);
            if let Some(arn) = row.item {
                account.policies.insert(arn.to_owned(), policy::grants(&value["PolicyVersion"]["Document"]));
            }
            Ok(())
        })?;
        if let Some(why) = reading.state(versions, expected)?.why() {
            account.unread = Some(why.to_owned());
        }
        let mut groups = HashMap::new();
        reading.rows(details, &expected.cell, &mut |row| {
            let value = jq::json(&row.value);
            if let (true, Some(name)) = (value["Type"] == "Group", value["GroupName"].as_str()) {
                groups.insert(name.to_owned(), account.own(&value, "GroupPolicyList"));
            }
            Ok(())
        })?;
        account.groups = groups;
        account.read_second_factors(reading, expected)?;
        Ok(account)
    }

    fn read_second_factors(&mut self, reading: &Reading<'_>, expected: &Expected) -> io::Result<()> {
        let report = reading.request("report");
        if let (State::Whole, Some((answer, exchange))) =
            (reading.state(report, expected)?, reading.answer(report, &expected.cell, None)?)
            && let Ok(factors) = super::report::second_factors(&answer, exchange)
        {
            self.second_factors = factors;
        }
        Ok(())
    }

    /// What a principal's own policies grant: those in it and those attached.
    fn own(&self, principal: &Value, inline: &str) -> Held {
        let mut held = Held::nothing();
        for own in principal[inline].as_array().into_iter().flatten() {
            let name = own["PolicyName"].as_str().unwrap_or("?");
            held.add(&policy::grants(&own["PolicyDocument"]), format!("inline policy {name}"));
        }
        for attached in principal["AttachedManagedPolicies"].as_array().into_iter().flatten() {
            let arn = attached["PolicyArn"].as_str().unwrap_or("?");
            let unread = Err("it was not read".to_owned());
            held.add(self.policies.get(arn).unwrap_or(&unread), format!("policy {arn}"));
        }
        held.together()
    }

    fn record(&self, value: &Value, exchange: u64, out: &mut dyn Records) -> io::Result<()> {
        let kind = row_type(value);
        let Some(arn) = value["Arn"].as_str() else {
            out.gap(format!("{}: a {kind} was answered without an ARN", self.cell));
            return Ok(());
        };
        let mut fields: Map<String, Value> = self.cell.0.iter().map(|(name, at)| (name.clone(), json!(at))).collect();
        let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        let attached: Vec<&Value> = value["AttachedManagedPolicies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|policy| &policy["PolicyArn"])
            .collect();
        let name = &value[format!("{}Name", value["Type"].as_str().unwrap_or_default())];
        add("name", name.clone());
        add("path", value["Path"].clone());
        add("created_at", value["CreateDate"].clone());
        let mut administrator = None;
        match kind {
            "user" | "role" => {
                let held = self.principal(value, kind);
                add("attached_policies", json!(attached));
                add("permissions_boundary", value["PermissionsBoundary"]["PermissionsBoundaryArn"].clone());
                add("administrator", json!(held.verdict().map(Grant::as_str)));
                add("administrator_by", held.by());
                add("not_read", json!(held.unread));
                if kind == "user" {
                    add("groups", value["GroupList"].clone());
                    add("mfa_active", json!(self.second_factors.get(arn).copied().flatten()));
                } else {
                    self.trust(value, &mut add);
                    add("last_used", value["RoleLastUsed"]["LastUsedDate"].clone());
                }
                administrator = (held.verdict() != Some(Grant::Limited)).then_some(held);
            }
            "group" => {
                let held = self.own(value, "GroupPolicyList");
                add("attached_policies", json!(attached));
                add("administrator", json!(held.verdict().map(Grant::as_str)));
            }
            "policy" => {
                let grants = self.policies.get(arn).and_then(|grants| grants.as_ref().ok());
                add("administrator", json!(grants.map(|grants| grants.grant.as_str())));
                add("conditional", json!(grants.map(|grants| grants.conditional)));
                add("attached_to", value["AttachmentCount"].clone());
                add("version", value["DefaultVersionId"].clone());
                add("updated_at", value["UpdateDate"].clone());
            }
            _ => {
                out.gap(format!("{}: a row of no known type was answered", self.cell));
                return Ok(());
            }
        }
        let changed = if kind == "policy" { &value["UpdateDate"] } else { &value["CreateDate"] };
        let as_of = changed.as_str().and_then(|at| chrono::DateTime::parse_from_rfc3339(at).ok()).map(|at| at.to_utc());
        let record = Record { id: arn.to_owned(), as_of, exchange, fields };
        if let Some(held) = administrator {
            out.record("administrator", self.administrator(&record, kind, &held))?;
        }
        out.record(kind, record)
    }

    /// What a user or a role is granted by its own policies and those of its groups, within its boundary.
    fn principal(&self, value: &Value, kind: &str) -> Held {
        let mut held = self.own(value, if kind == "user" { "UserPolicyList" } else { "RolePolicyList" });
        for group in value["GroupList"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            match self.groups.get(group) {
                Some(of_group) => held.add_all(of_group, &format!("group {group}")),
                None => drop(held.unread.insert(format!("group {group}"))),
            }
        }
        let mut held = held.together();
        if let Some(boundary) = value["PermissionsBoundary"]["PermissionsBoundaryArn"].as_str() {
            match self.policies.get(boundary) {
                Some(Ok(most)) if most.grant < held.grant || most.denies_all => {
                    held.grant = if most.denies_all { Grant::Limited } else { most.grant };
                    if held.grant == Grant::Limited {
                        held.paths.clear();
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    held.unread.insert(format!("permissions boundary {boundary}"));
                    // It may take away what the policies grant.
                    if held.grant > Grant::Limited {
                        held.grant = Grant::Escalating;
                    }
                }
            }
        }
        held
    }

    /// Who may take a role: accounts, services, and whether that is anybody.
    fn trust(&self, role: &Value, add: &mut dyn FnMut(&str, Value) -> Option<Value>) {
        let document = policy::read(&role["AssumeRolePolicyDocument"]);
        let own = self.cell.get("account").unwrap_or_default();
        let (mut accounts, mut services, mut federated, mut anybody, mut open) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), false, false);
        let statements = document.as_ref().map_err(Clone::clone).and_then(policy::statements);
        let known = statements.is_ok();
        for statement in statements.unwrap_or_default().into_iter().filter(|s| s["Effect"] == "Allow") {
            let conditional = statement.get("Condition").is_some_and(|c| c.as_object().is_none_or(|c| !c.is_empty()));
            let principal = &statement["Principal"];
            let names = policy::texts(principal).into_iter().chain(policy::texts(&principal["AWS"]));
            for name in names {
                match name.split(':').nth(4).or(Some(name)).filter(|account| account.len() == 12) {
                    Some(account) if account != own => drop(accounts.insert(account.to_owned())),
                    Some(_) => {}
                    None => {
                        anybody |= name == "*";
                        open |= name == "*" && !conditional;
                    }
                }
            }
            anybody |= statement.get("NotPrincipal").is_some();
            open |= statement.get("NotPrincipal").is_some() && !conditional;
            services.extend(policy::texts(&principal["Service"]).into_iter().map(str::to_owned));
            federated.extend(policy::texts(&principal["Federated"]).into_iter().map(str::to_owned));
        }
        let say = |value: Value| if known { value } else { Value::Null };
        add("trusted_accounts", say(json!(accounts)));
        add("trusted_services", say(json!(services)));
        add("trusted_providers", say(json!(federated)));
        add("trusts_anybody", say(json!(anybody)));
        add("trusts_anybody_unconditionally", say(json!(open)));
    }

    fn administrator(&self, principal: &Record, kind: &str, held: &Held) -> Record {
        let take = |name: &str| principal.fields.get(name).cloned().unwrap_or_default();
        let mut fields: Map<String, Value> = self.cell.0.iter().map(|(name, at)| (name.clone(), json!(at))).collect();
        fields.insert("type".into(), json!(kind));
        fields.insert("name".into(), take("name"));
        fields.insert("path".into(), take("path"));
        fields.insert("grant".into(), json!(held.verdict().map(Grant::as_str)));
        fields.insert("conditional".into(), json!(held.conditional));
        fields.insert("by".into(), held.by());
        fields.insert("not_read".into(), json!(held.unread));
        fields.insert("mfa_active".into(), take("mfa_active"));
        fields.insert(
            "service_linked".into(),
            json!(take("path").as_str().is_some_and(|p| p.starts_with("/aws-service-role/"))),
        );
        Record { id: principal.id.clone(), as_of: principal.as_of, exchange: principal.exchange, fields }
    }

    /// Compares how many were listed with how many IAM counts.
    fn count(
        &self,
        reading: &Reading<'_>,
        counts: &BTreeMap<&str, u64>,
        populations: &mut BTreeMap<&str, Population>,
        out: &mut dyn Records,
    ) -> io::Result<()> {
        let summary = reading.answer(reading.request("summary"), &self.cell, None)?;
        for (kind, _, total) in KINDS {
            let listed = counts.get(kind).copied().unwrap_or(0);
            match summary.as_ref().and_then(|(summary, _)| summary["SummaryMap"][total].as_u64()) {
                Some(count) if count == listed => {}
                Some(count) => {
                    let why =
                        format!("{}: {listed} {kind} records were listed, and IAM counts {count} {total}", self.cell);
                    if let Some(population) = populations.get_mut(kind) {
                        cut(population, &why);
                    }
                }
                None => out.gap(format!(
                    "{}: the {listed} {kind} records could not be counted against IAM's own number",
                    self.cell
                )),
            }
        }
        Ok(())
    }
}

/// A list of which something is missing.
pub(super) fn cut(population: &mut Population, why: &str) {
    *population = match std::mem::replace(population, Population::Whole) {
        Population::Whole | Population::Absent(_) => Population::Cut(why.to_owned()),
        Population::Cut(before) if before.contains(why) => Population::Cut(before),
        Population::Cut(before) => Population::Cut(format!("{before}; {why}")),
        unread => unread,
    };
}
