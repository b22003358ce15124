//! What the pipeline knows: which plans, slots and receipts are in the log or on their way into it. It is read from log and spool at the
//! start, or, while the archive is away, from the copy of the log's newest part; it is kept nowhere else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    layout::Job,
    plan::Plan,
    slots::Coverage,
    statement::{Body as Said, Known, Statement, Window},
    time::Utc,
};

/// What the log says, together with what is in the spool, in that order.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) coverage: Coverage,
    /// Leaves and pending entries fed so far.
    pub(super) next_index: u64,
    pub(super) plan: Option<(Digest, Plan)>,
    /// The newest plans, the last one last.
    pub(super) plans: VecDeque<(Digest, Plan)>,
    pub(super) last_sealed: Option<Utc>,
    /// The latest slot of any job that has a receipt.
    pub(super) last_slot: Option<Utc>,
    pub(super) known: Option<Known>,
    /// Subjects of pending receipts and documents.
    pub(super) subjects: BTreeSet<String>,
    /// The newest window of each job that went into the spool since the start, or was found there.
    pub(super) windows: BTreeMap<Job, Window>,
    /// How often the archive, once it was back, told another past than was remembered.
    pub(super) generation: u64,
}

/// Plans that are held in memory: more days than slots may stay open.
const PLANS: usize = 40;

impl State {
    /// Adds what comes next: a leaf of the log, or an entry of the spool.
    pub(super) fn feed(&mut self, statement: &Statement, plan: Option<Plan>) {
        let index = self.next_index;
        self.next_index += 1;
        let entry = &statement.entry;
        self.last_sealed = self.last_sealed.max(Some(entry.sealed_at));
        let under = entry.plan.unwrap_or(Digest([0; 32]));
        match &statement.body {
            Said::Receipt(receipt) => match receipt.slot {
                Some(slot) => {
                    self.last_slot = self.last_slot.max(Some(slot));
                    self.coverage.receipt(index, under, &receipt.job, slot, receipt.outcome, receipt.late);
                }
                None => self.coverage.by_hand(&receipt.job),
            },
            Said::Missed(missed) => {
                self.last_slot = self.last_slot.max(Some(missed.last));
                self.coverage.missed(index, under, missed);
            }
            Said::Document(_) => {
                if let Some(plan) = plan {
                    let digest = statement.subject[0].digest.sha256;
                    self.coverage.plan(index, digest, &plan);
                    self.hold(digest, plan);
                }
            }
        }
        for finding in self.coverage.take_findings() {
            tracing::error!(code = finding.code, index, "the log's slots: {}", finding.sentence);
        }
    }

    /// The newest plan.
    pub(super) fn hold(&mut self, digest: Digest, plan: Plan) {
        if self.plans.len() == PLANS {
            self.plans.pop_front();
        }
        self.plans.push_back((digest, plan.clone()));
        self.plan = Some((digest, plan));
    }

    pub(super) fn enter(&mut self, statement: &Statement, plan: Option<Plan>) {
        self.feed(statement, plan);
        if let Said::Receipt(receipt) = &statement.body
            && let Some(window) = receipt.window
        {
            self.windows.insert(receipt.job.clone(), window);
        }
        if !matches!(statement.body, Said::Missed(_)) {
            self.subjects.insert(statement.subject[0].name.clone());
        }
    }

    pub(super) fn leave(&mut self, statement: &Statement) {
        if !matches!(statement.body, Said::Missed(_)) {
            self.subjects.remove(&statement.subject[0].name);
        }
    }
}

pub(super) fn job_of(statement: &Statement) -> Option<&Job> {
    match &statement.body {
        Said::Receipt(receipt) => Some(&receipt.job),
        Said::Missed(missed) => Some(&missed.job),
        Said::Document(_) => None,
    }
}

/// Whether the plans name the slot and nothing covers it yet.
pub(super) fn is_due(coverage: &Coverage, job: &Job, slot: Utc) -> bool {
    let end = slot + TimeDelta::seconds(1);
    coverage.uncovered(job, end).any(|range| range.last == slot)
}
