//! The proof at the start: whether the store does what the agent relies on. What is written for it lies beside the origin, below
//! `<prefix>/.evidenced-probe/<origin>/`, holds no evidence and is never locked by the agent.

use std::{fmt, path::Path};

use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use rand_core::RngCore as _;
use serde::{Deserialize, Serialize};
use signing::digest::Digest;

use super::{
    client::{Failure, Store},
    config::S3Config,
    write::Writer,
};
use crate::durable::Disk;

/// What the agent relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// What is overwritten or deleted stays as an older version.
    Versioning,
    /// The bucket takes locks.
    ObjectLock,
    /// No retention by default, which would lock what is replaced too.
    NoDefaultRetention,
    /// `If-None-Match: *` is honoured.
    CreateOnly,
    /// `If-Match` is honoured.
    CompareAndSwap,
    /// What does not have the SHA-256 that came with it is refused.
    Checksums,
    /// The store's clock and this host's agree.
    Clock,
}

/// Whether it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was seen to.
    Holds,
    /// It was seen not to.
    Lacks,
    /// It could not be tried.
    CannotTell,
}

/// One property, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Which.
    pub property: Property,
    /// Whether.
    pub answer: Answer,
    /// What was seen, in words.
    pub says: String,
}

/// Clocks that differ by more are a finding; S3 refuses what is signed a quarter of an hour apart.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// An entity tag that no object has.
const NEVER: &str = "\"00000000000000000000000000000000\"";

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Versioning => "versioning",
            Self::ObjectLock => "Object Lock",
            Self::NoDefaultRetention => "no default retention",
            Self::CreateOnly => "create-only writes",
            Self::CompareAndSwap => "compare and swap",
            Self::Checksums => "checksums",
            Self::Clock => "clock",
        })
    }
}

impl Property {
    /// What follows where it is lacking, and what to do.
    pub fn without(self) -> &'static str {
        match self {
            Self::Versioning => "what is overwritten or deleted is gone: switch the bucket's versioning on",
            Self::ObjectLock => {
                "whoever may delete can delete evidence: make a bucket with Object Lock, or write `archive.s3.object_lock: {mode: none}` \
                 and accept it"
            }
            Self::NoDefaultRetention => {
                "each version of the checkpoint and each superseded tile is locked too, and costs room: take the bucket's default \
                 retention away; the agent locks what must be locked"
            }
            Self::CreateOnly | Self::CompareAndSwap => {
                "the store does not keep two agents apart, so it is for one agent only: the agent looks before it writes, and a second one \
                 would fork the log"
            }
            Self::Checksums => {
                "what is damaged on the way is stored, and only seen when it is read: use HTTPS, and verify more often"
            }
            Self::Clock => {
                "retention ends too early or too late, and S3 refuses what is signed 15 minutes apart: synchronise the clock"
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Lacks => "lacks",
            Self::CannotTell => "cannot tell",
        })
    }
}

impl Found {
    fn new(property: Property, answer: Answer, says: impl Into<String>) -> Self {
        Self { property, answer, says: says.into() }
    }

    fn untold(property: Property, failure: &Failure) -> Self {
        Self::new(property, Answer::CannotTell, failure.to_string())
    }
}

/// What the configuration of the bucket says; the failure, where the store could not be asked at all.
pub(super) async fn settings(store: &Store) -> (Vec<Found>, Option<Failure>) {
    let mut found = Vec::new();
    let asked = store.client().get_bucket_versioning().bucket(store.bucket());
    let asked = asked.set_expected_bucket_owner(store.owner()).send().await;
    let away = match asked {
        Ok(answer) if answer.status() == Some(&BucketVersioningStatus::Enabled) => {
            found.push(Found::new(Property::Versioning, Answer::Holds, "it is on"));
            None
        }
        Ok(answer) => {
            let status = answer.status().map_or("never switched on", BucketVersioningStatus::as_str);
            found.push(Found::new(Property::Versioning, Answer::Lacks, format!("it is {status}")));
            None
        }
        Err(error) => {
            let failure = Failure::of("GetBucketVersioning", error);
            found.push(Found::untold(Property::Versioning, &failure));
            Some(failure)
        }
    };
    found.extend(lock(store).await);
    found.push(match store.skew() {
        Some(skew) if skew.abs() <= SKEW => Found::new(
            Property::Clock,
            Answer::Holds,
            format!("the store's differs by less than {} s", SKEW.num_seconds()),
        ),
        Some(skew) => {
            let way = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
            let says = format!("the store's is {} s {way} this host's", skew.num_seconds().abs());
            Found::new(Property::Clock, Answer::Lacks, says)
        }
        None => Found::new(Property::Clock, Answer::CannotTell, "the store does not say its time"),
    });
    (found, away)
}

