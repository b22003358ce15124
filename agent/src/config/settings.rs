//! The settings, each with its default. Without any of them the agent reads this host into `./evidence`. They hold no secret: secrets
//! are files, named here.
//!
//! Relative paths are taken from the working directory.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;
use collectors::{aws::config::AwsConfig, host::config::HostConfig};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{duration::Duration, key::KeyConfig, promise::ControlsConfig};
use crate::{archive::s3::S3Config, keystore::Paths, witness::config::WitnessConfig};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of the log, such as `evidence.acme.example/prod`. One agent writes it, and it is never used again. None: the one that
    /// `keys.json` names.
    pub origin: Option<String>,
    /// The observation period that reports take by default.
    pub period: Option<Period>,
    /// Spool and caches: trusted for durability until upload, for nothing else.
    pub state_dir: PathBuf,
    /// Where sealed evidence goes.
    pub archive: ArchiveConfig,
    /// What it is signed with.
    pub signing: SigningConfig,
    /// The systems that are read. None written: this host.
    pub sources: Vec<SourceConfig>,
    /// Where the collectors' own schedules and limits do not fit.
    pub jobs: Vec<JobConfig>,
    /// What holds for every job that `jobs` does not say otherwise of.
    pub schedule: ScheduleConfig,
    /// At most so many runs at the same time.
    pub parallel_jobs: u16,
    /// How often what was sealed is appended to the log; at least `1s`.
    pub append_every: Duration,
    /// How long a stop may take until what still runs is given up.
    pub stop_within: Duration,
    /// No run starts while the spool is larger; none: no limit but the disk's.
    pub max_spool_bytes: Option<u64>,
    /// What is promised, and what the checks work with.
    pub controls: ControlsConfig,
    /// What the agent says of itself, on standard error.
    pub log: LogConfig,
}

/// `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// The first day, in UTC: `2026-07-01`.
    #[serde(deserialize_with = "day")]
    pub from: NaiveDate,
    /// The last day.
    #[serde(deserialize_with = "day")]
    pub to: NaiveDate,
}

fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom(format!("{text:?} is no day: write it as `2026-07-01`")))
}

/// `archive`: a directory or a bucket, and one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, from = "WrittenArchive")]
pub struct ArchiveConfig {
    /// A directory; each origin is a directory in it. None: another kind is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// A bucket in S3, or in a store that speaks as S3 does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
}

/// What of it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenArchive {
    directory: Option<PathBuf>,
    s3: Option<S3Config>,
}

impl From<WrittenArchive> for ArchiveConfig {
    fn from(written: WrittenArchive) -> Self {
        match written {
            WrittenArchive { directory: None, s3: None } => Self::default(),
            WrittenArchive { directory, s3 } => Self { directory, s3 },
        }
    }
}

/// Where an archive is.
#[derive(Debug, Clone, Copy)]
pub enum ArchivePlace<'a> {
    /// In a directory.
    Directory(&'a Path),
    /// In a bucket.
    S3(&'a S3Config),
}

impl ArchiveConfig {
    /// The one that is written.
    pub fn place(&self) -> ArchivePlace<'_> {
        match (&self.s3, &self.directory) {
            (Some(s3), _) => ArchivePlace::S3(s3),
            (None, Some(directory)) => ArchivePlace::Directory(directory),
            (None, None) => ArchivePlace::Directory(Path::new(DIRECTORY)),
        }
    }

    /// As `verify` takes it: the directory, or `s3://bucket/prefix`.
    pub fn address(&self) -> String {
        match self.place() {
            ArchivePlace::Directory(directory) => directory.display().to_string(),
            ArchivePlace::S3(s3) => s3.address(),
        }
    }

    /// What `verify` must be told besides, to find a bucket from a machine without this configuration: ` --region eu-west-1`.
    pub fn options(&self) -> String {
        let ArchivePlace::S3(s3) = self.place() else { return String::new() };
        let named = [("region", &s3.region), ("endpoint", &s3.endpoint)];
        named.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!(" --{name} {value}"))).collect()
    }

    /// For how many days everything is kept, where something sees to it.
    pub fn retention_days(&self) -> Option<u32> {
        self.s3.as_ref().and_then(|s3| s3.object_lock.days())
    }
}

