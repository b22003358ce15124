//! The statements that are spooled, made to fit.

use std::collections::BTreeMap;

use signing::{
    bundle::{RunFacts, Written},
    digest::Digest,
    layout,
    statement::{
        Body, Counts, DigestSet, Document, Entry, MAX_PAYLOAD, Missed, Receipt, SUMS, Statement, StatementError,
        Subject,
    },
};

/// The least of a long reason that is kept while the counts of each check are.
const REASON_BESIDE_CHECKS: usize = 1_000;

fn subject(name: String, sha256: Digest) -> Subject {
    Subject { name, digest: DigestSet { sha256 } }
}

/// A run's receipt.
pub(super) fn receipt(
    entry: Entry,
    facts: &RunFacts,
    bundle: Digest,
    written: &Written,
    results: Digest,
    checks: &BTreeMap<String, Counts>,
) -> Statement {
    let name = match facts.slot {
        Some(slot) => layout::bundle_of_slot(slot, &facts.job, bundle),
        None => layout::bundle_by_hand(facts.started_at, &facts.job, bundle),
    };
    let mut totals = Counts::default();
    for counts in checks.values() {
        totals += *counts;
    }
    let receipt = Receipt {
        job: facts.job.clone(),
        slot: facts.slot,
        started_at: facts.started_at,
        ended_at: facts.ended_at,
        attempts: u32::try_from(facts.attempts.len()).unwrap_or(u32::MAX),
        late: facts.late,
        outcome: facts.outcome,
        reason: facts.reason.clone(),
        records: facts.records.values().sum(),
        totals,
        results,
        checks: Some(checks.clone()),
        window: facts.window,
    };
    let subject = vec![subject(name, bundle), subject(SUMS.to_owned(), written.sums)];
    Statement { subject, entry, body: Body::Receipt(receipt) }
}

/// The receipt of slots that no run fills.
pub(super) fn missed(entry: Entry, plan: Digest, missed: Missed) -> Statement {
    Statement { subject: vec![subject(layout::document("plan", plan), plan)], entry, body: Body::Missed(missed) }
}

/// The leaf of a document.
pub(super) fn document(entry: Entry, kind: &str, reason: String, digest: Digest) -> Statement {
    let body = Body::Document(Document { kind: kind.to_owned(), reason });
    Statement { subject: vec![subject(layout::document(kind, digest), digest)], entry, body }
}

/// The statement's bytes. Where it is too long, its words are cut, and the counts of each check are left out: both are whole in the
/// bundle.
pub(super) fn fit(mut statement: Statement) -> Result<(Statement, Vec<u8>), StatementError> {
    loop {
        let length = match statement.to_bytes() {
            Ok(bytes) => return Ok((statement, bytes)),
            Err(StatementError::TooLong(length)) => length,
            Err(e) => return Err(e),
        };
        let over = length - MAX_PAYLOAD;
        let shorter = match &mut statement.body {
            Body::Receipt(Receipt { reason, checks, .. }) => {
                if checks.is_some() && reason.len() > REASON_BESIDE_CHECKS {
                    let least = reason.len().saturating_sub(over).max(REASON_BESIDE_CHECKS);
                    cut(reason, least)
                } else if checks.is_some() {
                    *checks = None;
                    true
                } else {
                    let to = reason.len().saturating_sub(over);
                    cut(reason, to)
                }
            }
            Body::Missed(Missed { detail: words, .. }) | Body::Document(Document { reason: words, .. }) => {
                let to = words.len().saturating_sub(over);
                cut(words, to)
            }
        };
        if !shorter {
            return Err(StatementError::TooLong(length));
        }
    }
}

/// Cuts `text` to at most `to` bytes, with a mark; `false` where there is nothing to cut.
fn cut(text: &mut String, to: usize) -> bool {
    if text.is_empty() {
        return false;
    }
    let before = text.len();
    let mut end = to.saturating_sub('…'.len_utf8()).min(before);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    if end > 0 {
        text.push('…');
    }
    if text.len() >= before {
        text.clear();
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry() -> Entry {
        Entry {
            origin: "localhost/test".into(),
            key_id: format!("SHA256:{}", "x".repeat(43)),
            plan: Some(Digest::of(b"plan")),
            sealed_at: "2026-11-22T04:00:00Z".parse().unwrap(),
            checkpoint: None,
            anchor: None,
            instance: "0123456789abcdef".into(),
        }
    }

    fn long(reason: &str, checks: usize) -> Statement {
        let receipt = Receipt {
            job: "host/accounts@this".parse().unwrap(),
            slot: None,
            started_at: entry().sealed_at,
            ended_at: entry().sealed_at,
            attempts: 1,
            late: false,
            outcome: signing::statement::Outcome::Failed,
            reason: reason.to_owned(),
            records: 0,
            totals: Counts::default(),
            results: Digest::of(b""),
            checks: Some((0..checks).map(|n| (format!("check-{n}"), Counts::default())).collect()),
            window: None,
        };
        let subject = vec![subject("bundle/x.zip".into(), Digest::of(b"")), subject(SUMS.into(), Digest::of(b""))];
        Statement { subject, entry: entry(), body: Body::Receipt(receipt) }
    }

    fn fitted(statement: Statement) -> Receipt {
        let (statement, bytes) = fit(statement).unwrap();
        assert_eq!(Statement::from_bytes(&bytes).unwrap(), statement);
        match statement.body {
            Body::Receipt(receipt) => receipt,
            _ => unreachable!(),
        }
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let receipt = fitted(long("permission denied", 5));
        assert_eq!((receipt.reason.as_str(), receipt.checks.unwrap().len()), ("permission denied", 5));
    }

    #[test]
    fn a_long_reason_is_cut_before_the_counts_of_each_check_are_left_out() {
        let receipt = fitted(long(&"ä\u{1}\"".repeat(3_000), 5));
        assert!(receipt.reason.ends_with('…') && receipt.reason.len() > 500);
        let receipt = fitted(long(&"x".repeat(2_500), 5));
        assert_eq!(receipt.checks.unwrap().len(), 5);
        assert!(receipt.reason.len() >= REASON_BESIDE_CHECKS);
        let receipt = fitted(long("short", 200));
        assert_eq!((receipt.reason.as_str(), receipt.checks), ("short", None));
    }

    #[test]
    fn what_cannot_be_cut_is_an_error() {
        let mut statement = long("", 0);
        statement.entry.origin = "x".repeat(MAX_PAYLOAD);
        assert!(matches!(fit(statement), Err(StatementError::TooLong(_))));
    }
}
