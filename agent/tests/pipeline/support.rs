//! A scenario through the pipeline that can be repeated after any failure, and what must hold of the archive afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::TimeDelta;
use evidenced::{
    archive::{Archive, DirArchive},
    clock::{Clock, SimClock},
    durable::Disk,
    keystore::{self, Keys, Paths, SharedKeys},
    pipeline::{Drained, Options, Pipeline, PlanBasis, Spooled},
    schedule,
};
use signing::{
    bundle::{Agent, Attempt, Bundle, CollectorFacts, MAX_UNPACKED, RUN_FACTS_FORMAT, RunFacts, SourceFacts},
    digest::Digest,
    keys::Use,
    layout::{self, Job},
    log::{Checkpoint, RootHasher, entries},
    plan::{self, Plan, PlannedJob},
    seal::Seal,
    slots::Coverage,
    statement::{Body, Cause, Counts, Missed, Outcome, Statement},
    store::{Dir, Reader},
    time::Utc,
    verify,
};

pub const ORIGIN: &str = "localhost/test";
pub const EVERY_FIVE_MINUTES: &str = "host/accounts@this";
pub const EVERY_TEN_MINUTES: &str = "host/patches@this";

pub fn epoch() -> Utc {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

pub fn job(name: &str) -> Job {
    name.parse().unwrap()
}

/// Where everything of one agent lies.
pub struct Place {
    pub dir: PathBuf,
    pub clock: Arc<SimClock>,
}

impl Place {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), clock: Arc::new(SimClock::new(epoch())) }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub fn archive(&self) -> PathBuf {
        self.dir.join("archive").join(layout::origin_directory(ORIGIN))
    }

    pub fn keys(&self, disk: &Disk) -> anyhow::Result<Keys> {
        Ok(keystore::make(disk, &self.dir.join("keys"), ORIGIN, epoch())?.keys)
    }

    /// Opens a pipeline as a new start of the agent does.
    pub async fn open(&self, disk: &Disk, instance: &str) -> anyhow::Result<Pipeline> {
        let archive = DirArchive::open(&self.dir.join("archive"), ORIGIN, disk)?;
        self.open_in(archive, disk, instance).await
    }

    /// The same with another archive.
    pub async fn open_in(
        &self,
        archive: impl Archive + 'static,
        disk: &Disk,
        instance: &str,
    ) -> anyhow::Result<Pipeline> {
        let options = Options {
            state_dir: self.state_dir(),
            archive: Arc::new(archive),
            origin: ORIGIN.to_owned(),
            keys: SharedKeys::of(self.keys(disk)?, Paths::in_dir(&self.dir.join("keys"))),
            clock: self.clock.clone(),
            disk: disk.clone(),
            instance: instance.to_owned(),
        };
        Ok(Pipeline::open(options).await?)
    }

    /// Sets the clock forward to `at`, if it is not there yet.
    pub fn at(&self, at: Utc) {
        let left = at - self.clock.now();
        if left > TimeDelta::zero() {
            self.clock.jump(left);
        }
    }

    /// The work directory of a run: the same run always leaves the same files.
    pub fn work(&self, facts: &RunFacts) -> PathBuf {
        let work = self.dir.join("work").join(layout_name(facts));
        let _ = fs::remove_dir_all(&work);
        fs::create_dir_all(work.join("records")).unwrap();
        fs::write(work.join("run.json"), serde_json::to_vec(facts).unwrap()).unwrap();
        fs::write(work.join("results.json"), b"{}").unwrap();
        fs::write(work.join("records/account.jsonl"), format!("{{\"id\":\"root\",\"slot\":{:?}}}\n", facts.slot))
            .unwrap();
        work
    }
}

fn layout_name(facts: &RunFacts) -> String {
    format!("{}-{:?}", facts.job.file_name(), facts.slot).replace(':', "_")
}