async fn lock(store: &Store) -> Vec<Found> {
    let (object_lock, default) = (Property::ObjectLock, Property::NoDefaultRetention);
    let asked = store.client().get_object_lock_configuration().bucket(store.bucket());
    let answer = match asked.set_expected_bucket_owner(store.owner()).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let failure = Failure::of("GetObjectLockConfiguration", error);
            if failure.is_absent() {
                return vec![Found::new(object_lock, Answer::Lacks, "the bucket was made without it")];
            }
            return vec![Found::untold(object_lock, &failure), Found::untold(default, &failure)];
        }
    };
    let set = answer.object_lock_configuration();
    if set.and_then(|set| set.object_lock_enabled()) != Some(&ObjectLockEnabled::Enabled) {
        return vec![Found::new(object_lock, Answer::Lacks, "it is not enabled")];
    }
    let rule = set.and_then(|set| set.rule()).and_then(|rule| rule.default_retention());
    let default = match rule {
        None => Found::new(default, Answer::Holds, "the bucket has none"),
        Some(rule) => {
            let (years, days) = (rule.years().unwrap_or_default(), rule.days().unwrap_or_default());
            let length = if years > 0 { format!("{years} years") } else { format!("{days} days") };
            Found::new(default, Answer::Lacks, format!("the bucket locks everything for {length}"))
        }
    };
    vec![Found::new(object_lock, Answer::Holds, "it is enabled"), default]
}

/// What the store does with writes, tried on objects of their own.
pub(super) async fn writes(writer: &Writer) -> Vec<Found> {
    vec![create_only(writer).await, compare_and_swap(writer).await, checksums(writer).await]
}

/// Whether a store says that it does not know a header (RFC 9110, 501), or refuses it.
fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.status, Some(400 | 501))
}

async fn create_only(writer: &Writer) -> Found {
    let property = Property::CreateOnly;
    let put = async |bytes: &[u8]| {
        let request = writer.plain(key(&writer.store, "create"), bytes.to_vec()).if_none_match("*");
        request.send().await.map_err(|error| Failure::of("PutObject", error))
    };
    let lacks = "a second write with `If-None-Match: *` succeeded";
    match put(b"one").await {
        Ok(_) => match put(b"two").await {
            Ok(_) => Found::new(property, Answer::Lacks, lacks),
            Err(failure) if failure.is_precondition() => {
                Found::new(property, Answer::Holds, "a second write was refused (412)")
            }
            Err(failure) => Found::untold(property, &failure),
        },
        // An earlier start made it.
        Err(failure) if failure.is_precondition() => {
            Found::new(property, Answer::Holds, "a second write was refused (412)")
        }
        Err(failure) if is_unknown(&failure) => {
            Found::new(property, Answer::Lacks, format!("`If-None-Match` is refused: {failure}"))
        }
        Err(failure) => Found::untold(property, &failure),
    }
}

