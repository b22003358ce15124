//! From exchanges to records and results: the one way, for a run and for whoever derives its bundle again. Also the words of the
//! collectors, the checks and what is sealed, each in the other's: the three do not know each other.

use std::{collections::BTreeMap, io, path::Path};

use collectors::{
    contract::{Collector, Evidence, Population},
    records::{Derived, RecordFiles},
    window::Decided,
};
use controls::{Evaluator, Results};
use signing::{bundle, statement};

use crate::jobs::Checks;

/// What follows from a run's exchanges.
pub(crate) struct Follows {
    /// Lists, their numbers and gaps; the events before the window that are lost are a gap too.
    pub derived: Derived,
    pub results: Results,
    /// Whether everything that was asked for was read, or proved absent.
    pub read_all: bool,
    /// The window that was asked for.
    pub window: Option<Decided>,
}

/// Writes `records/*.jsonl` below `dir` and evaluates the checks on them.
///
/// # Errors
/// Evidence that the collector cannot read, checks that cannot be evaluated, and the disk's.
pub(crate) fn derive(
    collector: &dyn Collector,
    evidence: &dyn Evidence,
    dir: &Path,
    checks: &Checks,
) -> io::Result<Follows> {
    let mut evaluator = Evaluator::new(checks.checks(), checks.parameters()).map_err(io::Error::other)?;
    let mut files = RecordFiles::new(dir, &collector.spec().kinds, |kind, row| evaluator.record(kind, row))?;
    collector.derive(evidence, &mut files)?;
    let mut derived = files.finish()?;
    let listed = |population: &Population| matches!(population, Population::Whole | Population::Absent(_));
    let read_all = derived.gaps.is_empty() && derived.populations.values().all(listed);
    // Here and not in each collector: none can forget it.
    let window = Decided::kept(evidence)?;
    derived.gaps.extend(window.as_ref().and_then(Decided::lost));
    let results = evaluator.finish(&judged(&derived.populations));
    Ok(Follows { derived, results, read_all, window })
}

/// As the checks take it.
pub(crate) fn judged(populations: &BTreeMap<String, Population>) -> BTreeMap<String, controls::Population> {
    let judged = |population: &Population| match population.clone() {
        Population::Whole => controls::Population::Whole,
        Population::Cut(why) => controls::Population::Cut(why),
        Population::Unread(why) => controls::Population::Unread(why),
        Population::Absent(why) => controls::Population::Absent(why),
    };
    populations.iter().map(|(kind, population)| (kind.clone(), judged(population))).collect()
}

/// As `run.json` says it.
pub(crate) fn sealed(populations: &BTreeMap<String, Population>) -> BTreeMap<String, bundle::Population> {
    let sealed = |population: &Population| match population.clone() {
        Population::Whole => bundle::Population::Whole,
        Population::Cut(why) => bundle::Population::Cut(why),
        Population::Unread(why) => bundle::Population::Unread(why),
        Population::Absent(why) => bundle::Population::Absent(why),
    };
    populations.iter().map(|(kind, population)| (kind.clone(), sealed(population))).collect()
}

/// As a receipt says it.
pub(crate) fn counts(counts: controls::Counts) -> statement::Counts {
    statement::Counts {
        pass: counts.pass,
        fail: counts.fail,
        unknown: counts.unknown,
        not_applicable: counts.not_applicable,
        exempt: counts.exempt,
    }
}
