//! The verdict: what was proved, what was found, and what is not proved, for people and as JSON (`evidenced-verdict/1`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Part,
    anchors::WitnessedHead,
    documents::{self, LoggedDocument},
    findings::{Code, Finding, Limit},
    kept::Compared,
    strays::{Counted, Pending},
    times::TrustedTime,
};
use crate::{
    digest::Digest,
    slots::{CoverageReport, Events},
    store::Hold,
    time::{Utc, rfc3339},
};

/// The value of [`Verdict::format`].
pub const FORMAT: &str = "evidenced-verdict/1";

/// The value of [`super::EntryVerdict::format`].
pub const FORMAT_ENTRY: &str = "evidenced-entry-verdict/1";

/// What verification found.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// `evidenced-verdict/1`.
    pub format: &'static str,
    /// Whether there are no findings. It says nothing about the controls.
    pub intact: bool,
    /// The last line, in words.
    pub statement: String,
    /// The log.
    pub origin: String,
    /// The root key's fingerprint that was trusted.
    pub trust: String,
    /// Up to when slots and retention were judged.
    pub as_of: Option<Utc>,
    /// Where that instant comes from: `given`, `trusted_time` (the newest token over a checkpoint), or `newest_entry`.
    pub as_of_from: &'static str,
    /// When the newest entry was sealed, by the agent's clock.
    pub newest_entry_at: Option<Utc>,
    /// What the log's head says.
    pub checkpoint: Head,
    /// For people: what each part of the check came to.
    pub sections: Vec<Section>,
    /// In order of entry and name; of more than 10,000, the first.
    pub findings: Vec<Finding>,
    /// All findings by code.
    pub findings_by_code: BTreeMap<Code, u64>,
    /// All findings.
    pub findings_total: u64,
    /// What is not proved.
    pub limits: Vec<Limit>,
    /// Objects that have no entry in the log yet.
    pub pending: Counted<Pending>,
    /// Seals among them, validly signed.
    pub pending_sealed: u64,
    /// Leftovers of the agent's work, which mean nothing.
    pub leftovers: Counted<String>,
    /// What was counted.
    pub numbers: Numbers,
    /// What trusted time shows.
    pub time: TrustedTime,
    /// The newest checkpoint that enough of the given witnesses signed; `None` where none were given.
    pub witnessed: Option<WitnessedHead>,
    /// Slots and plans; `None` when the log could not be walked.
    pub coverage: Option<CoverageReport>,
    /// Of each job that reads events: from when to when it did, and what it missed.
    pub events: Vec<Events>,
    /// Documents of other kinds than `plan` and `keys`, in the log's order, each with the trusted bounds of its entry.
    pub documents: Vec<LoggedDocument>,
    /// The first entry that was looked at, where only what is new was; before it lies what a kept checkpoint pins.
    pub since: Option<u64>,
    /// The kept checkpoints that were given, each compared with the log.
    pub kept: Vec<Compared>,
}

/// The checkpoint, as it was read first.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// Entries.
    pub size: u64,
    /// Their root, as signed.
    pub root: Option<Digest>,
    /// Whether the root recomputed from the entries is that; `None` where it cannot be computed.
    pub root_agrees: Option<bool>,
    /// The key that signed it; `None` where no entitled one did.
    pub signed_by: Option<String>,
    /// From when on that key is valid.
    pub key_valid_from: Option<Utc>,
}

/// A part of the verdict, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// `origin`, `receipts`, `time`, `coverage`, `tail` …
    pub name: &'static str,
    /// In words.
    pub says: String,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Numbers {
    /// Leaves of the log.
    pub entries: u64,
    /// Of those, receipts of runs.
    pub receipts: u64,
    /// Of those, receipts of missed slots.
    pub missed: u64,
    /// Of those, plans.
    pub plans: u64,
    /// Of those, keys.
    pub keys: u64,
    /// Of those, frozen populations.
    pub populations: u64,
    /// Of those, sets of controls.
    pub controls: u64,
    /// Of those, other documents.
    pub other_documents: u64,
    /// Of those, leaves that cannot be read.
    pub malformed: u64,
    /// Seals that are in place and verify.
    pub seals: u64,
    /// Bundles in place.
    pub bundles: u64,
    /// Their bytes.
    pub bundle_bytes: u64,
    /// Bundles that are gone after their time of retention.
    pub expired: u64,
    /// Entries outside of the part that was asked for.
    pub outside: u64,
    /// Objects listed in the archive.
    pub objects: u64,
    /// Bundles opened; 0 unless asked for.
    pub opened: u64,
    /// Of those, the ones whose records followed from their exchanges.
    pub rederived: u64,
}

