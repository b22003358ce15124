//! Seals in the archive that have no leaf: the spool that held their entries was lost. They are adopted before anything is written as
//! missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use chrono::{Datelike as _, Months, NaiveDate, TimeDelta};
use signing::{
    digest::Digest,
    layout,
    log::TILE_WIDTH,
    seal::MAX_SEAL,
    statement::{Body as Said, Statement},
    time::Utc,
};

use super::{
    Core, PipelineError,
    append::open_seal,
    history::{History, is_plan},
    recover::{check_not_older, known_size, slot_of},
    spool::{PAYLOAD, SEAL, Spool, Spooled},
};
use crate::blocking::blocking;

/// The most days whose seals are listed one by one; for more of them, those of whole months are.
const MAX_DAYS: i64 = 100;

/// A seal in the archive that has no leaf, and whose entry is not in the spool.
pub(super) struct Orphan {
    statement: Statement,
    payload: Vec<u8>,
    seal: Vec<u8>,
}

impl Orphan {
    pub(super) fn respool(self, spool: &Spool) -> Result<Spooled, PipelineError> {
        let failed = spool.failed("adopt a seal into");
        let staged = spool.stage()?;
        for (name, bytes) in [(PAYLOAD, &self.payload), (SEAL, &self.seal)] {
            spool.disk.stage(&staged.join(name), |file| file.write_all(bytes)).map_err(&failed)?;
        }
        let sequence = spool.before();
        spool.publish(&staged, sequence)?;
        tracing::warn!(seal = %Statement::leaf_digest(&self.payload), "adopted a seal that the archive holds and the log does not");
        spool.load(sequence)
    }
}

/// Finds validly signed seals without a leaf, in the order of their sealing: the spool that held their entries was lost.
pub(super) async fn orphans(
    core: &Core,
    history: History,
    waiting: &BTreeSet<Digest>,
    size: u64,
) -> Result<(History, Vec<Orphan>), PipelineError> {
    let mut listed = BTreeMap::new();
    for prefix in seal_prefixes(history.since, history.state.last_sealed, core.clock.now()) {
        for name in core.archive.list(&prefix).await? {
            let digest = name.rsplit('/').next().and_then(|file| file.strip_suffix(".sigstore.json"));
            let Some(leaf) = digest.and_then(|digest| digest.parse::<Digest>().ok()) else { continue };
            if !history.leaves.contains(&leaf) && !waiting.contains(&leaf) {
                listed.insert(leaf, name);
            }
        }
    }
    // What was logged on the first of those days, before the newest part, an entry bundle tells for many at once.
    let (history, listed) = blocking(move || look_back(history, listed)).await?;
    let mut unknown = BTreeMap::new();
    for (leaf, name) in listed {
        let Some(bytes) = core.archive.read(&name, MAX_SEAL).await? else { continue };
        match open_seal(core, &bytes) {
            Ok((statement, payload))
                if Statement::leaf_digest(&payload) == leaf
                    && layout::seal(statement.entry.sealed_at, leaf) == name =>
            {
                unknown.insert(leaf, Orphan { statement, payload, seal: bytes });
            }
            Ok(_) => tracing::error!(%name, "ALARM: a seal under a name that is not its own; not adopted"),
            Err(why) => tracing::error!(%name, %why, "ALARM: a seal that is not ours; not adopted"),
        }
    }
    let Some(oldest) = unknown.values().map(|orphan| known_size(&orphan.statement)).min() else {
        return Ok((history, Vec::new()));
    };
    // A leaf comes after every leaf that its entry knew of.
    for orphan in unknown.values() {
        check_not_older(core, &orphan.statement, size, "a seal in the archive")?;
    }
    let mut history = history;
    let history = blocking(move || history.reach(oldest).map(|()| history)).await?;
    unknown.retain(|leaf, _| !history.leaves.contains(leaf));

    let mut orphans: Vec<_> = unknown.into_values().collect();
    let plans: BTreeSet<_> =
        orphans.iter().filter(|o| is_plan(&o.statement)).map(|o| o.statement.subject[0].digest.sha256).collect();
    // Of what was sealed at the same instant: keys, what follows a plan before it, a plan, what follows that one.
    let rank = |statement: &Statement| match &statement.body {
        Said::Document(document) if document.kind == "keys" => 0,
        Said::Document(_) if is_plan(statement) => 2,
        _ if statement.entry.plan.is_some_and(|plan| plans.contains(&plan)) => 3,
        _ => 1,
    };
    orphans.sort_by_key(|o| {
        let said = &o.statement;
        (known_size(said), said.entry.sealed_at, rank(said), slot_of(said))
    });
    let mut whole = Vec::new();
    for orphan in orphans {
        let subject = &orphan.statement.subject[0];
        if matches!(orphan.statement.body, Said::Missed(_))
            || core.archive.digest(&subject.name).await? == Some(subject.digest.sha256)
        {
            whole.push(orphan);
        } else {
            let leaf = Statement::leaf_digest(&orphan.payload);
            tracing::error!(seal = %leaf, object = %subject.name, "ALARM: a seal without a leaf, whose object is gone or altered; not adopted");
        }
    }
    Ok((history, whole))
}

/// Reads the log back, an entry bundle at a time, for as long as that explains seals.
fn look_back(
    mut history: History,
    mut listed: BTreeMap<Digest, String>,
) -> Result<(History, BTreeMap<Digest, String>), PipelineError> {
    while !listed.is_empty() && history.from > 0 {
        let before = listed.len();
        history.reach((history.from - 1) / TILE_WIDTH * TILE_WIDTH)?;
        listed.retain(|leaf, _| !history.leaves.contains(leaf));
        if listed.len() == before {
            break;
        }
    }
    Ok((history, listed))
}

/// The days of `seal/` that may hold seals without a leaf: from the newest plan's, and its watermarks', to now.
fn seal_prefixes(since: Option<Utc>, last_sealed: Option<Utc>, now: Utc) -> Vec<String> {
    let to = last_sealed.map_or(now, |last| last.max(now));
    match since {
        Some(since) if (to - since).num_days() <= MAX_DAYS => {
            let mut days = BTreeSet::from([layout::day(to)]);
            let mut day = since;
            while day < to {
                days.insert(layout::day(day));
                day += TimeDelta::days(1);
            }
            days.into_iter().map(|day| format!("seal/{day}/")).collect()
        }
        Some(since) => {
            let mut months = BTreeSet::new();
            let (mut day, last) = (since.date_naive(), to.date_naive());
            while day <= last {
                months.insert(format!("seal/{}/", day.format("%Y/%m")));
                day = day
                    .with_day(1)
                    .and_then(|first| first.checked_add_months(Months::new(1)))
                    .unwrap_or(NaiveDate::MAX);
            }
            months.into_iter().collect()
        }
        None => vec!["seal/".to_owned()],
    }
}
