//! Retention: what is kept, and until when. It is only ever extended.

use std::time::Duration;

use aws_sdk_s3::{primitives::DateTime, types::ObjectLockMode};
use signing::time::Utc;

use super::config::{LockMode, ObjectLock};

/// What is locked is kept for longer by this part of the retention, so that it is extended rarely …
const SLACK: u32 = 10;

/// … and by this at least, so that what looks once a day is in time.
const LEAST_SLACK: Duration = Duration::from_secs(2 * 86_400);

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
}

/// Whether an object is locked: all but the checkpoint, the decisions of appends and partial tiles, which are replaced or superseded.
pub(super) fn is_locked(name: &str) -> bool {
    let kinds = ["anchor/", "bundle/", "document/", "seal/", "tile/"];
    kinds.iter().any(|kind| name.starts_with(kind)) && !name.contains(".p/")
}
