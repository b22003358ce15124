//! Slots and their coverage: against instants worked out by hand, and against oracles that walk every minute.
#![allow(clippy::unwrap_used)]

mod coverage;
mod instants;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

use signing::{
    digest::Digest,
    layout::Job,
    plan::{FORMAT, Offset, Plan, PlannedJob, Schedule},
    time::Utc,
};

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn job(name: &str) -> Job {
    name.parse().unwrap()
}

fn utc() -> Vec<Offset> {
    vec![Offset { from: None, seconds: 0 }]
}

fn set(values: &[u8]) -> BTreeSet<u8> {
    values.iter().copied().collect()
}

/// Minutes and hours on every day, in the zone `UTC`; following elapsed time where the hours are all of them.
fn daily(minutes: &[u8], hours: &[u8]) -> Schedule {
    Schedule {
        text: format!("{minutes:?} {hours:?} * * *"),
        zone: "UTC".to_owned(),
        minutes: set(minutes),
        hours: set(hours),
        days: (1..=31).collect(),
        months: (1..=12).collect(),
        weekdays: (0..=6).collect(),
        either_day: false,
        elapsed: hours.len() == 24,
    }
}

fn hourly() -> Schedule {
    daily(&[0], &(0..24).collect::<Vec<_>>())
}

/// A plan of jobs that may start for 10 minutes, run for 20 and settle for 30: judged after an hour.
fn plan(sealed_at: &str, previous: Option<&Plan>, jobs: &[(&str, Option<Schedule>)]) -> Plan {
    Plan {
        format: FORMAT.to_owned(),
        origin: "test/1".to_owned(),
        agent: "0.1.0".to_owned(),
        sealed_at: at(sealed_at),
        previous: previous.map(digest),
        reason: "restated".to_owned(),
        settle_seconds: 1800,
        retention_days: None,
        zones: BTreeMap::from([("UTC".to_owned(), utc())]),
        jobs: jobs
            .iter()
            .map(|(name, schedule)| PlannedJob {
                job: job(name),
                version: 1,
                checks: Digest::of(b"checks"),
                schedule: schedule.clone(),
                start_within_seconds: 600,
                deadline_seconds: 1200,
                grace_seconds: 60,
                spread_seconds: 0,
                watermark: None,
            })
            .collect(),
        not_run: Vec::new(),
    }
}

fn digest(plan: &Plan) -> Digest {
    Digest::of(&serde_json::to_vec(plan).unwrap())
}
