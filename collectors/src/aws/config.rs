//! The settings of an AWS source. They hold no secret: the credentials come from where the AWS SDKs look for them, and secrets are files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// An `aws` source: the accounts and regions that are read, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwsConfig {
    /// The accounts: a list, or `{organization: …}`. None: the account of the credentials themselves.
    pub accounts: Option<Accounts>,
    /// The regions: a list, or `enabled` for all that each account has enabled.
    pub regions: Regions,
    /// Regions of `enabled` that are not read, each with its reason; auditors read it.
    pub except_regions: Vec<ExceptRegion>,
    /// The role that is assumed in each account; `{account}` stands for the account. None: the credentials as they are, for one account.
    pub role: Option<String>,
    /// What the role's trust policy asks for as `sts:ExternalId`.
    pub external_id: Option<String>,
    /// A file with it.
    pub external_id_file: Option<PathBuf>,
    /// The name of the roles' sessions, as CloudTrail shows it.
    pub session_name: String,
    /// A profile of the AWS configuration files; none: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Where every service is asked instead of at AWS's own addresses: a simulator, or a proxy.
    pub endpoint: Option<String>,
    /// Where single services are asked: `{sts: "https://vpce-….sts.eu-west-1.vpce.amazonaws.com"}`. `{region}` stands for the region.
    pub endpoints: BTreeMap<String, String>,
    /// A PEM file with the certificates that are trusted instead of the public ones, for a proxy that opens TLS.
    pub ca_bundle: Option<PathBuf>,
    /// The region in which global services and the list of accounts are asked.
    pub home_region: String,
    /// At most so many requests of a run are under way at the same time.
    pub parallel: u16,
    /// How often a request is made.
    pub retry: RetryConfig,
}

/// `accounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// These.
    Given(Vec<String>),
    /// Those of the organisation.
    Organization(Organization),
}

/// `accounts.organization`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// The role that lists the accounts: in the management account, or in a delegated administrator's.
    pub role: String,
    /// The role that is assumed in the management account, where stack sets make none; none: `role` of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_role: Option<String>,
    /// Accounts that are not read, each with its reason; auditors read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<ExceptAccount>,
}

/// One of `accounts.organization.except`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptAccount {
    /// Its id.
    #[serde(deserialize_with = "account")]
    pub account: String,
    /// Why it is not read.
    pub reason: String,
}

/// One of `except_regions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptRegion {
    /// Its name.
    pub region: String,
    /// Why it is not read.
    pub reason: String,
}

/// `regions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Regions {
    /// All that an account has enabled.
    #[default]
    Enabled,
    /// These.
    Given(Vec<String>),
}

/// `retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// At most so many times in all; what AWS throttles is asked again at the rate that it allows.
    pub attempts: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 8 }
    }
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            accounts: None,
            regions: Regions::Enabled,
            except_regions: Vec::new(),
            role: None,
            external_id: None,
            external_id_file: None,
            session_name: "evidenced".into(),
            profile: None,
            endpoint: None,
            endpoints: BTreeMap::new(),
            ca_bundle: None,
            home_region: "us-east-1".into(),
            parallel: 8,
            retry: RetryConfig::default(),
        }
    }
}

impl AwsConfig {
    /// The role to assume in an account; `None`: the credentials as they are.
    pub fn role_in(&self, account: &str) -> Option<String> {
        self.role.as_ref().map(|role| role.replace(ACCOUNT, account))
    }

    /// Where the accounts are listed, if they are.
    pub fn organization(&self) -> Option<&Organization> {
        match &self.accounts {
            Some(Accounts::Organization(organization)) => Some(organization),
            _ => None,
        }
    }

