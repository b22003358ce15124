//! What was in force when: the controls documents of the log, and without any the starter set over the jobs of its plans. A document is in
//! force from its sealing until its successor's; before the first one, that one is used, so that nothing before it vanishes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use controls::{CONTROLS_FORMAT, Control, ControlSet, FrameworkSet, Results, ScopedCheck, ScopedJob, starter};
use signing::{
    digest::Digest,
    layout::Job,
    plan::Plan,
    statement::{Body, Statement},
    time::Utc,
};

use crate::ledger::{Ledger, LedgerError};

/// The document's kind.
pub const KIND: &str = "controls";

/// Runs that are tried to learn the checks of a job, where no controls document tells them.
const TRIED: usize = 5;

/// A set of controls, and from when on.
#[derive(Debug, Clone)]
pub struct Put {
    /// From when on; never before the one before it.
    pub from: Utc,
    /// The log's entry that brought it: a controls document, or a plan.
    pub entry: u64,
    /// The document; `None`: there is none, and the starter set is used.
    pub document: Option<Digest>,
    /// What is promised.
    pub set: Arc<ControlSet>,
}

/// A time without schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// From when on.
    pub from: Utc,
    /// Until when; `None`: it goes on.
    pub until: Option<Utc>,
    /// The plan's reason.
    pub reason: String,
}

/// What was in force, and when.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    /// In order; empty where the log has neither a controls document nor a plan.
    pub puts: Vec<Put>,
    /// Times without schedules.
    pub pauses: Vec<Pause>,
    /// Controls documents that could not be used, in words.
    pub unread: Vec<String>,
}

impl InForce {
    /// Reads the log's documents.
    ///
    /// # Errors
    /// A log that cannot be read, or changed meanwhile.
    pub fn read(ledger: &Ledger<'_>) -> Result<Self, LedgerError> {
        let mut found = Self::default();
        let mut plans = Plans::default();
        ledger.read_all(
            |_| (),
            |ledger, entry, ()| {
                let Body::Document(document) = &entry.logged.statement.body else { return Ok(None) };
                let wanted = ["plan", KIND].contains(&document.kind.as_str());
                wanted.then(|| ledger.document(&entry.logged.statement)).transpose()
            },
            |entry, read| {
                let statement = &entry.logged.statement;
                match (&statement.body, read) {
                    (Body::Receipt(receipt), _) if entry.refused.is_none() => plans.run(statement, &receipt.job),
                    (Body::Document(document), Some(Ok(bytes))) if document.kind == "plan" => {
                        // What a plan promised counts also where a finding names it: without it a gap would not be seen.
                        if let Ok(plan) = serde_json::from_slice::<Plan>(&bytes) {
                            plans.plan(entry.logged.index, statement.subject[0].digest.sha256, &plan);
                        }
                    }
                    (Body::Document(document), Some(read)) if document.kind == KIND => {
                        let said = match (entry.refused, read) {
                            (Some(finding), _) => Err(crate::pass::why(finding)),
                            (None, Err(unusable)) => Err(unusable.to_string()),
                            (None, Ok(bytes)) => parse(&bytes, ledger),
                        };
                        found.put(entry.logged.index, statement, said);
                    }
                    _ => {}
                }
                Ok::<_, LedgerError>(())
            },
        )?;
        found.pauses = std::mem::take(&mut plans.pauses);
        if found.puts.is_empty() {
            found.puts = plans.starter(ledger)?;
        }
        Ok(found)
    }

    fn put(&mut self, entry: u64, statement: &Statement, read: Result<ControlSet, String>) {
        match read {
            Ok(set) => {
                let digest = statement.subject[0].digest.sha256;
                let sealed_at = statement.entry.sealed_at;
                let from = self.puts.last().map_or(sealed_at, |before| before.from.max(sealed_at));
                self.puts.push(Put { from, entry, document: Some(digest), set: Arc::new(set) });
            }
            Err(why) => self.unread.push(format!(
                "The controls document at entry {entry} could not be used, so that the one before it counts on: {why}."
            )),
        }
    }

    /// Whether the log has a controls document.
    pub fn documented(&self) -> bool {
        self.puts.first().is_some_and(|put| put.document.is_some())
    }