pub fn facts(name: &str, slot: Option<Utc>, plan: Digest) -> RunFacts {
    let at = slot.unwrap_or(epoch()) + TimeDelta::seconds(2);
    RunFacts {
        format: RUN_FACTS_FORMAT.to_owned(),
        job: job(name),
        slot,
        source: SourceFacts { name: "this".into(), kind: "host".into(), identity: serde_json::json!({}) },
        collector: CollectorFacts { id: job(name).collector().to_owned(), version: 1 },
        agent: Agent { version: "0.0.0".into() },
        plan,
        started_at: at,
        ended_at: at,
        attempts: vec![Attempt { started_at: at, ended_at: at, error: None }],
        outcome: Outcome::Collected,
        reason: String::new(),
        late: false,
        populations: BTreeMap::from([("account".to_owned(), signing::bundle::Population::Whole)]),
        gaps: Vec::new(),
        records: BTreeMap::from([("account".to_owned(), 1)]),
        window: None,
        inputs: Vec::new(),
    }
}

pub fn counts() -> BTreeMap<String, Counts> {
    BTreeMap::from([("some-check".to_owned(), Counts { pass: 1, ..Counts::default() })])
}

pub fn make_plan(basis: &PlanBasis<'_>) -> Plan {
    let planned = |name: &str, text: &str| PlannedJob {
        job: job(name),
        version: 1,
        checks: Digest::of(b"checks"),
        schedule: Some(schedule::parse(text, "UTC").unwrap()),
        start_within_seconds: 120,
        deadline_seconds: 60,
        grace_seconds: 60,
        spread_seconds: 0,
        watermark: Some(basis.coverage.watermark(&job(name), basis.sealed_at)),
    };
    Plan {
        format: plan::FORMAT.to_owned(),
        origin: ORIGIN.to_owned(),
        agent: "0.0.0".to_owned(),
        sealed_at: basis.sealed_at,
        previous: basis.previous,
        reason: "started".to_owned(),
        settle_seconds: 300,
        retention_days: None,
        zones: BTreeMap::from([("UTC".to_owned(), schedule::offsets("UTC", epoch(), 2).unwrap())]),
        jobs: vec![planned(EVERY_FIVE_MINUTES, "*/5 * * * *"), planned(EVERY_TEN_MINUTES, "*/10 * * * *")],
        not_run: Vec::new(),
    }
}

/// Runs the job for its slot, as a scheduler does: once it says that it is spooled, `acknowledge` hears of it.
pub async fn run(
    place: &Place,
    pipeline: &Pipeline,
    name: &str,
    plan: Digest,
    slot: Utc,
    acknowledge: &mut dyn FnMut(Digest),
) -> anyhow::Result<Spooled> {
    let facts = facts(name, Some(slot), plan);
    let spooled = pipeline.spool_run(&place.work(&facts), &facts, &counts()).await?;
    if let Spooled::New(leaf) = &spooled {
        acknowledge(*leaf);
    }
    Ok(spooled)
}

/// What an agent does from its start on until `end`: a plan, a run for each slot of one job, `missed` for the other's, drained on the way.
/// After a failure anywhere it can simply be done again, by the same pipeline or by another one.
pub async fn scenario(
    place: &Place,
    pipeline: &Pipeline,
    end: Utc,
    acknowledge: &mut dyn FnMut(Digest),
) -> anyhow::Result<()> {
    if pipeline.plan().is_none() {
        pipeline.spool_plan(|basis| make_plan(&basis)).await?;
    }
    place.at(end);
    let mut due: Vec<_> = pipeline.coverage(|coverage| coverage.due(end).collect());
    due.sort_by_key(|(job, _, slot)| (*slot, job.clone()));
    for (job, plan, slot) in due {
        if job.as_str() == EVERY_FIVE_MINUTES {
            run(place, pipeline, EVERY_FIVE_MINUTES, plan, slot, acknowledge).await?;
            pipeline.drain().await?;
        }
    }
    let missed = pipeline.coverage(|coverage| {
        coverage.uncovered(&job(EVERY_TEN_MINUTES), end + TimeDelta::seconds(1)).collect::<Vec<_>>()
    });
    for range in missed {
        let missed = Missed {
            job: job(EVERY_TEN_MINUTES),
            first: range.first,
            last: range.last,
            count: range.count,
            cause: Cause::Down,
            detail: "the agent was not running".to_owned(),
        };
        if let Spooled::New(leaf) = pipeline.spool_missed(range.plan, missed).await? {
            acknowledge(leaf);
        }
    }
    pipeline.spool_plan(|basis| Plan { reason: "restated".to_owned(), ..make_plan(&basis) }).await?;
    let drained = pipeline.drain().await?;
    anyhow::ensure!(drained.pending == 0 && drained.held.is_empty(), "left over: {drained:?}");
    Ok(())
}

