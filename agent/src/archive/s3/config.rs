//! The settings of an archive in S3. They hold no secret: the credentials come from where the AWS SDKs look for them.

use std::path::PathBuf;

use collectors::aws::sdk;
use serde::{Deserialize, Serialize};

use crate::config::Duration;

/// `archive.s3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket's name. It is there already: the agent makes none.
    pub bucket: String,
    /// What the names of all objects begin with; each origin is `<prefix>/<origin>/`. None: the bucket's top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// None: as the AWS SDKs find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where an S3-compatible store is asked instead of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the bucket's name is put into the path instead of the host's name, as many S3-compatible stores want it.
    #[serde(default)]
    pub path_style: bool,
    /// A PEM file with the certificates that are trusted instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<PathBuf>,
    /// A profile of the AWS configuration files; none: `AWS_PROFILE`, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The role that is assumed; none: the credentials as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the role's trust policy asks for as `sts:ExternalId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The name of the role's session, as CloudTrail shows it.
    #[serde(default = "session_name")]
    pub session_name: String,
    /// The account that must own the bucket; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_owner: Option<String>,
    /// The KMS key that objects are encrypted with, by ARN; none: the bucket's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The storage class of bundles; everything else is small and read often. None: the bucket's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How the store keeps objects from being deleted.
    #[serde(default)]
    pub object_lock: ObjectLock,
}

/// `archive.s3.object_lock`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectLock {
    /// None: governance, as for a trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LockMode>,
    /// How long everything is kept from its writing on, in whole days; none: [`TRIAL`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// Whether objects are put under legal hold too: then they stay until somebody ends it.
    #[serde(default)]
    pub legal_hold: bool,
}

/// `archive.s3.object_lock.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Nothing is locked: whoever may delete can delete.
    None,
    /// Whoever has a right of its own can end it.
    Governance,
    /// Nobody can end it, the account's root user among them.
    Compliance,
}

/// The retention where none is written.
pub const TRIAL: Duration = Duration::seconds(3 * DAY);

const DAY: u64 = 86_400;

/// Object Lock takes at most a hundred years.
const LONGEST: u64 = 36_500 * DAY;

/// Classes whose objects are read at once, and lie in more than one place.
const STORAGE_CLASSES: [&str; 4] = ["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR"];

fn session_name() -> String {
    "evidenced".into()
}

impl ObjectLock {
    /// The mode with its retention; `None`: nothing is locked.
    pub fn in_force(&self) -> Option<(LockMode, std::time::Duration)> {
        match self.mode.unwrap_or(LockMode::Governance) {
            LockMode::None => None,
            mode => Some((mode, self.retention.unwrap_or(TRIAL).get())),
        }
    }

    /// What the plan states.
    pub fn days(&self) -> Option<u32> {
        self.in_force().and_then(|(_, retention)| u32::try_from(retention.as_secs() / DAY).ok())
    }
}

impl S3Config {
    /// A bucket with everything else left to its defaults.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: None,
            region: None,
            endpoint: None,
            path_style: false,
            ca_bundle: None,
            profile: None,
            role: None,
            external_id: None,
            session_name: session_name(),
            bucket_owner: None,
            kms_key: None,
            storage_class: None,
            object_lock: ObjectLock::default(),
        }
    }

    /// `s3://bucket/prefix`.
    pub fn address(&self) -> String {
        match self.prefix() {
            "" => format!("s3://{}", self.bucket),
            prefix => format!("s3://{}/{prefix}", self.bucket),
        }
    }

    /// The prefix without slashes around it; `""`: none.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or_default().trim_matches('/')
    }

    /// What the types alone do not refuse: each problem with the key that it is at.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |key: &str, text: String| problems.push((key.to_owned(), text));
        if !is_bucket(&self.bucket) {
            say("bucket", format!("{:?} is no bucket's name", self.bucket));
        }
        let is_plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=+".contains(&b))
        };
        if self.prefix.is_some() && !self.prefix().split('/').all(is_plain) {
            say(
                "prefix",
                "is no prefix: write letters, digits and `-_.=+` with `/` between them, such as `evidence/prod`".into(),
            );
        }
        if let Some(region) = &self.region
            && self.endpoint.is_none()
            && !sdk::is_region(region)
        {
            say("region", format!("{region:?} is no region: write it as `eu-west-1`"));
        }
        if let Some(endpoint) = &self.endpoint
            && !is_endpoint(endpoint)
        {
            say("endpoint", format!("{endpoint:?} is no address: write it as `https://s3.example.com`"));
        }
        if self.ca_bundle.as_ref().is_some_and(|path| !path.is_absolute()) {
            say("ca_bundle", "must be an absolute path".into());
        }
        if let Some(why) = self.role.as_deref().and_then(sdk::not_a_role) {
            say("role", why);
        }
        if self.external_id.is_some() && self.role.is_none() {
            say("external_id", "is for assuming a `role`, and there is none".into());
        }
        if let Some(why) = self.external_id.as_deref().and_then(sdk::not_an_external_id) {
            say("external_id", why);
        }
        if !sdk::is_session_name(&self.session_name) {
            say("session_name", "must have 2 to 64 letters, digits or characters of `_=,.@-`".into());
        }
        if self.bucket_owner.as_ref().is_some_and(|id| id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit())) {
            say("bucket_owner", "is no account's id, which has 12 digits".into());
        }
        if self.kms_key.as_ref().is_some_and(|key| !key.starts_with("arn:aws") || !key.contains(":kms:")) {
            say("kms_key", "is no key's ARN: write it as `arn:aws:kms:eu-west-1:111122223333:key/…`".into());
        }
        if let Some(class) = &self.storage_class
            && !STORAGE_CLASSES.contains(&class.as_str())
        {
            say(
                "storage_class",
                format!(
                    "{class:?} is none of {}: evidence is read at once, and lies in more than one place",
                    STORAGE_CLASSES.join(", ")
                ),
            );
        }
        self.object_lock.problems(&mut |key, text| say(&format!("object_lock{key}"), text));
        problems
    }

    /// What is allowed and yet worth a look.
    pub fn notes(&self) -> Vec<String> {
        let lock = &self.object_lock;
        let mut notes = Vec::new();
        if lock.mode == Some(LockMode::None) {
            notes.push(
                "archive.s3.object_lock: nothing is locked: whoever may delete in the bucket can delete evidence"
                    .into(),
            );
        } else if lock.retention.is_none() {
            notes.push(format!(
                "archive.s3.object_lock: nothing is written, so this is a trial: governance mode for {TRIAL}. For production write `mode: \
                 compliance` and a `retention` as long as evidence must be kept"
            ));
        }
        notes
    }
}

