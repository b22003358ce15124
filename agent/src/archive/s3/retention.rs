//! Retention: what is kept, and until when. It is only ever extended: of what newer receipts need (tiles, keys, plans) for as long as those
//! are kept. The rest of the module's work once a day is to end uploads that a dead agent left.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use aws_sdk_s3::{
    primitives::DateTime,
    types::{ObjectLockMode, ObjectLockRetention},
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use signing::time::Utc;

use super::{
    client::{Failure, Store},
    config::{LockMode, ObjectLock},
};
use crate::durable::Disk;

/// What is locked is kept for longer by this part of the retention, so that it is extended rarely …
const SLACK: u32 = 10;

/// … and by this at least, so that what looks once a day is in time.
const LEAST_SLACK: Duration = Duration::from_secs(2 * 86_400);

/// What looks once a day extends this long before the slack is used up.
const BEFORE: Duration = Duration::from_secs(86_400);

/// Objects that are extended at the same time.
const AT_ONCE: usize = 8;

/// An upload in parts that is older was left by a dead agent.
const ABANDONED: Duration = Duration::from_secs(86_400);

/// How long, and how firmly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retention {
    mode: LockMode,
    /// From the newest receipt on.
    length: Duration,
}

impl Retention {
    pub(super) fn of(lock: &ObjectLock) -> Option<Self> {
        lock.in_force().map(|(mode, length)| Self { mode, length })
    }

    pub(super) fn mode(&self) -> ObjectLockMode {
        match self.mode {
            LockMode::Compliance => ObjectLockMode::Compliance,
            LockMode::Governance | LockMode::None => ObjectLockMode::Governance,
        }
    }

    fn slack(&self) -> Duration {
        (self.length / SLACK).max(LEAST_SLACK)
    }

    /// Until when something is kept that is written, or extended, now.
    pub(super) fn until(&self, now: Utc) -> DateTime {
        let seconds = (self.length + self.slack()).as_secs();
        DateTime::from_secs(now.timestamp().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }

    /// Whether what was last extended at `last` is to be extended now, so that it always outlasts what is written now.
    fn is_due(&self, last: Option<Utc>, now: Utc) -> bool {
        let Some(last) = last else { return true };
        let lasts = (self.slack() - BEFORE).as_secs();
        // A clock that was set back says nothing of how long ago it was.
        now < last || (now - last).num_seconds() >= i64::try_from(lasts).unwrap_or(i64::MAX)
    }
}

/// Whether an object is locked: all but the checkpoint, the decisions of appends and partial tiles, which are replaced or superseded.
pub(super) fn is_locked(name: &str) -> bool {
    let kinds = ["anchor/", "bundle/", "document/", "seal/", "tile/"];
    kinds.iter().any(|kind| name.starts_with(kind)) && !name.contains(".p/")
}

/// What newer receipts need: they are proved by all tiles, under keys and plans of any age.
const NEEDED: [&str; 2] = ["tile/", "document/"];

/// What a renewal did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Objects whose retention was extended.
    pub extended: u64,
    /// Objects that are kept for long enough.
    pub enough: u64,
    /// Unfinished uploads that were ended.
    pub aborted: u64,
}

/// Extends what newer receipts need, if that is due.
pub(super) async fn renew(
    store: &Store,
    retention: &Retention,
    last: &Last,
    now: Utc,
) -> Result<Option<Renewed>, Failure> {
    if !retention.is_due(last.read(store, retention), now) {
        return Ok(None);
    }
    let mut renewed = Renewed::default();
    for prefix in NEEDED {
        let listed = store.list(prefix).await?;
        let names = listed.into_iter().map(|listed| listed.name).filter(|name| is_locked(name));
        let mut all = stream::iter(names.map(|name| extend(store, retention, name, now))).buffer_unordered(AT_ONCE);
        while let Some(extended) = all.next().await {
            if extended? { renewed.extended += 1 } else { renewed.enough += 1 }
        }
    }
    last.write(store, retention, now);
    Ok(Some(renewed))
}

/// Whether it had to be extended. What is kept for longer, or more firmly, stays so.
async fn extend(store: &Store, retention: &Retention, name: String, now: Utc) -> Result<bool, Failure> {
    let until = retention.until(now);
    let asked = store.client().head_object().bucket(store.bucket()).key(store.key(&name));
    let found = asked.set_expected_bucket_owner(store.owner()).send().await;
    let found = found.map_err(|error| Failure::of("HeadObject", error))?;
    let firm = found.object_lock_mode() == Some(&ObjectLockMode::Compliance);
    let mode = if firm { ObjectLockMode::Compliance } else { retention.mode() };
    let same_mode = found.object_lock_mode().is_some_and(|there| there.as_str() == mode.as_str());
    let kept = found.object_lock_retain_until_date().map(DateTime::secs);
    let until = DateTime::from_secs(kept.unwrap_or(i64::MIN).max(until.secs()));
    if same_mode && kept.is_some_and(|kept| kept >= until.secs()) {
        return Ok(false);
    }
    let set = ObjectLockRetention::builder().mode(as_retention(&mode)).retain_until_date(until).build();
    let request = store.client().put_object_retention().bucket(store.bucket()).key(store.key(&name)).retention(set);
    let request = request.set_expected_bucket_owner(store.owner()).send().await;
    request.map(|_| true).map_err(|error| Failure::of("PutObjectRetention", error))
}

