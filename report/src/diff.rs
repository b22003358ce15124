//! Two runs of a job side by side: their records, and what their checks found. What the two cannot tell is said.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use controls::{Outcome as Found, Results};
use serde::Serialize;
use signing::{
    bundle::{CHECKS, Population, RUN_FACTS, RunFacts},
    digest::Digest,
    layout::Job,
    statement::{Body, Outcome, Receipt, Statement},
    store::Reader,
    time::Utc,
};

use crate::{
    deviations::{Begun, Deviations, Run},
    drift::{Archived, Drift, Read, Source},
    ledger::{Opened, Unusable, bundle},
    model::{DriftEvent, DriftKind, Ended},
    pass::{Kinds, Lines, PassError, instant, read_records, read_results},
};

/// Two runs of a job.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// `<collector>@<source>`.
    pub job: Job,
    /// The one that the other is held against.
    pub from: Side,
    /// The other.
    pub to: Side,
    /// Records by kind, as many as there are.
    pub kinds: Vec<Kind>,
    /// Records that came, went or changed.
    pub records: Vec<DriftEvent>,
    /// Checks whose numbers differ, and those that newly fail on a record or no longer do.
    pub checks: Vec<CheckChange>,
    /// What the two do not tell, in words.
    pub not_told: Vec<String>,
}

/// One of the two runs.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Its entry in the log.
    pub entry: u64,
    /// Its slot; of a run by hand its start.
    pub at: Utc,
    /// Whether it was asked for by hand.
    pub by_hand: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not `collected`; empty when it was.
    pub reason: String,
    /// The collector's version.
    pub version: u32,
    /// The digest of its checks with their parameters.
    pub checks: Option<Digest>,
}

/// The records of a kind in both runs.
#[derive(Debug, Serialize)]
pub struct Kind {
    /// The kind.
    pub kind: String,
    /// How many, and whether the list is whole; `None`: the run does not know the kind.
    pub from: Option<List>,
    /// The same of the other.
    pub to: Option<List>,
}

/// A list of records.
#[derive(Debug, Serialize)]
pub struct List {
    /// How many were read.
    pub records: u64,
    /// Whether the list is whole, and why not, or what proves the absence.
    pub population: Population,
}

/// What became of a check.
#[derive(Debug, Serialize)]
pub struct CheckChange {
    /// Its id.
    pub check: String,
    /// Its outcome and how many failed and were unknown; `None`: the run did not ask.
    pub from: Option<Numbers>,
    /// The same of the other.
    pub to: Option<Numbers>,
    /// Records that fail and did not, with what is said of them.
    pub begins: Vec<(String, String)>,
    /// Records that failed and were seen not to, with how.
    pub ends: Vec<(String, &'static str)>,
}

/// A check's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// As a whole.
    pub outcome: Found,
    /// Rows that pass.
    pub pass: u64,
    /// Rows that fail.
    pub fail: u64,
    /// Rows not shown either way.
    pub unknown: u64,
}

/// Two runs that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// An entry that is no run, or another job's.
    #[error("entry {0} is no run of {1}")]
    NoRun(u64, Job),
    /// A bundle that is gone or not the one that was logged.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Something in a bundle.
    #[error("{name}: {why}")]
    Bundle {
        /// The bundle.
        name: String,
        /// In words.
        why: String,
    },
    /// The archive.
    #[error(transparent)]
    Read(#[from] PassError),
}

/// A run as it is read.
struct Opening {
    source: Arc<Source>,
    facts: RunFacts,
    results: Results,
    records: BTreeMap<String, Lines>,
    side: Side,
    leaf: Digest,
}