/// The archive that no configuration names.
const DIRECTORY: &str = "./evidence";

/// `signing`. `evidenced keys init` makes the files; `collect` without a configuration does so too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningConfig {
    /// The key that signs receipts.
    pub receipts: KeyConfig,
    /// The key that signs checkpoints.
    pub checkpoints: KeyConfig,
    /// `keys.json`, which names both and is signed by the owner's root key.
    pub keys: PathBuf,
    /// Keys that others follow, and that do not lie beside them: they seal what was made for them and waits.
    pub earlier: Vec<KeyConfig>,
    /// Who says when.
    pub timestamps: TimestampsConfig,
    /// Who is shown every checkpoint, and signs those that continue the one before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessConfig>,
}

/// `signing.timestamps`: RFC 3161.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimestampsConfig {
    /// The timestamp authorities that are asked, each by itself. None: nothing is sent to anybody.
    pub authorities: Vec<AuthorityConfig>,
    /// How often a log that grew is anchored.
    pub anchor_every: Duration,
    /// Whether a token over each entry's signature is asked for while it waits in the spool. It is never waited for.
    pub in_seals: bool,
}

/// One of `signing.timestamps.authorities`: its address, or a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthorityConfig {
    /// Where it is asked: `http://` or `https://`.
    pub url: String,
    /// It is asked no more often.
    pub every: Duration,
    /// A PEM file with root certificates that its tokens may lead to, beside the public ones that the program knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl AuthorityConfig {
    /// What the public ones ask for at most.
    const EVERY: Duration = Duration::seconds(15);

    /// One with no settings of its own.
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), every: Self::EVERY, ca: None }
    }
}

/// What of it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAuthority {
    url: String,
    #[serde(default)]
    every: Option<Duration>,
    #[serde(default)]
    ca: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for AuthorityConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = AuthorityConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or a mapping with `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<AuthorityConfig, E> {
                Ok(AuthorityConfig::at(url))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<AuthorityConfig, A::Error> {
                let written = WrittenAuthority::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let every = written.every.unwrap_or(AuthorityConfig::EVERY);
                Ok(AuthorityConfig { url: written.url, every, ca: written.ca })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One of `sources`: a name and one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The part after `@` in the names of its jobs.
    pub name: String,
    /// A Linux host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostConfig>,
    /// AWS accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsConfig>,
}

/// One of `jobs`: a collector, on one source or on all that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// `host/accounts`.
    pub collector: String,
    /// A source's name; none: every source that has the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Five fields as in crontab, or `@hourly` and its kin; none: the collector's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The IANA time zone of the schedule; none: `schedule.zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `false`: the job does not run, and the plan says why.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Why it is not enabled; auditors read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long a run may take with all its attempts; none: the collector's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// None: `schedule.start_within`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within: Option<Duration>,
    /// None: `schedule.grace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// None: `schedule.attempts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// None: `schedule.spread`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Duration>,
}

fn yes() -> bool {
    true
}

/// `schedule`: whole seconds, for the plan states seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The IANA time zone of schedules.
    pub zone: String,
    /// A run may start until so long after its slot; after that the slot is missed.
    pub start_within: Duration,
    /// A run that starts later than this after its slot is marked late.
    pub grace: Duration,
    /// Runs start up to so long after their slots, so that they do not all start at once. Slots stay where they are.
    pub spread: Duration,
    /// How long after start-within and deadline a slot may still be on its way into the log.
    pub settle: Duration,
    /// At most so many attempts in a run, within its deadline.
    pub attempts: u32,
}

/// `log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Lines for a person, or JSON.
    pub format: LogFormat,
    /// The least important that is said.
    pub level: LogLevel,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What stops something.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As `tracing` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: None,
            period: None,
            state_dir: "./evidence.state".into(),
            archive: ArchiveConfig::default(),
            signing: SigningConfig::default(),
            sources: vec![SourceConfig { name: "this".into(), host: Some(HostConfig::default()), aws: None }],
            jobs: Vec::new(),
            schedule: ScheduleConfig::default(),
            parallel_jobs: 4,
            append_every: Duration::seconds(60),
            stop_within: Duration::seconds(30),
            max_spool_bytes: None,
            controls: ControlsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self { directory: Some(DIRECTORY.into()), s3: None }
    }
}

