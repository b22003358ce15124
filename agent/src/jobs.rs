//! The jobs that this agent can run, as its sources and its configuration make them, and the plan that says so. Nothing here runs one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use collectors::contract::{Collector, Source, Spec};
use controls::{Check, ScopedCheck, ScopedJob, parse_checks};
use serde_json::Value;
use signing::{
    bundle::{ChecksDocument, SourceFacts},
    digest::Digest,
    layout::Job,
    plan::{self, NotRun, Plan, PlannedJob, Schedule},
    time::Utc,
};

use crate::{
    config::{JobSettings, Wish},
    run::AGENT,
    schedule,
};

/// How long after its sealing a plan's time zones must hold; it is restated daily.
const ZONE_YEARS: u32 = 3;

/// A job's checks, read.
#[derive(Debug, Clone)]
pub struct Checks {
    checks: Vec<Check>,
    parameters: Value,
    document: Vec<u8>,
}

impl Checks {
    /// Reads a collector's list of checks.
    ///
    /// # Errors
    /// A list that cannot be evaluated.
    pub fn new(text: &str, parameters: Value) -> anyhow::Result<Self> {
        let document = ChecksDocument::new(text, parameters.clone()).to_bytes();
        Ok(Self { checks: parse_checks(text)?, parameters, document })
    }

    /// The checks, in the order of the list.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What the organisation set.
    pub fn parameters(&self) -> &Value {
        &self.parameters
    }

    /// The bytes of `checks.json`.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Their digest, which plans name.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.document)
    }
}

/// A job that can run.
#[derive(Clone)]
pub struct JobSetup {
    /// Its name.
    pub job: Job,
    /// The system that it reads.
    pub source: SourceFacts,
    /// Its reader.
    pub collector: Arc<dyn Collector>,
    /// The checks on its records.
    pub checks: Arc<Checks>,
    /// When it runs.
    pub settings: JobSettings,
    schedule: Schedule,
}

impl JobSetup {
    /// Whether its inputs are other jobs' bundles.
    pub fn is_derived(&self) -> bool {
        !self.collector.spec().inputs.is_empty()
    }
}

/// All jobs.
#[derive(Clone, Default)]
pub struct Jobs {
    setups: BTreeMap<Job, JobSetup>,
    not_run: Vec<NotRun>,
    scope: BTreeMap<Job, ScopedJob>,
}

impl Jobs {
    /// The jobs of some sources; `choose` says what the configuration wants of each, and `parameters` are the organisation's.
    ///
    /// # Errors
    /// Names, schedules, zones or checks that are refused; a job that is there twice.
    pub fn new(
        sources: Vec<Source>,
        parameters: &Value,
        mut choose: impl FnMut(&Job, &Spec) -> Wish,
    ) -> anyhow::Result<Self> {
        let mut jobs = Self::default();
        let mut seen = BTreeSet::new();
        for source in sources {
            let facts =
                SourceFacts { name: source.name.clone(), kind: source.kind.clone(), identity: source.identity.clone() };
            for collector in &source.collectors {
                let spec = collector.spec();
                let job = Job::new(&spec.id, &source.name)?;
                anyhow::ensure!(
                    seen.insert(job.clone()),
                    "there are two jobs {job}: give each source a name of its own"
                );
                let checks = Checks::new(&spec.checks, parameters.clone()).context("its checks are refused");
                let checks = Arc::new(checks.with_context(|| format!("job {job}"))?);
                let mut scoped = scoped(&job, &source.kind, spec, &checks);
                match (choose(&job, spec), &source.not_run) {
                    (Wish::Off(reason), _) => scoped.off = Some(reason),
                    (Wish::Run(_), Some(reason)) => scoped.off = Some(reason.clone()),
                    (Wish::Run(settings), None) => {
                        let setup = setup(job.clone(), facts.clone(), collector.clone(), checks, settings)
                            .with_context(|| format!("job {job}"))?;
                        jobs.setups.insert(job.clone(), setup);
                    }
                }
                jobs.not_run.extend(scoped.off.clone().map(|reason| NotRun { job: job.clone(), reason }));
                jobs.scope.insert(job, scoped);
            }
        }
        Ok(jobs)
    }

    /// Those that can run, by name.
    pub fn iter(&self) -> impl Iterator<Item = &JobSetup> {
        self.setups.values()
    }

    /// One that can run.
    pub fn get(&self, job: &Job) -> Option<&JobSetup> {
        self.setups.get(job)
    }

    /// Those that do not run, with the reason.
    pub fn not_run(&self) -> &[NotRun] {
        &self.not_run
    }

    /// Every job, by name, with what is checked in it, also those that do not run.
    pub fn scope(&self) -> Vec<ScopedJob> {
        self.scope.values().cloned().collect()
    }