fn as_retention(mode: &ObjectLockMode) -> aws_sdk_s3::types::ObjectLockRetentionMode {
    aws_sdk_s3::types::ObjectLockRetentionMode::from(mode.as_str())
}

/// Ends uploads in parts below the origin that nobody goes on with.
pub(super) async fn abort_abandoned(store: &Store, now: Utc) -> Result<u64, Failure> {
    let asked = store.client().list_multipart_uploads().bucket(store.bucket()).prefix(store.root());
    let found = asked.set_expected_bucket_owner(store.owner()).send().await;
    let found = found.map_err(|error| Failure::of("ListMultipartUploads", error))?;
    let before = now.timestamp() - i64::try_from(ABANDONED.as_secs()).unwrap_or_default();
    let mut aborted = 0;
    for upload in found.uploads() {
        let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
        if upload.initiated().is_some_and(|at| at.secs() < before) {
            store.abort(key, id).await;
            aborted += 1;
        }
    }
    Ok(aborted)
}

/// When it was last extended, in `state_dir`: without it everything is looked at again.
#[derive(Debug, Clone)]
pub(super) struct Last {
    path: PathBuf,
    disk: Disk,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: String,
    place: String,
    mode: LockMode,
    seconds: u64,
    at: Utc,
}

const FORMAT: &str = "evidenced-retention/1";

impl Last {
    pub(super) fn in_dir(state_dir: &Path, disk: &Disk) -> Self {
        Self { path: state_dir.join("cache").join("retention.json"), disk: disk.clone() }
    }

    fn read(&self, store: &Store, retention: &Retention) -> Option<Utc> {
        let kept: Kept = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        let same = kept.format == FORMAT
            && kept.place == store.place()
            && (kept.mode, kept.seconds) == (retention.mode, retention.length.as_secs());
        same.then_some(kept.at)
    }

    fn write(&self, store: &Store, retention: &Retention, at: Utc) {
        let (mode, seconds) = (retention.mode, retention.length.as_secs());
        let kept = Kept { format: FORMAT.into(), place: store.place().to_owned(), mode, seconds, at };
        let written = self
            .disk
            .make_private_dirs(self.path.parent().unwrap_or(&self.path))
            .and_then(|()| self.disk.replace(&self.path, &serde_json::to_vec(&kept)?));
        if let Err(error) = written {
            tracing::warn!(%error, "when retention was extended could not be kept; the next start looks at everything again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn days(days: u64) -> Retention {
        Retention { mode: LockMode::Compliance, length: Duration::from_secs(days * DAY) }
    }

    #[test]
    fn what_is_replaced_or_superseded_is_not_locked_and_everything_else_is() {
        for name in [
            "bundle/2026/11/22/x.zip",
            "seal/2026/11/22/x.sigstore.json",
            "document/plan/x.json",
            "tile/0/000",
            "tile/entries/x001/234",
            "anchor/5/x.tsr",
        ] {
            assert!(is_locked(name), "{name}");
        }
        for name in ["checkpoint", "append/5", "tile/0/000.p/5", "tile/entries/x001/234.p/7"] {
            assert!(!is_locked(name), "{name}");
        }
    }

    #[test]
    fn looking_once_a_day_what_newer_receipts_need_always_outlasts_them_and_is_extended_rarely() {
        for length in [1, 3, 30, 400, 2_555] {
            let retention = days(length);
            let start = Utc::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
            let (mut last, mut until, mut extended) = (None, 0, 0_u64);
            let looked = 800;
            for day in 0..looked {
                // The daily look comes late by up to an hour.
                let now = start + chrono::TimeDelta::days(day) + chrono::TimeDelta::minutes(day % 60);
                if retention.is_due(last, now) {
                    (last, until, extended) = (Some(now), retention.until(now).secs(), extended + 1);
                }
                // Whatever is sealed until the next look is kept for its time, and what it needs with it.
                let newest = now + chrono::TimeDelta::hours(23);
                let needed = newest.timestamp() + i64::try_from(length * DAY).unwrap_or_default();
                assert!(until >= needed, "{length} days, day {day}");
            }
            let rarely = looked.unsigned_abs() / (length / 10).saturating_sub(2).max(1) + 1;
            assert!(extended <= rarely, "{length} days: extended {extended} times");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_has_everything_looked_at_again() {
        let now = Utc::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
        assert!(days(400).is_due(Some(now + chrono::TimeDelta::days(1)), now));
        assert!(!days(400).is_due(Some(now), now + chrono::TimeDelta::days(20)));
    }
}