    /// What the types alone do not refuse: each problem with the key that it is at.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |key: &str, text: String| problems.push((key.to_owned(), text));
        match &self.accounts {
            None => {}
            Some(Accounts::Given(accounts)) if accounts.is_empty() => {
                say("accounts", "names none; leave it out to read the account of the credentials".into());
            }
            Some(Accounts::Given(accounts)) => {
                doubled(accounts).for_each(|at| say(&format!("accounts[{at}]"), "is there twice".into()));
            }
            Some(Accounts::Organization(organization)) => organization.problems(&mut say),
        }
        self.role_problems(&mut say);
        self.region_problems(&mut say);
        if !is_session_name(&self.session_name) {
            say("session_name", "must have 2 to 64 letters, digits or characters of `_=,.@-`".into());
        }
        if self.profile.as_ref().is_some_and(|profile| profile.trim().is_empty()) {
            say("profile", "is empty; leave it out for the default one".into());
        }
        if let Some(why) = self.endpoint.as_deref().and_then(not_an_endpoint) {
            say("endpoint", why);
        }
        for (service, url) in &self.endpoints {
            if let Some(why) = not_an_endpoint(url) {
                say(&format!("endpoints.{service}"), why);
            }
        }
        if self.ca_bundle.as_ref().is_some_and(|path| !path.is_absolute()) {
            say("ca_bundle", "must be an absolute path".into());
        }
        if !(1..=64).contains(&self.parallel) {
            say("parallel", format!("{} is not from 1 to 64", self.parallel));
        }
        if !(1..=20).contains(&self.retry.attempts) {
            say("retry.attempts", format!("{} is not from 1 to 20", self.retry.attempts));
        }
        problems
    }

    fn role_problems(&self, say: &mut dyn FnMut(&str, String)) {
        let one = match &self.accounts {
            None => true,
            Some(Accounts::Given(accounts)) => accounts.len() <= 1,
            Some(Accounts::Organization(_)) => false,
        };
        match &self.role {
            None if !one => {
                let example = "arn:aws:iam::{account}:role/evidenced-read";
                say(
                    "role",
                    format!("is missing: more than one account is read by a role in each, such as `{example}`"),
                );
            }
            Some(role) if self.accounts.is_none() && role.contains(ACCOUNT) => {
                say("accounts", "is missing: `role` has `{account}` in it, and no account is named".into());
            }
            Some(role) if !one && !role.contains(ACCOUNT) => {
                say(
                    "role",
                    "must have `{account}` in it, where each account's id is put: more than one is read".into(),
                );
            }
            Some(role) => {
                if let Some(why) = not_a_role(&role.replace(ACCOUNT, "111122223333")) {
                    say("role", why);
                }
            }
            None => {}
        }
        let assumes = self.role.is_some() || matches!(self.accounts, Some(Accounts::Organization(_)));
        for (key, there) in
            [("external_id", self.external_id.is_some()), ("external_id_file", self.external_id_file.is_some())]
        {
            if there && !assumes {
                say(key, "is for assuming a `role`, and there is none".into());
            }
        }
        if self.external_id.is_some() && self.external_id_file.is_some() {
            say("external_id_file", "`external_id` is there too: write one of them".into());
        }
        if let Some(why) = self.external_id.as_deref().and_then(not_an_external_id) {
            say("external_id", why);
        }
        if self.external_id_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            say("external_id_file", "must be an absolute path".into());
        }
    }

    fn region_problems(&self, say: &mut dyn FnMut(&str, String)) {
        let wrong = |region: &str| format!("{region:?} is no region: write it as `eu-west-1`");
        if !is_region(&self.home_region) {
            say("home_region", wrong(&self.home_region));
        }
        if let Regions::Given(regions) = &self.regions {
            if regions.is_empty() {
                say("regions", "names none; write `enabled` for all that are enabled".into());
            }
            for (at, region) in regions.iter().enumerate().filter(|(_, region)| !is_region(region)) {
                say(&format!("regions[{at}]"), wrong(region));
            }
            doubled(regions).for_each(|at| say(&format!("regions[{at}]"), "is there twice".into()));
            if !self.except_regions.is_empty() {
                say("except_regions", "is for `regions: enabled`; where regions are named, leave it out".into());
            }
        }
        for (at, except) in self.except_regions.iter().enumerate() {
            if !is_region(&except.region) {
                say(&format!("except_regions[{at}].region"), wrong(&except.region));
            }
            if except.reason.trim().is_empty() {
                say(&format!("except_regions[{at}].reason"), "is empty; auditors read it".into());
            }
        }
    }
}

impl Organization {
    fn problems(&self, say: &mut dyn FnMut(&str, String)) {
        let roles = [("role", Some(&self.role)), ("management_role", self.management_role.as_ref())];
        for (key, role) in roles {
            if let Some(why) = role.and_then(|role| not_a_role(role)) {
                say(&format!("accounts.organization.{key}"), why);
            }
        }
        let accounts: Vec<String> = self.except.iter().map(|except| except.account.clone()).collect();
        doubled(&accounts)
            .for_each(|at| say(&format!("accounts.organization.except[{at}].account"), "is there twice".into()));
        for (at, _) in self.except.iter().enumerate().filter(|(_, except)| except.reason.trim().is_empty()) {
            say(&format!("accounts.organization.except[{at}].reason"), "is empty; auditors read it".into());
        }
    }
}