    /// The jobs that some names mean: a job, or a collector for its jobs on all sources. No name means every job.
    ///
    /// # Errors
    /// A name that means no job, with the names that there are.
    pub fn named(&self, names: &[String]) -> anyhow::Result<BTreeSet<Job>> {
        if names.is_empty() {
            return Ok(self.setups.keys().cloned().collect());
        }
        let mut chosen = BTreeSet::new();
        for name in names {
            let means = |job: &Job| job.as_str() == name || job.collector() == name;
            let found: Vec<&Job> = self.setups.keys().filter(|job| means(job)).collect();
            if found.is_empty() {
                if let Some(off) = self.not_run.iter().find(|off| means(&off.job)) {
                    anyhow::bail!("{} does not run here: {}", off.job, off.reason);
                }
                let all: Vec<&str> = self.setups.keys().map(Job::as_str).collect();
                anyhow::bail!("there is no job or collector {name:?}; there are: {}", all.join(", "));
            }
            chosen.extend(found.into_iter().cloned());
        }
        Ok(chosen)
    }

    /// The plan of all jobs, or, with `scheduled` false, of all jobs without schedules.
    pub fn plan(&self, head: PlanHead<'_>, scheduled: bool) -> Plan {
        let mut zones = BTreeMap::new();
        let mut planned = Vec::new();
        for setup in self.setups.values() {
            let settings = &setup.settings;
            if scheduled && !zones.contains_key(&settings.zone) {
                let offsets = schedule::offsets(&settings.zone, head.sealed_at, ZONE_YEARS);
                zones.insert(settings.zone.clone(), offsets.expect("the zone was known when the job was made"));
            }
            let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
            planned.push(PlannedJob {
                job: setup.job.clone(),
                version: setup.collector.spec().version,
                checks: setup.checks.digest(),
                schedule: scheduled.then(|| setup.schedule.clone()),
                start_within_seconds: seconds(settings.start_within),
                deadline_seconds: seconds(settings.deadline),
                grace_seconds: seconds(settings.grace),
                spread_seconds: seconds(settings.spread),
                watermark: (head.watermark)(&setup.job).filter(|_| scheduled),
            });
        }
        head.plan(zones, planned, self.not_run.clone())
    }
}

/// What a plan says beside its jobs.
#[derive(Clone, Copy)]
pub struct PlanHead<'a> {
    /// The log.
    pub origin: &'a str,
    /// When it takes force.
    pub sealed_at: Utc,
    /// The plan before.
    pub previous: Option<Digest>,
    /// Why it is made.
    pub reason: &'a str,
    /// How long a run may take from its end into the log.
    pub settle: Duration,
    /// For how long bundles are kept.
    pub retention_days: Option<u32>,
    /// Up to where each job's slots have receipts.
    pub watermark: &'a dyn Fn(&Job) -> Option<Utc>,
}

impl PlanHead<'_> {
    /// The plan that puts nothing in force.
    pub fn empty(&self, not_run: Vec<NotRun>) -> Plan {
        self.plan(BTreeMap::new(), Vec::new(), not_run)
    }

    fn plan(&self, zones: BTreeMap<String, Vec<plan::Offset>>, jobs: Vec<PlannedJob>, not_run: Vec<NotRun>) -> Plan {
        Plan {
            format: plan::FORMAT.into(),
            origin: self.origin.into(),
            agent: AGENT.into(),
            sealed_at: self.sealed_at,
            previous: self.previous,
            reason: self.reason.into(),
            settle_seconds: u32::try_from(self.settle.as_secs()).unwrap_or(u32::MAX),
            retention_days: self.retention_days,
            zones,
            jobs,
            not_run,
        }
    }
}

/// Whether two plans say the same, but for when and why they were sealed.
pub fn same_promise(one: &Plan, other: &Plan) -> bool {
    let bare = |plan: &Plan| {
        let mut plan = plan.clone();
        plan.sealed_at = Utc::MIN_UTC;
        plan.previous = None;
        plan.reason.clear();
        plan.zones.clear();
        plan.jobs.iter_mut().for_each(|job| job.watermark = None);
        plan
    };
    bare(one) == bare(other)
}

/// A job as controls know it.
fn scoped(job: &Job, kind: &str, spec: &Spec, checks: &Checks) -> ScopedJob {
    let check =
        |check: &Check| ScopedCheck { id: check.id.clone(), item: check.item.clone(), kind: check.kind.clone() };
    ScopedJob {
        job: job.to_string(),
        kind: kind.to_owned(),
        version: spec.version,
        checks_sha256: checks.digest().to_string(),
        checks: checks.checks().iter().map(check).collect(),
        off: None,
    }
}

fn setup(
    job: Job,
    source: SourceFacts,
    collector: Arc<dyn Collector>,
    checks: Arc<Checks>,
    settings: JobSettings,
) -> anyhow::Result<JobSetup> {
    let schedule = schedule::parse(&settings.schedule, &settings.zone)?;
    schedule::offsets(&settings.zone, Utc::UNIX_EPOCH, 0)?;
    Ok(JobSetup { job, source, collector, checks, settings, schedule })
}