impl Verdict {
    /// The finding that names an object, if there is one.
    pub fn finding(&self, object: &str) -> Option<&Finding> {
        self.findings.iter().find(|f| f.object == object)
    }
}

/// The closing line.
pub(crate) fn statement(findings: u64, limits: usize, part: Option<Part>, since: Option<u64>) -> String {
    let what = match part {
        _ if since.is_some() => format!("INTACT SINCE ENTRY {}", since.unwrap_or_default()),
        None => "ARCHIVE INTACT".to_owned(),
        Some(part) => format!("LOG INTACT, and the archive from {} to {}", rfc3339(part.from), rfc3339(part.to)),
    };
    match (findings, limits) {
        (0, 0) => format!("{what}. This says nothing about the controls."),
        (0, n) => format!("{what}, with {}. This says nothing about the controls.", plural(n as u64, "limit")),
        (n, _) => format!("NOT INTACT: {}", plural(n, "finding")),
    }
}

/// `1 finding`, `2 findings`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// `1.2 MB`.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// What the sections are written from.
pub(crate) struct Facts<'a> {
    pub head: &'a Head,
    pub origin: &'a str,
    pub numbers: &'a Numbers,
    pub findings: &'a BTreeMap<Code, u64>,
    pub coverage: &'a CoverageReport,
    pub events: &'a [Events],
    pub documents: &'a [LoggedDocument],
    pub given: bool,
    pub newest: Option<Utc>,
    pub pending: u64,
    pub pending_sealed: u64,
    pub leftovers: u64,
    pub deep: bool,
    pub hold: &'a Hold,
    pub time: &'a TrustedTime,
    /// What pins the log's end, or the limit.
    pub tail: &'a str,
    pub as_of_from: &'static str,
    pub since: Option<u64>,
}

pub(crate) fn sections(facts: &Facts<'_>) -> Vec<Section> {
    let mut sections =
        vec![Section { name: "origin", says: origin(facts) }, Section { name: "receipts", says: receipts(facts) }];
    if facts.deep {
        sections.push(Section { name: "contents", says: contents(facts.numbers.opened, facts.numbers.rederived) });
    }
    sections.extend(documents::says(facts.documents).map(|says| Section { name: "approvals", says }));
    sections.push(Section { name: "time", says: facts.time.says() });
    sections.push(Section { name: "coverage", says: coverage(facts) });
    sections.extend(facts.events.iter().map(|events| Section { name: "events", says: events.says() }));
    let lowers: Vec<_> = facts.coverage.changes.iter().filter(|change| change.lowers).collect();
    if !lowers.is_empty() {
        let list: Vec<_> = lowers
            .iter()
            .map(|change| format!("at {} (entry {}): {}", rfc3339(change.at), change.index, change.reason))
            .collect();
        let says = format!("{} changed the plan to look less or later: {}", lowers.len(), list.join("; "));
        sections.push(Section { name: "plans", says });
    }
    if facts.pending > 0 {
        let says = format!(
            "validly signed but not in the log: {}; objects on their way in all: {}",
            facts.pending_sealed, facts.pending
        );
        sections.push(Section { name: "pending", says });
    }
    if facts.leftovers > 0 {
        let says = format!("{} objects left from the agent's work, which mean nothing", facts.leftovers);
        sections.push(Section { name: "leftovers", says });
    }
    sections.push(Section { name: "tail", says: format!("{} (limit TAIL-UNPINNED)", facts.tail) });
    let store = match facts.hold {
        Hold::Nothing => {
            "nothing holds the objects in place against who may write to the store (limit NO-OBJECT-LOCK)".to_owned()
        }
        Hold::Weak(says) => format!("{says} (limit WEAK-OBJECT-LOCK)"),
        Hold::Firm(says) => says.clone(),
    };
    sections.push(Section { name: "store", says: store });
    sections
}