pub fn nothing_held(drained: Drained) -> u64 {
    assert_eq!((drained.pending, drained.held.len()), (0, 0), "{drained:?}");
    drained.logged
}

/// The leaves' digests in log order, after checking that the archive is whole: root, seals, subjects, slots; nothing unknown, nothing
/// left over.
pub fn check(place: &Place, end: Utc) -> Vec<Digest> {
    let keys = place.keys(&Disk::new()).unwrap();
    let reader = Dir::new(place.archive());
    let checkpoint = reader.read(layout::CHECKPOINT, 65_536).unwrap().expect("a checkpoint");
    let (checkpoint, _) = Checkpoint::open(&checkpoint, ORIGIN, &[*keys.checkpoints.public()]).unwrap();
    let mut root = RootHasher::new();
    let mut leaves = Vec::new();
    let mut coverage = Coverage::new();
    let mut known = BTreeSet::from([layout::CHECKPOINT.to_owned()]);
    let mut index = 0;
    entries(&reader, 0, checkpoint.size, &mut |at, leaf| {
        assert_eq!(at, index);
        index += 1;
        root.push(leaf);
        check_leaf(&reader, &keys, at, leaf, &mut coverage, &mut known);
        leaves.push(Statement::leaf_digest(leaf));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((root.size(), root.root()), (checkpoint.size, checkpoint.root));
    assert_eq!(leaves.iter().collect::<BTreeSet<_>>().len(), leaves.len(), "a leaf is in the log twice");
    let findings = coverage.take_findings();
    assert!(findings.is_empty(), "{findings:?}");
    let due: Vec<_> = coverage.due(end).collect();
    assert!(due.is_empty(), "without a receipt: {due:?}");

    let options = verify::Options::trusting(keys.set.root.fingerprint());
    let verdict = verify::verify(&reader, &options, &|_| {}).unwrap();
    assert!(verdict.intact, "{:#?}", verdict.findings);
    assert_eq!(verdict.pending_sealed, 0);

    let mut names = Vec::new();
    reader.list("", &mut |name| names.push(name.to_owned())).unwrap();
    for name in names {
        assert!(known.contains(&name) || name.starts_with("tile/"), "{name} belongs to nothing");
    }
    assert_eq!(listed(&place.state_dir().join("spool")), Vec::<String>::new(), "the spool is not empty");
    leaves
}

fn check_leaf(
    reader: &Dir,
    keys: &Keys,
    index: u64,
    leaf: &[u8],
    coverage: &mut Coverage,
    known: &mut BTreeSet<String>,
) {
    let statement = Statement::from_bytes(leaf).unwrap();
    let name = layout::seal(statement.entry.sealed_at, Statement::leaf_digest(leaf));
    let seal = Seal::from_bytes(&reader.read(&name, 65_536).unwrap().expect("a seal")).unwrap();
    let key = keys.set.key(&statement.entry.key_id, Use::Receipts, statement.entry.sealed_at).unwrap();
    seal.verify(&key).unwrap();
    assert_eq!(seal.payload, leaf);
    known.insert(name);
    let subject = &statement.subject[0];
    let object = reader.read(&subject.name, u32::MAX.into()).unwrap().expect("the subject");
    assert_eq!(Digest::of(&object), subject.digest.sha256);
    known.insert(subject.name.clone());
    let plan = statement.entry.plan.unwrap_or(Digest([0; 32]));
    match &statement.body {
        Body::Receipt(receipt) => {
            let mut bundle = Bundle::open(std::io::Cursor::new(object), MAX_UNPACKED).unwrap();
            assert_eq!(bundle.check_sums().unwrap(), statement.subject[1].digest.sha256);
            match receipt.slot {
                Some(slot) => coverage.receipt(index, plan, &receipt.job, slot, receipt.outcome, receipt.late),
                None => coverage.by_hand(&receipt.job),
            }
        }
        Body::Missed(missed) => coverage.missed(index, plan, missed),
        Body::Document(document) if document.kind == "plan" => {
            coverage.plan(index, subject.digest.sha256, &serde_json::from_slice(&object).unwrap());
        }
        Body::Document(_) => {}
    }
}

/// The names in a directory; none where it is not there.
pub fn listed(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