/// Compares two runs of a job, each by its entry. Their bundles' bytes are held against the entries; these are the caller's to verify.
///
/// # Errors
/// [`DiffError`].
pub fn diff(
    reader: &dyn Reader,
    job: &Job,
    from: (u64, &Statement),
    to: (u64, &Statement),
) -> Result<Compared, DiffError> {
    let (from, to) = (open(reader, job, from)?, open(reader, job, to)?);
    let mut records = Vec::new();
    let mut drift = Drift::of_everything();
    for run in [&from, &to] {
        let read = Read { job, source: &run.source, facts: &run.facts, records: &run.records };
        drift.run(read, &[], &Archived(reader), &mut |event| {
            records.push(event);
            Ok(())
        })?;
    }
    let checks = checks(job, &from, &to)?;
    let not_told = not_told(&from, &to, &records);
    let kinds = kinds(&from.facts, &to.facts);
    Ok(Compared { job: job.clone(), from: from.side, to: to.side, kinds, records, checks, not_told })
}

fn open(reader: &dyn Reader, job: &Job, (entry, statement): (u64, &Statement)) -> Result<Opening, DiffError> {
    let receipt: &Receipt = match &statement.body {
        Body::Receipt(receipt) if receipt.job == *job => receipt,
        _ => return Err(DiffError::NoRun(entry, job.clone())),
    };
    let fault = |why: String| DiffError::Bundle { name: statement.subject[0].name.clone(), why };
    let mut opened: Opened = bundle(reader, statement).map_err(PassError::from)??;
    let facts = opened.file(RUN_FACTS).map_err(|error| fault(error.to_string()))?;
    let facts: RunFacts = serde_json::from_slice(&facts).map_err(|error| fault(format!("{RUN_FACTS}: {error}")))?;
    let results = read_results(&mut opened, receipt.results).map_err(&fault)?;
    let records = read_records(&mut opened, &Kinds::All).map_err(&fault)?;
    let checks = opened.file(CHECKS).ok().map(|bytes| Digest::of(&bytes));
    let at = instant(receipt);
    let side = Side {
        entry,
        at,
        by_hand: receipt.slot.is_none(),
        outcome: receipt.outcome,
        reason: facts.reason.clone(),
        version: facts.collector.version,
        checks,
    };
    let source = Arc::new(Source { at, entry, statement: statement.clone(), version: facts.collector.version });
    Ok(Opening { source, facts, results, records, side, leaf: statement.subject[0].digest.sha256 })
}

fn kinds(from: &RunFacts, to: &RunFacts) -> Vec<Kind> {
    let list = |facts: &RunFacts, kind: &str| {
        let population = facts.populations.get(kind)?.clone();
        Some(List { records: facts.records.get(kind).copied().unwrap_or(0), population })
    };
    let names: BTreeSet<&String> = from.populations.keys().chain(to.populations.keys()).collect();
    names.into_iter().map(|kind| Kind { kind: kind.clone(), from: list(from, kind), to: list(to, kind) }).collect()
}

/// Checks of which something differs.
fn checks(job: &Job, from: &Opening, to: &Opening) -> Result<Vec<CheckChange>, DiffError> {
    // The entries' own instants may be in either order: for this, one comes after the other.
    let mut deviations = Deviations::new(Utc::MIN_UTC, Utc::MAX_UTC);
    let mut begun: Vec<Begun> = Vec::new();
    for (place, run) in [from, to].into_iter().enumerate() {
        let sight = Run { job, at: run.side.at, entry: place as u64, leaf: run.leaf };
        let mut there = |kind: &str, ids: &BTreeSet<String>| present(&run.records, kind, ids);
        begun = deviations.run(sight, &run.results, &mut |_| Vec::new(), &mut there)?;
    }
    let ended: Vec<_> =
        deviations.finish().into_iter().filter_map(|d| d.ended.map(|end| (d.check, d.record, end))).collect();
    let numbers = |results: &Results, id: &str| {
        let check = results.checks.iter().find(|check| check.id == id)?;
        Some(Numbers { outcome: check.outcome, pass: check.pass, fail: check.fail, unknown: check.unknown })
    };
    let mut ids: Vec<&String> = from.results.checks.iter().map(|check| &check.id).collect();
    ids.extend(to.results.checks.iter().map(|check| &check.id).filter(|id| numbers(&from.results, id).is_none()));
    let changes = ids.into_iter().map(|id| CheckChange {
        check: id.clone(),
        from: numbers(&from.results, id),
        to: numbers(&to.results, id),
        begins: begun.iter().filter(|b| b.check == *id).map(|b| (b.record.clone(), b.says.clone())).collect(),
        ends: ended
            .iter()
            .filter(|(check, ..)| check == id)
            .map(|(_, record, Ended { how, .. })| (record.clone(), *how))
            .collect(),
    });
    Ok(changes.filter(|c| c.from != c.to || !c.begins.is_empty() || !c.ends.is_empty()).collect())
}