fn origin(facts: &Facts<'_>) -> String {
    let Head { size, root_agrees, signed_by, key_valid_from, .. } = facts.head;
    let root = match root_agrees {
        Some(true) => "root and checkpoint agree",
        Some(false) => "the entries do not have the checkpoint's root",
        None => "entries are lost, so that the root cannot be computed",
    };
    let by = match (signed_by, key_valid_from) {
        (Some(key), Some(from)) => format!("signed by {key} (valid since {})", rfc3339(*from)),
        (Some(key), None) => format!("signed by {key}"),
        (None, _) => "not signed by a key that may".to_owned(),
    };
    let entries = if *size == 1 { "entry" } else { "entries" };
    format!("{}, {size} {entries}; {root}, {by}", facts.origin)
}

fn receipts(facts: &Facts<'_>) -> String {
    let n = facts.numbers;
    let all = n.receipts + n.missed + n.plans + n.keys + n.controls + n.populations + n.other_documents;
    let (new, size) = match facts.since {
        Some(since) => ("new ", facts.head.size - since),
        None => ("", facts.head.size),
    };
    let mut says = format!("{} of {size} {new}entries signed and in place", n.seals);
    if all > 0 {
        let documents = plural(n.plans + n.keys + n.controls + n.populations + n.other_documents, "document");
        says += &format!(" ({}, {} missed, {documents})", plural(n.receipts, "run"), n.missed);
    }
    let wrong = [Code::BundleDigest, Code::BundleMissing].iter().filter_map(|c| facts.findings.get(c)).sum::<u64>();
    says += &format!("; {}, {}", plural(n.bundles, "bundle"), bytes(n.bundle_bytes));
    says += &match wrong {
        0 if n.bundles > 0 => ", all digests agree".to_owned(),
        0 => String::new(),
        wrong => format!(", {wrong} missing or altered"),
    };
    if n.outside > 0 {
        says += &format!("; {} entries outside of the dates asked for were not looked at (limit PART)", n.outside);
    }
    if n.expired > 0 {
        says += &format!("; {} gone after their time of retention", n.expired);
    }
    says
}

pub(crate) fn contents(opened: u64, rederived: u64) -> String {
    format!("{} opened; of {rederived} the records follow again from what was received", plural(opened, "bundle"))
}

fn coverage(facts: &Facts<'_>) -> String {
    let report = facts.coverage;
    let from = if facts.as_of_from == "trusted_time" { " (the newest trusted time)" } else { "" };
    let mut says = format!("as of {}{from}: ", rfc3339(report.as_of));
    let total = &report.total;
    if report.first.is_none() && total.judged == 0 && total.open == 0 {
        says += "no schedule in force";
    } else {
        says += &format!("{} judged", plural(total.judged, "slot"));
        if let Some(first) = report.first {
            says += &format!(" since {}", rfc3339(first));
        }
        let mut parts = Vec::new();
        for (outcome, count) in &total.outcomes {
            let outcome = match outcome {
                crate::statement::Outcome::Collected => "collected",
                crate::statement::Outcome::Partial => "partial",
                crate::statement::Outcome::Failed => "failed",
            };
            parts.push(format!("{count} {outcome}"));
        }
        let missed: u64 = total.missed.values().sum();
        if missed > 0 {
            parts.push(format!("{missed} missed"));
        }
        parts.push(format!("{} without a receipt", total.uncovered));
        says += &format!(" ({})", parts.join(", "));
        if total.open > 0 {
            says += &format!("; {} still open", total.open);
        }
        if !report.in_force {
            says += "; no schedule is in force at the end";
        }
    }
    if report.by_hand > 0 {
        says += &format!("; {} asked for by hand", plural(report.by_hand, "run"));
    }
    match facts.newest {
        Some(newest) if facts.given && newest <= report.as_of => {
            says += &format!("; log silent for {}", span((report.as_of - newest).num_seconds()));
        }
        Some(newest) => says += &format!("; newest entry of {}", rfc3339(newest)),
        None => {}
    }
    says
}

/// `2 min`, `3 h 5 min`, `12 days`.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}