/// Where keys are that no configuration names.
const KEYS: &str = "./evidence.keys";

impl Default for SigningConfig {
    fn default() -> Self {
        let file = |name: &str| Path::new(KEYS).join(name);
        Self {
            receipts: KeyConfig::file(file("receipts.pem")),
            checkpoints: KeyConfig::file(file("checkpoint.pem")),
            keys: file("keys.json"),
            earlier: Vec::new(),
            timestamps: TimestampsConfig::default(),
            witnesses: Vec::new(),
        }
    }
}

impl Default for TimestampsConfig {
    fn default() -> Self {
        Self { authorities: Vec::new(), anchor_every: Duration::seconds(10 * 60), in_seals: false }
    }
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            zone: "UTC".into(),
            start_within: Duration::seconds(30 * 60),
            grace: Duration::seconds(5 * 60),
            spread: Duration::seconds(0),
            settle: Duration::seconds(10 * 60),
            attempts: 3,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// What the configuration wants of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// It runs.
    Run(JobSettings),
    /// It does not, and why.
    Off(String),
}

/// A job's schedule and limits, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSettings {
    /// As written, by the operator or by the collector.
    pub schedule: String,
    /// An IANA time zone.
    pub zone: String,
    /// A run may start until so long after its slot.
    pub start_within: std::time::Duration,
    /// A run ends so long after its start at the latest.
    pub deadline: std::time::Duration,
    /// A later start is late.
    pub grace: std::time::Duration,
    /// Runs start up to so long after their slots.
    pub spread: std::time::Duration,
    /// At most so many attempts.
    pub attempts: u32,
}

impl Config {
    /// Where the keys are that the agent signs with.
    pub fn key_paths(&self) -> Paths {
        Paths {
            receipts: self.signing.receipts.place(),
            checkpoint: self.signing.checkpoints.place(),
            earlier: self.signing.earlier.iter().map(KeyConfig::place).collect(),
            keys: self.signing.keys.clone(),
        }
    }

    /// `$parameters`, as `controls` takes them.
    pub fn parameters(&self) -> Value {
        Value::Object(self.controls.parameters.clone())
    }

    /// What is wanted of a collector on a source. Its own `schedule` and `deadline` hold where nothing is written; what is written for
    /// the source goes before what is written for all.
    pub fn wish(&self, collector: &str, source: &str, schedule: &str, deadline: std::time::Duration) -> Wish {
        let of = |named: bool| {
            self.jobs.iter().find(move |job| {
                job.collector == collector && job.source.as_deref().map_or(!named, |s| named && s == source)
            })
        };
        let written: Vec<&JobConfig> = [of(true), of(false)].into_iter().flatten().collect();
        if let Some(JobConfig { enabled: false, reason, .. }) = written.first() {
            return Wish::Off(reason.clone().unwrap_or_else(|| "switched off in the configuration".into()));
        }
        fn first<T>(written: &[&JobConfig], field: impl Fn(&JobConfig) -> Option<T>) -> Option<T> {
            written.iter().find_map(|job| field(job))
        }
        let defaults = &self.schedule;
        Wish::Run(JobSettings {
            schedule: first(&written, |job| job.schedule.clone()).unwrap_or_else(|| schedule.to_owned()),
            zone: first(&written, |job| job.zone.clone()).unwrap_or_else(|| defaults.zone.clone()),
            start_within: first(&written, |job| job.start_within).unwrap_or(defaults.start_within).get(),
            deadline: first(&written, |job| job.deadline).map_or(deadline, Duration::get),
            grace: first(&written, |job| job.grace).unwrap_or(defaults.grace).get(),
            spread: first(&written, |job| job.spread).unwrap_or(defaults.spread).get(),
            attempts: first(&written, |job| job.attempts).unwrap_or(defaults.attempts),
        })
    }
}
