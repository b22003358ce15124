//! The entries that a report cites: what each is, so that whoever reads the report finds the object, its digest and its seal.

use std::collections::BTreeSet;

use signing::{layout, statement::Body};

use crate::{
    ledger::{Ledger, LedgerError},
    model::{Evidence, Report},
};

/// Every entry that the report names by number, in the log's order. One more look at the log; no bundle is opened.
///
/// # Errors
/// As [`Ledger::entries`].
pub fn cited(ledger: &Ledger<'_>, report: &Report) -> Result<Vec<Evidence>, LedgerError> {
    let wanted = numbers(report);
    let mut found = Vec::with_capacity(wanted.len());
    ledger.entries(|logged| {
        if wanted.contains(&logged.index) {
            let subject = &logged.statement.subject[0];
            let job = match &logged.statement.body {
                Body::Receipt(receipt) => Some(receipt.job.clone()),
                Body::Missed(missed) => Some(missed.job.clone()),
                Body::Document(_) => None,
            };
            let sealed_at = logged.statement.entry.sealed_at;
            found.push(Evidence {
                entry: logged.index,
                job,
                name: subject.name.clone(),
                sha256: subject.digest.sha256,
                seal: layout::seal(sealed_at, logged.leaf),
                sealed_at,
            });
        }
        Ok::<_, LedgerError>(())
    })?;
    Ok(found)
}

fn numbers(report: &Report) -> BTreeSet<u64> {
    let controls = report.controls.iter();
    let occurrences = controls.clone().flat_map(|control| control.occurrences.iter().filter_map(|one| one.entry));
    let observations = controls.flat_map(|control| control.observations.iter().filter_map(|one| one.entry));
    let deviations = report.deviations.iter().flat_map(|deviation| {
        [Some(deviation.first_entry), Some(deviation.last_entry), deviation.ended.as_ref().map(|ended| ended.entry)]
    });
    let others = report.drift.iter().map(|event| event.entry);
    let others = others.chain(report.changes.iter().map(|change| change.entry));
    let others = others.chain(report.approvals.iter().map(|approval| approval.entry));
    let others =
        others.chain(report.populations.iter().flat_map(|one| one.otherwise.iter().copied().chain([one.entry])));
    occurrences.chain(observations).chain(deviations.flatten()).chain(others).collect()
}