    /// The place of what counts at an instant: what was in force, before the first one that one.
    pub fn place(&self, at: Utc) -> Option<usize> {
        let after = self.puts.partition_point(|put| put.from <= at);
        (!self.puts.is_empty()).then(|| after.saturating_sub(1))
    }

    /// What counts at an instant.
    pub fn at(&self, at: Utc) -> Option<&Put> {
        self.place(at).map(|place| &self.puts[place])
    }

    /// Whether any controls document was in force at an instant, as evidence.
    pub fn was_in_force(&self, at: Utc) -> bool {
        self.documented() && self.puts[0].from <= at
    }

    /// The pause that covers all of `[from, to)`.
    pub fn pause(&self, from: Utc, to: Utc) -> Option<&Pause> {
        self.pauses.iter().find(|pause| pause.from <= from && pause.until.is_none_or(|until| to <= until))
    }

    /// The controls that a check of a job supports at an instant, by id.
    pub fn controls_of(&self, at: Utc, job: &Job, check: &str) -> Vec<String> {
        let Some(put) = self.at(at) else { return Vec::new() };
        let Some(scoped) = put.set.scope.iter().find(|scoped| scoped.job == job.as_str()) else { return Vec::new() };
        let Some(check) = scoped.checks.iter().find(|c| c.id == check) else { return Vec::new() };
        let supported = put.set.controls.iter().filter(|control| control.is_supported_by(&scoped.job, check));
        supported.map(|control| control.id.clone()).collect()
    }
}

fn parse(bytes: &[u8], ledger: &Ledger<'_>) -> Result<ControlSet, String> {
    let set: ControlSet = serde_json::from_slice(bytes).map_err(|error| format!("it is malformed: {error}"))?;
    if set.format != CONTROLS_FORMAT {
        return Err(format!("its format is {:?}", set.format));
    }
    if set.origin != ledger.verdict().origin {
        return Err(format!("it is for the log {:?}", set.origin));
    }
    Ok(set)
}

/// A control's jobs, each with the checks that support it, sorted by job.
pub type Scope = Vec<(Job, Vec<ScopedCheck>)>;

/// The jobs in scope of a control, each with the checks behind it.
pub fn scope(control: &Control, set: &ControlSet) -> Scope {
    let mut scope: Scope = set
        .scope
        .iter()
        .filter(|scoped| scoped.off.is_none())
        .filter_map(|scoped| Some((scoped.job.parse().ok()?, supporting(control, scoped))))
        .filter(|(_, checks): &(Job, Vec<_>)| !checks.is_empty())
        .collect();
    scope.sort_by(|one, other| one.0.cmp(&other.0));
    scope
}

/// Jobs that would be in scope of a control and are switched off, each with the reason, sorted.
pub fn left_out(control: &Control, set: &ControlSet) -> Vec<(Job, String)> {
    let supporting = set.scope.iter().filter(|scoped| !supporting(control, scoped).is_empty());
    let mut left_out: Vec<_> =
        supporting.filter_map(|scoped| Some((scoped.job.parse().ok()?, scoped.off.clone()?))).collect();
    left_out.sort();
    left_out
}

/// The checks of a job that support a control.
pub fn supporting(control: &Control, scoped: &ScopedJob) -> Vec<ScopedCheck> {
    scoped.checks.iter().filter(|check| control.is_supported_by(&scoped.job, check)).cloned().collect()
}

/// Each job's version and checks.
type Jobs = BTreeMap<Job, (u32, Digest)>;

/// What the plans tell: pauses, and which jobs there are where nothing else tells it.
#[derive(Default)]
struct Plans {
    /// Each time that the jobs, versions or checks are others.
    changes: Vec<(Utc, u64, Jobs)>,
    /// The checks of each plan's jobs.
    by_digest: HashMap<Digest, usize>,
    pauses: Vec<Pause>,
    scheduled: bool,
    agent: String,
    /// Runs by job and checks.
    runs: HashMap<(Job, Digest), Vec<Statement>>,
}