impl ObjectLock {
    fn problems(&self, say: &mut dyn FnMut(&str, String)) {
        if self.mode == Some(LockMode::Compliance) && self.retention.is_none() {
            say("", "compliance mode cannot be undone by anybody: write its `retention` too, such as `400d`".into());
        }
        if self.mode == Some(LockMode::None) {
            if self.retention.is_some() {
                say(".retention", "is for a mode that locks; with `mode: none` leave it out".into());
            }
            if self.legal_hold {
                say(".legal_hold", "needs Object Lock: write a mode that locks".into());
            }
        }
        if let Some(retention) = self.retention {
            let seconds = retention.get().as_secs();
            if seconds % DAY != 0 || retention.get().subsec_nanos() != 0 {
                say(".retention", format!("{retention} is not whole days, which the plan states"));
            } else if !(DAY..=LONGEST).contains(&seconds) {
                say(".retention", format!("{retention} is not from 1d to 36500d"));
            }
        }
    }
}

/// Names of buckets, as S3 and stores like it take them.
fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// `https://host[:port]`, also with a path.
pub(crate) fn is_endpoint(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty() && !host.contains('@') && !url.contains(['?', '#', ' '])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: &str) -> S3Config {
        serde_json::from_str(json).unwrap()
    }

    fn refused(json: &str) -> Vec<String> {
        read(json).problems().into_iter().map(|(key, text)| format!("{key}: {text}")).collect()
    }

    #[test]
    fn nothing_written_is_a_trial_and_says_so() {
        let config = read(r#"{"bucket": "acme-evidence"}"#);
        assert_eq!(config, S3Config::new("acme-evidence"));
        assert_eq!(config.problems(), []);
        assert_eq!(config.object_lock.in_force(), Some((LockMode::Governance, TRIAL.get())));
        assert_eq!(config.object_lock.days(), Some(3));
        assert!(config.notes()[0].contains("governance mode for 3d"), "{:?}", config.notes());
        assert_eq!(config.address(), "s3://acme-evidence");
    }

    #[test]
    fn compliance_mode_without_its_retention_is_refused() {
        let text = refused(r#"{"bucket": "acme-evidence", "object_lock": {"mode": "compliance"}}"#);
        assert!(text[0].starts_with("object_lock: compliance mode cannot be undone"), "{text:?}");
        let config = read(r#"{"bucket": "acme-evidence", "object_lock": {"mode": "compliance", "retention": "400d"}}"#);
        assert_eq!((config.problems(), config.object_lock.days()), (vec![], Some(400)));
        assert_eq!(config.notes(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (json, key) in [
            (r#"{"bucket": "Acme"}"#, "bucket: "),
            (r#"{"bucket": "acme", "prefix": "a//b"}"#, "prefix: "),
            (r#"{"bucket": "acme", "prefix": ".hidden"}"#, "prefix: "),
            (r#"{"bucket": "acme", "region": "Europe"}"#, "region: "),
            (r#"{"bucket": "acme", "endpoint": "https://user@host"}"#, "endpoint: "),
            (r#"{"bucket": "acme", "ca_bundle": "ca.pem"}"#, "ca_bundle: "),
            (r#"{"bucket": "acme", "role": "evidenced"}"#, "role: "),
            (r#"{"bucket": "acme", "external_id": "abc"}"#, "external_id: "),
            (r#"{"bucket": "acme", "session_name": "x"}"#, "session_name: "),
            (r#"{"bucket": "acme", "bucket_owner": "12"}"#, "bucket_owner: "),
            (r#"{"bucket": "acme", "kms_key": "alias/x"}"#, "kms_key: "),
            (r#"{"bucket": "acme", "storage_class": "DEEP_ARCHIVE"}"#, "storage_class: "),
            (r#"{"bucket": "acme", "object_lock": {"retention": "36h"}}"#, "object_lock.retention: "),
            (r#"{"bucket": "acme", "object_lock": {"mode": "none", "retention": "3d"}}"#, "object_lock.retention: "),
            (r#"{"bucket": "acme", "object_lock": {"mode": "none", "legal_hold": true}}"#, "object_lock.legal_hold: "),
        ] {
            let text = refused(json);
            assert!(text.len() == 1 && text[0].starts_with(key), "{json}: {text:?}");
        }
    }
}