fn present(
    records: &BTreeMap<String, Lines>,
    kind: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeSet<String>, DiffError> {
    let mut found = BTreeSet::new();
    for row in records.get(kind).map(Lines::rows).transpose().map_err(PassError::from)?.into_iter().flatten() {
        let row = row.map_err(PassError::from)?;
        found.extend(row.get("id").and_then(|id| id.as_str()).filter(|id| ids.contains(*id)).map(str::to_owned));
    }
    Ok(found)
}

/// What the two runs do not tell.
fn not_told(from: &Opening, to: &Opening, records: &[DriftEvent]) -> Vec<String> {
    let mut not_told = Vec::new();
    if from.facts.window.is_some() || to.facts.window.is_some() {
        not_told.push("each run read the events of its own window: their records are not compared".to_owned());
        return not_told;
    }
    if from.side.version != to.side.version {
        not_told.push(format!(
            "version {} of the collector made the one, version {} the other: fields that only one of them has are not compared, and \
             what differs may be the collector's doing",
            from.side.version, to.side.version
        ));
    }
    if from.side.checks != to.side.checks {
        not_told.push(
            "the checks or their parameters differ: another result may be theirs and not the records'".to_owned(),
        );
    }
    let names: BTreeSet<&String> = from.facts.populations.keys().chain(to.facts.populations.keys()).collect();
    for kind in names {
        match (why_not_whole(&from.facts, kind), why_not_whole(&to.facts, kind)) {
            (None, None) => {}
            (Some((before, Reading::None)), _) => {
                not_told.push(format!("{kind} was not read in the earlier run: nothing of it is compared ({before})"));
            }
            (_, Some((after, Reading::None))) => {
                not_told.push(format!("{kind} was not read in the later run: nothing of it is compared ({after})"));
            }
            (before, after) => {
                if let Some((why, _)) = before {
                    not_told.push(format!(
                        "{kind} was not read whole in the earlier run: what is new is not known ({why})"
                    ));
                }
                if let Some((why, _)) = after {
                    not_told
                        .push(format!("{kind} was not read whole in the later run: what is gone is not known ({why})"));
                }
            }
        }
    }
    if to.facts.outcome == Outcome::Partial {
        not_told.push("the later run was partial: a field that it left empty is not compared".to_owned());
    }
    if records.is_empty() && from.facts.outcome == Outcome::Failed && to.facts.outcome == Outcome::Failed {
        not_told.push("both runs failed".to_owned());
    }
    not_told
}

#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Part,
    None,
}

fn why_not_whole<'f>(facts: &'f RunFacts, kind: &str) -> Option<(&'f str, Reading)> {
    match facts.populations.get(kind) {
        None => Some(("the run does not know the kind", Reading::None)),
        Some(Population::Whole | Population::Absent(_)) => None,
        Some(Population::Cut(why)) => Some((why, Reading::Part)),
        Some(Population::Unread(why)) => Some((why, Reading::None)),
    }
}