async fn compare_and_swap(writer: &Writer) -> Found {
    let (property, key) = (Property::CompareAndSwap, key(&writer.store, "replace"));
    let put = async |fits: Option<&str>, bytes: &[u8]| {
        let request = writer.plain(key.clone(), bytes.to_vec());
        let request = match fits {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        request.send().await.map_err(|error| Failure::of("PutObject", error))
    };
    let refused = |failure: Failure| match is_unknown(&failure) {
        true => Found::new(property, Answer::Lacks, format!("the condition is refused: {failure}")),
        false => Found::untold(property, &failure),
    };
    let there = match writer.store.get_key(key.clone(), None, None).await {
        Ok(object) => object.etag,
        Err(failure) if failure.is_absent() => match put(None, b"one").await {
            Ok(made) => made.e_tag().unwrap_or_default().to_owned(),
            Err(failure) => return refused(failure),
        },
        Err(failure) => return Found::untold(property, &failure),
    };
    match put(Some(NEVER), b"two").await {
        Ok(_) => return Found::new(property, Answer::Lacks, "a write with an `If-Match` that does not fit succeeded"),
        Err(failure) if !failure.is_precondition() => return refused(failure),
        Err(_) => {}
    }
    let holds = || Found::new(property, Answer::Holds, "only the write with an `If-Match` that fits succeeded");
    let mut random = [0; 16];
    rand_core::OsRng.fill_bytes(&mut random);
    let failure = match put(Some(&there), &random).await {
        Ok(_) => return holds(),
        Err(failure) if failure.is_precondition() => failure,
        Err(failure) => return refused(failure),
    };
    // Refused at its second try, after the answer to the first was lost; or the store compares with something else than it gave.
    match writer.store.get_key(key.clone(), None, None).await {
        Ok(object) if object.etag != there => holds(),
        Ok(_) => Found::new(property, Answer::Lacks, "a write with an `If-Match` that fits was refused (412)"),
        Err(_) => Found::untold(property, &failure),
    }
}

async fn checksums(writer: &Writer) -> Found {
    let property = Property::Checksums;
    let wrong = STANDARD.encode(Digest::of(b"something else").0);
    let request = writer.plain(key(&writer.store, "checksum"), b"something".to_vec()).if_none_match("*");
    match request.checksum_sha256(wrong).send().await.map_err(|error| Failure::of("PutObject", error)) {
        // 412: an earlier start found that it is taken.
        Ok(_) => Found::new(property, Answer::Lacks, "a write with a wrong SHA-256 succeeded"),
        Err(failure) if failure.is_precondition() => {
            Found::new(property, Answer::Lacks, "a write with a wrong SHA-256 succeeded before")
        }
        Err(failure) if failure.status == Some(400) => {
            Found::new(property, Answer::Holds, "a write with a wrong SHA-256 was refused (400)")
        }
        Err(failure) => Found::untold(property, &failure),
    }
}

/// `<prefix>/.evidenced-probe/<origin>/<name>`.
fn key(store: &Store, name: &str) -> String {
    let root = store.root().trim_end_matches('/');
    match root.rsplit_once('/') {
        Some((prefix, origin)) => format!("{prefix}/{PROBE}/{origin}/{name}"),
        None => format!("{PROBE}/{root}/{name}"),
    }
}

/// The directory of what is written for the proof, beside the origins.
pub const PROBE: &str = ".evidenced-probe";

/// What an earlier start found out by writing, in `state_dir`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cached {
    format: String,
    place: String,
    settings: Digest,
    found: Vec<Found>,
}

const FORMAT: &str = "evidenced-archive-proof/1";

fn digest(config: &S3Config) -> Digest {
    Digest::of(&serde_json::to_vec(config).unwrap_or_default())
}

fn path(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("cache").join("archive-proof.json")
}

/// What an earlier start found, with the same settings; `None` where it must be tried.
pub(super) fn cached(state_dir: &Path, store: &Store, config: &S3Config) -> Option<Vec<Found>> {
    let bytes = std::fs::read(path(state_dir)).ok()?;
    let cached: Cached = serde_json::from_slice(&bytes).ok()?;
    let same = cached.format == FORMAT && cached.place == store.place() && cached.settings == digest(config);
    same.then_some(cached.found)
}

/// Keeps what was found, where all of it could be told, so that a restart does not write again.
pub(super) fn keep(state_dir: &Path, disk: &Disk, store: &Store, config: &S3Config, found: &[Found]) {
    if found.iter().any(|found| found.answer == Answer::CannotTell) {
        return;
    }
    let (place, settings) = (store.place().to_owned(), digest(config));
    let cached = Cached { format: FORMAT.into(), place, settings, found: found.to_vec() };
    let path = path(state_dir);
    let written = disk
        .make_private_dirs(path.parent().unwrap_or(state_dir))
        .and_then(|()| disk.replace(&path, &serde_json::to_vec(&cached)?));
    if let Err(error) = written {
        tracing::warn!(%error, "what the archive's store can do could not be kept; the next start tries it again");
    }
}
