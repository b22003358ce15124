//! Occurrences: each time that the control had to operate, observed or not, as the report counts them.

use std::collections::{BTreeMap, BTreeSet};

use signing::{
    digest::Digest,
    population::{Gap, Item},
    statement::Body,
    time::{Utc, rfc3339},
};

use super::{Found, PopulationError};
use crate::{
    days::Days,
    in_force::InForce,
    ledger::{Ledger, LedgerError},
    model::{Occurrence, OccurrenceState},
    occurrences::{Counted, Occurrences},
    pass::{Listener, pass},
};

/// Every control's occurrences, by id.
pub(super) struct Known {
    counted: BTreeMap<String, Counted>,
    /// The bundles of the entries that show them.
    bundles: BTreeMap<u64, Digest>,
}

/// Counts the occurrences of a period, judged up to `at`. One pass over the log for all controls.
pub(super) fn count(
    ledger: &Ledger<'_>,
    in_force: &InForce,
    (from, to): (Utc, Utc),
    at: Utc,
) -> Result<Known, PopulationError> {
    let mut days = Days::new(from, to);
    let mut occurrences = Occurrences::new(in_force, from, to, at.min(to));
    let listeners: &mut [&mut dyn Listener] = &mut [&mut days, &mut occurrences];
    pass(ledger, Utc::MAX_UTC, listeners)?;
    let told = days.finish(at);
    let counted = occurrences.finish(&told, at, &mut |_, _| Ok(()))?;
    let counted: BTreeMap<String, Counted> = counted.into_iter().map(|counted| (counted.id.clone(), counted)).collect();
    let shown = counted.values().flat_map(|counted| &counted.occurrences).filter_map(|occurrence| occurrence.entry);
    let wanted: BTreeSet<u64> = shown.collect();
    let mut bundles = BTreeMap::new();
    ledger.entries(|logged| {
        if wanted.contains(&logged.index) && matches!(logged.statement.body, Body::Receipt(_)) {
            bundles.insert(logged.index, logged.statement.subject[0].digest.sha256);
        }
        Ok::<_, LedgerError>(())
    })?;
    Ok(Known { counted, bundles })
}

/// The list of one control.
pub(super) fn find(known: &Known, control: &str) -> Result<Found, PopulationError> {
    let counted = known
        .counted
        .get(control)
        .ok_or_else(|| PopulationError::Question(format!("{control} has no occurrences within the period")))?;
    if counted.more > 0 {
        let says = format!(
            "{control} has {} occurrences by event and more: ask for its events",
            counted.occurrences.len() as u64 + counted.more
        );
        return Err(PopulationError::Question(says));
    }
    let mut found = Found::default();
    let (mut nothing, mut open) = (0, 0);
    for occurrence in &counted.occurrences {
        let state = match occurrence.state {
            OccurrenceState::Operated => "operated",
            OccurrenceState::Deviation => "deviation",
            OccurrenceState::NotObserved => "not_observed",
            OccurrenceState::NoOccasion => {
                nothing += 1;
                continue;
            }
            OccurrenceState::Open => {
                open += 1;
                continue;
            }
        };
        if occurrence.state == OccurrenceState::NotObserved {
            unseen(&mut found.gaps, occurrence);
        }
        // An entry that a finding names shows nothing.
        let bundle = occurrence.entry.and_then(|entry| known.bundles.get(&entry).copied());
        found.items.push(Item {
            id: id(occurrence),
            job: occurrence.job.clone(),
            from: occurrence.from,
            to: occurrence.to,
            state: state.to_owned(),
            entry: occurrence.entry.filter(|_| bundle.is_some()),
            bundle,
        });
    }
    if nothing > 0 {
        found.says.push(left_out(nothing, "in which there was no occasion"));
    }
    if open > 0 {
        found.says.push(left_out(open, "still open"));
    }
    found.says.extend(counted.undated.iter().cloned());
    Ok(found)
}

fn id(occurrence: &Occurrence) -> String {
    let unit = format!("{} {}", occurrence.job_name(), rfc3339(occurrence.from));
    // Of an event the record tells which it is; of a unit of time its start does, whatever showed it.
    match &occurrence.record {
        Some(record) if occurrence.from == occurrence.to => format!("{unit} {record}"),
        _ => unit,
    }
}

/// Units that follow each other with the same reason are one stretch.
fn unseen(gaps: &mut Vec<Gap>, occurrence: &Occurrence) {
    let Occurrence { job, from, to, reason, .. } = occurrence;
    match gaps.last_mut() {
        Some(last) if last.job == *job && last.to == *from && last.reason == *reason => last.to = *to,
        _ => gaps.push(Gap { job: job.clone(), from: *from, to: *to, reason: reason.clone() }),
    }
}

fn left_out(units: u64, which: &str) -> String {
    match units {
        1 => format!("1 unit of time {which} is not in the list."),
        _ => format!("{units} units of time {which} are not in the list."),
    }
}