/// What stands for the account in `role`.
const ACCOUNT: &str = "{account}";

/// The places of what is in the list before.
fn doubled(list: &[String]) -> impl Iterator<Item = usize> {
    let mut seen = BTreeSet::new();
    list.iter().enumerate().filter(move |(_, item)| !seen.insert(item.as_str())).map(|(at, _)| at)
}

/// AssumeRole, RoleSessionName.
pub(super) fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len()) && name.chars().all(is_session_character)
}

fn is_session_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// Why a text is no external id (AssumeRole, ExternalId); `None` when it is.
pub(super) fn not_an_external_id(id: &str) -> Option<String> {
    let fits = (2..=1224).contains(&id.len()) && id.chars().all(|c| is_session_character(c) || ":/".contains(c));
    (!fits).then(|| "is no external id: 2 to 1224 letters, digits or characters of `_+=,.@:/-`".into())
}

/// Why a text is not a role's ARN; `None` when it is.
pub(super) fn not_a_role(role: &str) -> Option<String> {
    let parts: Vec<&str> = role.splitn(6, ':').collect();
    let is_role = matches!(
        parts.as_slice(),
        ["arn", partition, "iam", "", account, resource]
            if partition.starts_with("aws") && is_account(account) && resource.len() > 5 && resource.starts_with("role/")
    );
    (!is_role).then(|| format!("{role:?} is no role's ARN: write it as `arn:aws:iam::111122223333:role/name`"))
}

fn not_an_endpoint(url: &str) -> Option<String> {
    let example = "write it as `https://vpce-1.sts.eu-west-1.vpce.amazonaws.com`";
    let plain = url.replace("{region}", "eu-west-1");
    match plain.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            Some(format!("holds a user name; {example}"))
        }
        Ok(uri) if matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some_and(|h| !h.is_empty()) => {
            uri.query().map(|_| format!("has a query; {example}"))
        }
        _ => Some(format!("{url:?} is no address; {example}")),
    }
}

/// `eu-west-1`, `us-gov-west-1`.
pub(super) fn is_region(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let (Some((number, words)), true) = (parts.split_last(), parts.len() >= 3) else { return false };
    number.parse::<u8>().is_ok()
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Twelve digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// An account's id: a text or a number of twelve digits. Of a number that began with a zero, digits are lost.
struct AccountId(String);

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = AccountId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an account's id of 12 digits")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<AccountId, E> {
                let text = number.to_string();
                if is_account(&text) {
                    return Ok(AccountId(text));
                }
                Err(E::custom(format!(
                    "{text} is no account's id, which has 12 digits; if it begins with a zero, put it in quotes: `\"{text:0>12}\"`"
                )))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<AccountId, E> {
                let negative = |_| E::custom(format!("{number} is no account's id, which has 12 digits"));
                self.visit_u64(u64::try_from(number).map_err(negative)?)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AccountId, E> {
                if is_account(text) {
                    return Ok(AccountId(text.to_owned()));
                }
                Err(E::custom(format!(
                    "{text:?} is no account's id, which has 12 digits: write it as `\"111122223333\"`"
                )))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

fn account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    AccountId::deserialize(deserializer).map(|id| id.0)
}

/// What a mapping under `accounts` may have.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromOrganization {
    organization: Organization,
}

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Accounts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of accounts, or `{organization: {role: …}}`")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Accounts, A::Error> {
                let mut accounts = Vec::new();
                while let Some(AccountId(account)) = list.next_element()? {
                    accounts.push(account);
                }
                Ok(Accounts::Given(accounts))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Accounts, A::Error> {
                FromOrganization::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|from| Accounts::Organization(from.organization))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Serialize for Accounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(accounts) => accounts.serialize(serializer),
            Self::Organization(organization) => {
                FromOrganization { organization: organization.clone() }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Regions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Regions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`enabled`, or a list of regions")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Regions, E> {
                match text {
                    "enabled" => Ok(Regions::Enabled),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Regions, A::Error> {
                let mut regions = Vec::new();
                while let Some(region) = list.next_element()? {
                    regions.push(region);
                }
                Ok(Regions::Given(regions))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Serialize for Regions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Enabled => serializer.serialize_str("enabled"),
            Self::Given(regions) => regions.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests;