impl Compared {
    /// Records of a kind that came, went and changed.
    pub fn counts(&self, kind: &str) -> [usize; 3] {
        [DriftKind::Added, DriftKind::Removed, DriftKind::Changed]
            .map(|change| self.records.iter().filter(|event| event.kind == kind && event.change == change).count())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::testing::{Archive, Run as Made, at, hourly, job};

    const JOB: &str = "aws/iam-credential-report@prod";

    fn user(run: Made, id: &str, ok: bool) -> Made {
        run.record("user", json!({"id": id, "ok": ok, "idle_days": 3}))
    }

    fn compared(one: Made, other: Made) -> Result<Compared, DiffError> {
        let mut archive = Archive::new("2026-11-01");
        archive.at("2026-11-01T00:10:00Z").plan(&[(JOB, Some(hourly()))], "started");
        let entries = [archive.run(&one), archive.run(&other)];
        let (memory, _) = archive.verified("");
        let mut statements = Vec::new();
        signing::log::entries(&memory, 0, entries[1] + 1, &mut |_, leaf| {
            statements.push(Statement::from_bytes(leaf).unwrap());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        let of = |entry: u64| (entry, &statements[entry as usize]);
        diff(&memory, &job(JOB), of(entries[0]), of(entries[1]))
    }

    fn run(hour: &str) -> Made {
        Made::slot(JOB, &format!("2026-11-01T{hour}:00:00Z"))
    }

    #[test]
    fn records_and_checks_of_two_runs_are_held_against_each_other() {
        let one = user(user(user(run("01"), "ann", true), "bob", false), "cy", false);
        let other = user(user(user(run("02"), "ann", false), "bob", true), "eve", true);
        let found = compared(one, other).unwrap();
        assert_eq!(
            (found.from.at, found.to.at, found.not_told),
            (at("2026-11-01T01:00:00Z"), at("2026-11-01T02:00:00Z"), vec![])
        );
        let told: Vec<_> = found.records.iter().map(|event| (event.record.as_str(), event.change)).collect();
        let wanted = [
            ("ann", DriftKind::Changed),
            ("bob", DriftKind::Changed),
            ("eve", DriftKind::Added),
            ("cy", DriftKind::Removed),
        ];
        assert_eq!(told, wanted);
        assert_eq!(found.checks.len(), 1);
        assert_eq!(found.checks[0].begins, [("ann".to_owned(), "ann is not ok".to_owned())]);
        assert_eq!(found.checks[0].ends, [("bob".to_owned(), "passes"), ("cy".to_owned(), "gone")]);
        assert_eq!(found.checks[0].to.map(|to| (to.pass, to.fail)), Some((2, 1)));
    }

    #[test]
    fn runs_that_agree_have_nothing_to_tell() {
        let found = compared(user(run("01"), "ann", true), user(run("02"), "ann", true)).unwrap();
        assert!(found.records.is_empty() && found.checks.is_empty() && found.not_told.is_empty(), "{found:?}");
    }

    #[test]
    fn what_a_list_that_is_not_whole_hides_is_said() {
        let cut = |run: Made| run.population("user", Population::Cut("refused".into()));
        let found = compared(user(run("01"), "ann", true), cut(user(run("02"), "eve", true))).unwrap();
        assert_eq!(found.records.len(), 1);
        assert_eq!(found.not_told[0], "user was not read whole in the later run: what is gone is not known (refused)");
        let found = compared(cut(user(run("01"), "ann", true)), user(run("02"), "eve", true)).unwrap();
        assert_eq!(found.not_told, ["user was not read whole in the earlier run: what is new is not known (refused)"]);
        let found = compared(run("01").failed("down"), user(run("02"), "eve", true)).unwrap();
        assert!(
            found.records.is_empty() && found.not_told[0].contains("nothing of it is compared (down)"),
            "{found:?}"
        );
    }

    #[test]
    fn other_checks_are_said_and_another_jobs_run_is_refused() {
        let checks = "[{id: other, item: dormant_accounts, population: user, pass: .ok, says: x}]";
        let found = compared(user(run("01"), "ann", true), user(run("02"), "ann", true).checks(checks)).unwrap();
        assert_eq!(found.not_told.len(), 1);
        assert_eq!(found.checks.iter().map(|c| c.from.is_some()).collect::<Vec<_>>(), [true, false]);
        let other = Made::slot("aws/other@prod", "2026-11-01T02:00:00Z");
        assert!(matches!(compared(run("01"), other), Err(DiffError::NoRun(_, _))));
    }
}