impl Plans {
    fn plan(&mut self, index: u64, digest: Digest, plan: &Plan) {
        let jobs: Jobs = plan.jobs.iter().map(|job| (job.job.clone(), (job.version, job.checks))).collect();
        if self.changes.last().is_none_or(|(_, _, before)| *before != jobs) {
            let from = self.changes.last().map_or(plan.sealed_at, |(before, ..)| plan.sealed_at.max(*before));
            self.changes.push((from, index, jobs));
        }
        self.by_digest.insert(digest, self.changes.len() - 1);
        self.agent.clone_from(&plan.agent);
        let scheduled = plan.jobs.iter().any(|job| job.schedule.is_some());
        match (self.scheduled, scheduled) {
            (true, false) => {
                self.pauses.push(Pause { from: plan.sealed_at, until: None, reason: plan.reason.clone() });
            }
            (false, true) => {
                if let Some(pause) = self.pauses.last_mut() {
                    pause.until = Some(plan.sealed_at);
                }
            }
            _ => {}
        }
        self.scheduled = scheduled;
    }

    fn run(&mut self, statement: &Statement, job: &Job) {
        let place = statement.entry.plan.and_then(|plan| self.by_digest.get(&plan));
        let checks = place.and_then(|place| self.changes[*place].2.get(job));
        if let Some((_, checks)) = checks {
            let runs = self.runs.entry((job.clone(), *checks)).or_default();
            if runs.len() < TRIED {
                runs.push(statement.clone());
            }
        }
    }

    /// The starter set over the plans' jobs. Which checks a job has is told by its first run that can be read.
    fn starter(self, ledger: &Ledger<'_>) -> Result<Vec<Put>, LedgerError> {
        let mut checks: HashMap<(Job, Digest), Vec<ScopedCheck>> = HashMap::new();
        for (key, runs) in self.runs {
            for statement in runs {
                if let Ok(mut bundle) = ledger.bundle(&statement)?
                    && let Ok(bytes) = bundle.file("results.json")
                    && let Ok(results) = Results::from_bytes(&bytes)
                {
                    let scoped = |check: controls::CheckResult| ScopedCheck {
                        id: check.id,
                        item: check.item,
                        kind: check.population.kind,
                    };
                    checks.insert(key, results.checks.into_iter().map(scoped).collect());
                    break;
                }
            }
        }
        let mut puts = Vec::new();
        for (from, entry, jobs) in self.changes {
            let scope = jobs.into_iter().map(|(job, (version, digest))| ScopedJob {
                job: job.to_string(),
                kind: String::new(),
                version,
                checks_sha256: digest.to_string(),
                checks: checks.get(&(job, digest)).cloned().unwrap_or_default(),
                off: None,
            });
            let set = ControlSet {
                format: CONTROLS_FORMAT.to_owned(),
                origin: ledger.verdict().origin.clone(),
                agent: self.agent.clone(),
                previous: None,
                reason: String::new(),
                period: None,
                frameworks: FrameworkSet { soc2: vec![controls::Category::Security], hipaa: None },
                parameters: serde_json::Map::new(),
                controls: starter().to_vec(),
                switched_off: Vec::new(),
                treatments: BTreeMap::new(),
                user_entity_controls: Vec::new(),
                vendor_expectations: Vec::new(),
                scope: scope.collect(),
            };
            puts.push(Put { from, entry, document: None, set: Arc::new(set) });
        }
        Ok(puts)
    }
}

/// Every control that any of the sets in force within `[from, to)` has, by id, as it was last.
pub fn controls_within(in_force: &InForce, from: Utc, to: Utc) -> BTreeMap<String, Control> {
    let controls = within(in_force, from, to).flat_map(|put| &put.set.controls);
    controls.map(|control| (control.id.clone(), control.clone())).collect()
}

/// The sets that count within `[from, to)`.
pub fn within(in_force: &InForce, from: Utc, to: Utc) -> impl Iterator<Item = &Put> {
    let first = in_force.place(from).unwrap_or_default();
    let all = in_force.puts.iter().enumerate().skip(first);
    all.take_while(move |(place, put)| *place == first || put.from < to).map(|(_, put)| put)
}

/// The jobs that any of the sets within `[from, to)` names, whether they run or not.
pub fn jobs_within(in_force: &InForce, from: Utc, to: Utc) -> BTreeSet<Job> {
    within(in_force, from, to)
        .flat_map(|put| put.set.scope.iter().filter_map(|scoped| scoped.job.parse().ok()))
        .collect()
}
