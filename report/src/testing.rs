//! Small archives for tests, in memory: keys, plans, controls documents, runs whose results are made by the real checks, missed slots.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

use chrono::TimeDelta;
use controls::{
    CONTROLS_FORMAT, Control, ControlSet, DatedBy, Evaluator, FrameworkSet, Frequency, ScopedCheck, ScopedJob,
    parse_checks,
};
use serde_json::{Map, Value, json};
use signing::{
    approval::{Approval, Signed},
    bundle::{
        self, Agent, Attempt, ChecksDocument, CollectorFacts, Population, RUN_FACTS_FORMAT, RunFacts, SUMS, SourceFacts,
    },
    digest::Digest,
    keys::{self, FileKey, KeyEntry, KeySet, Signer, Use, Validity},
    layout::{self, Job},
    log::{Checkpoint, Edge},
    plan::{self, NotRun, Offset, Plan, PlannedJob, Schedule},
    seal::{pae, seal},
    statement::{
        Body, Cause, Counts, DigestSet, Document, Entry, Known, Missed, Outcome, PAYLOAD_TYPE, Receipt, Statement,
        Subject, Window,
    },
    store::Reader,
    time::Utc,
    verify::{Options, Verdict, verify},
};

pub const ORIGIN: &str = "example.org/test";

/// Who may sign waivers, responses and decisions.
pub const APPROVER: &str = "Ada Lovelace";

/// One check of users: whether `.ok` is true; null: unknown. Those with `.robot` are exempt.
pub const USERS: &str = "[{id: is-ok, item: mfa_user_enrolled, population: user, exempt: .robot == true, pass: .ok, \
                         says: '{id} is not ok', unknown: 'of {id} it is not known'}]";

pub fn at(text: &str) -> Utc {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    text.parse().unwrap()
}

pub fn job(name: &str) -> Job {
    name.parse().unwrap()
}

pub fn trust() -> String {
    FileKey::from_seed(&[1; 32]).public().fingerprint()
}

/// A schedule in UTC at these minutes and hours.
pub fn schedule(minutes: &[u8], hours: impl IntoIterator<Item = u8>) -> Schedule {
    let hours: BTreeSet<u8> = hours.into_iter().collect();
    Schedule {
        text: format!("{minutes:?} {hours:?} * * *"),
        zone: "UTC".into(),
        minutes: minutes.iter().copied().collect(),
        elapsed: hours.len() == 24,
        hours,
        days: (1..=31).collect(),
        months: (1..=12).collect(),
        weekdays: (0..=6).collect(),
        either_day: false,
    }
}

pub fn hourly() -> Schedule {
    schedule(&[0], 0..24)
}

pub fn daily_at(hour: u8) -> Schedule {
    schedule(&[0], [hour])
}

/// A control on an item, without links.
pub fn control(id: &str, frequency: Frequency, item: &str) -> Control {
    Control {
        id: id.into(),
        title: format!("{id} in one line"),
        owner: "the security lead".into(),
        statement: format!("{id} is promised"),
        frequency,
        items: vec![item.into()],
        checks: Vec::new(),
        only: Vec::new(),
        except: Vec::new(),
        sources: Vec::new(),
        soc2: BTreeMap::new(),
        hipaa: BTreeMap::new(),
        dated_by: None,
    }
}

pub fn dated_by(kind: &str, within_days: u32) -> Option<DatedBy> {
    Some(DatedBy { kind: kind.into(), at: "at".into(), within_days })
}

pub fn set(controls: &[Control], scope: Vec<ScopedJob>) -> ControlSet {
    ControlSet {
        format: CONTROLS_FORMAT.into(),
        origin: ORIGIN.into(),
        agent: "0.1.0".into(),
        previous: None,
        reason: String::new(),
        period: None,
        frameworks: FrameworkSet::default(),
        parameters: Map::new(),
        controls: controls.to_vec(),
        switched_off: Vec::new(),
        treatments: BTreeMap::new(),
        user_entity_controls: Vec::new(),
        vendor_expectations: Vec::new(),
        scope,
    }
}

/// A job in scope with its checks (YAML).
pub fn scoped(job: &str, checks: &str) -> ScopedJob {
    let each = parse_checks(checks).unwrap();
    ScopedJob {
        job: job.into(),
        kind: "host".into(),
        version: 1,
        checks_sha256: checks_digest(checks).to_string(),
        checks: each.into_iter().map(|c| ScopedCheck { id: c.id, item: c.item, kind: c.kind }).collect(),
        off: None,
    }
}

fn checks_document(checks: &str) -> Vec<u8> {
    ChecksDocument::new(checks, Value::Null).to_bytes()
}

pub fn checks_digest(checks: &str) -> Digest {
    Digest::of(&checks_document(checks))
}

/// A run. Without a slot it is by hand, at the archive's time.
#[derive(Debug, Clone)]
pub struct Run {
    pub job: Job,
    pub slot: Option<Utc>,
    /// Its collector's.
    pub version: u32,
    pub checks: String,
    pub records: Vec<(String, Value)>,
    /// Kinds that are not whole, or have no record.
    pub populations: BTreeMap<String, Population>,
    pub outcome: Outcome,
    pub window: Option<Window>,
}

impl Run {
    /// A run by hand with the check [`USERS`]; the list of users is whole.
    pub fn by_hand(name: &str) -> Self {
        Self {
            job: job(name),
            slot: None,
            version: 1,
            checks: USERS.into(),
            records: Vec::new(),
            populations: BTreeMap::from([("user".to_owned(), Population::Whole)]),
            outcome: Outcome::Collected,
            window: None,
        }
    }

    /// The same for a slot.
    pub fn slot(name: &str, slot: &str) -> Self {
        Self { slot: Some(at(slot)), ..Self::by_hand(name) }
    }

    /// Other checks than [`USERS`].
    #[must_use]
    pub fn checks(self, checks: &str) -> Self {
        Self { checks: checks.into(), ..self }
    }

    /// A user that passes, fails (`false`) or of which it is not known (null).
    #[must_use]
    pub fn user(self, id: &str, ok: impl Into<Value>) -> Self {
        self.record("user", json!({"id": id, "ok": ok.into()}))
    }

    #[must_use]
    pub fn record(mut self, kind: &str, record: Value) -> Self {
        self.populations.entry(kind.to_owned()).or_insert(Population::Whole);
        self.records.push((kind.to_owned(), record));
        self
    }

    /// A kind whose list is not whole makes the run partial; all unread, failed.
    #[must_use]
    pub fn population(mut self, kind: &str, population: Population) -> Self {
        match &population {
            Population::Cut(_) => self.outcome = Outcome::Partial,
            Population::Unread(_) => self.outcome = Outcome::Failed,
            Population::Whole | Population::Absent(_) => {}
        }
        self.populations.insert(kind.to_owned(), population);
        self
    }

    /// Nothing could be read.
    #[must_use]
    pub fn failed(self, reason: &str) -> Self {
        self.population("user", Population::Unread(reason.into()))
    }

    /// The events read.
    #[must_use]
    pub fn window(mut self, from: &str, to: &str, whole: bool) -> Self {
        if !whole {
            self.outcome = Outcome::Partial;
        }
        self.window = Some(Window { from: at(from), to: at(to), whole, previous: None });
        self
    }
}

/// An archive that is written as an agent would.
#[derive(Debug)]
pub struct Archive {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub now: Utc,
    edge: Edge,
    waiting: Vec<Vec<u8>>,
    known: Option<Known>,
    plan: Option<(Digest, Plan)>,
    controls: Option<Digest>,
}

impl Archive {
    /// With keys, logged at `start`.
    pub fn new(start: &str) -> Self {
        let mut archive = Self {
            objects: BTreeMap::new(),
            now: at(start),
            edge: Edge::empty(),
            waiting: Vec::new(),
            known: None,
            plan: None,
            controls: None,
        };
        let key = |seed: u8, use_| {
            let public = *FileKey::from_seed(&[seed; 32]).public();
            KeyEntry {
                key_id: public.fingerprint(),
                spki: public,
                use_,
                name: (use_ == Use::Approvals).then(|| APPROVER.to_owned()),
                valid: Validity { from: at(start), until: None },
                compromised_since: None,
                superseded_by: None,
                lost: false,
            }
        };
        let root = FileKey::from_seed(&[1; 32]);
        let set = KeySet {
            format: keys::FORMAT.into(),
            origin: ORIGIN.into(),
            revision: 1,
            root: *root.public(),
            keys: vec![key(2, Use::Receipts), key(3, Use::Checkpoints), key(4, Use::Approvals)],
            made_at: at(start),
            consents: BTreeSet::new(),
        };
        archive.document("keys", &set.sign(&root).unwrap());
        archive
    }

    /// Sets the time at which what follows is sealed.
    pub fn at(&mut self, text: &str) -> &mut Self {
        self.now = at(text);
        self
    }

    fn entry(&self) -> Entry {
        Entry {
            origin: ORIGIN.into(),
            key_id: FileKey::from_seed(&[2; 32]).public().fingerprint(),
            plan: self.plan.as_ref().map(|(digest, _)| *digest),
            sealed_at: self.now,
            checkpoint: self.known,
            anchor: None,
            instance: "i".into(),
        }
    }

    fn seal(&mut self, statement: &Statement) -> u64 {
        let leaf = statement.to_bytes().unwrap();
        let key = FileKey::from_seed(&[2; 32]);
        let signature = key.sign(&pae(PAYLOAD_TYPE, &leaf)).unwrap();
        let name = layout::seal(statement.entry.sealed_at, Statement::leaf_digest(&leaf));
        self.objects.insert(name, seal(&leaf, &key.public().fingerprint(), &signature));
        self.waiting.push(leaf);
        self.edge.size() + self.waiting.len() as u64 - 1
    }

    /// Logs a document; its entry.
    pub fn document(&mut self, kind: &str, bytes: &[u8]) -> u64 {
        let digest = Digest::of(bytes);
        let name = layout::document(kind, digest);
        self.objects.insert(name.clone(), bytes.to_vec());
        self.seal(&Statement {
            subject: vec![Subject { name, digest: DigestSet { sha256: digest } }],
            entry: self.entry(),
            body: Body::Document(Document { kind: kind.into(), reason: "for the test".into() }),
        })
    }

    /// Logs what [`APPROVER`] signs; its entry.
    pub fn approval(&mut self, approval: Approval) -> u64 {
        let kind = approval.kind().as_str();
        let signed = Signed::new(approval, &FileKey::from_seed(&[4; 32])).unwrap();
        self.document(kind, &signed.to_bytes())
    }

    /// Logs a controls document that follows the one before; its entry.
    pub fn controls(&mut self, set: &ControlSet) -> u64 {
        let previous = self.controls.map(|digest| digest.to_string());
        let bytes = serde_json::to_vec(&ControlSet { previous, ..set.clone() }).unwrap();
        self.controls = Some(Digest::of(&bytes));
        self.document("controls", &bytes)
    }

    /// Puts these jobs, with the check [`USERS`], on their schedules; its entry.
    pub fn plan(&mut self, jobs: &[(&str, Option<Schedule>)], reason: &str) -> u64 {
        let jobs: Vec<_> = jobs.iter().map(|(name, schedule)| (*name, USERS, schedule.clone())).collect();
        self.plan_with(&jobs, &[], reason)
    }

    /// The same with each job's checks, and the jobs that are not run.
    pub fn plan_with(
        &mut self,
        jobs: &[(&str, &str, Option<Schedule>)],
        not_run: &[(&str, &str)],
        reason: &str,
    ) -> u64 {
        let jobs = jobs.iter().map(|(name, checks, schedule)| PlannedJob {
            job: job(name),
            version: 1,
            checks: checks_digest(checks),
            schedule: schedule.clone(),
            start_within_seconds: 600,
            deadline_seconds: 600,
            grace_seconds: 60,
            spread_seconds: 0,
            watermark: None,
        });
        let plan = Plan {
            format: plan::FORMAT.into(),
            origin: ORIGIN.into(),
            agent: "0.1.0".into(),
            sealed_at: self.now,
            previous: self.plan.as_ref().map(|(digest, _)| *digest),
            reason: reason.into(),
            settle_seconds: 60,
            retention_days: Some(400),
            zones: BTreeMap::from([("UTC".to_owned(), vec![Offset { from: None, seconds: 0 }])]),
            jobs: jobs.collect(),
            not_run: not_run.iter().map(|(name, why)| NotRun { job: job(name), reason: (*why).into() }).collect(),
        };
        let bytes = serde_json::to_vec(&plan).unwrap();
        let index = self.document("plan", &bytes);
        self.plan = Some((Digest::of(&bytes), plan));
        index
    }

    /// Logs a run, one second after its slot, or now where it is by hand; its entry.
    pub fn run(&mut self, run: &Run) -> u64 {
        if let Some(slot) = run.slot {
            self.now = self.now.max(slot + TimeDelta::seconds(1));
        }
        let statement = self.receipt(run);
        self.now = statement.entry.sealed_at;
        self.seal(&statement)
    }

    fn receipt(&mut self, run: &Run) -> Statement {
        let (started_at, ended_at) = (self.now, self.now + TimeDelta::seconds(2));
        let mut evaluator = Evaluator::new(&parse_checks(&run.checks).unwrap(), &json!({})).unwrap();
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut records: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, record) in &run.records {
            evaluator.record(kind, record);
            *records.entry(kind.clone()).or_default() += 1;
            let file = files.entry(format!("records/{kind}.jsonl")).or_default();
            file.extend(serde_json::to_vec(record).unwrap());
            file.push(b'\n');
        }
        let populations = run.populations.iter().map(|(kind, population)| {
            let population = match population.clone() {
                Population::Whole => controls::Population::Whole,
                Population::Cut(why) => controls::Population::Cut(why),
                Population::Unread(why) => controls::Population::Unread(why),
                Population::Absent(why) => controls::Population::Absent(why),
            };
            (kind.clone(), population)
        });
        let results = evaluator.finish(&populations.collect());
        let count = |c: controls::Counts| Counts {
            pass: c.pass,
            fail: c.fail,
            unknown: c.unknown,
            not_applicable: c.not_applicable,
            exempt: c.exempt,
        };
        let totals = count(results.totals());
        let checks = results.checks.iter().map(|check| (check.id.clone(), count(check.counts()))).collect();
        let results = results.to_bytes();
        let reason = if run.outcome == Outcome::Collected { "" } else { "something was refused" };
        let facts = RunFacts {
            format: RUN_FACTS_FORMAT.into(),
            job: run.job.clone(),
            slot: run.slot,
            source: SourceFacts { name: run.job.source().into(), kind: "host".into(), identity: "this".into() },
            collector: CollectorFacts { id: run.job.collector().into(), version: run.version },
            agent: Agent { version: "0.1.0".into() },
            plan: self.plan.as_ref().unwrap().0,
            started_at,
            ended_at,
            attempts: vec![Attempt { started_at, ended_at, error: None }],
            outcome: run.outcome,
            reason: reason.into(),
            late: false,
            populations: run.populations.clone(),
            gaps: Vec::new(),
            records: records.clone(),
            window: run.window,
            inputs: Vec::new(),
        };
        files.insert("results.json".into(), results.clone());
        files.insert("run.json".into(), serde_json::to_vec(&facts).unwrap());
        files.insert("checks.json".into(), checks_document(&run.checks));
        files.insert("exchanges.jsonl".into(), Vec::new());
        files.insert("log.txt".into(), Vec::new());
        let (zip, sums) = zip(&files);
        let digest = Digest::of(&zip);
        let name = match run.slot {
            Some(slot) => layout::bundle_of_slot(slot, &run.job, digest),
            None => layout::bundle_by_hand(started_at, &run.job, digest),
        };
        self.objects.insert(name.clone(), zip);
        let receipt = Receipt {
            job: run.job.clone(),
            slot: run.slot,
            started_at,
            ended_at,
            attempts: 1,
            late: false,
            outcome: run.outcome,
            reason: reason.into(),
            records: records.values().sum(),
            totals,
            results: Digest::of(&results),
            checks: Some(checks),
            window: run.window,
        };
        Statement {
            subject: vec![
                Subject { name, digest: DigestSet { sha256: digest } },
                Subject { name: SUMS.into(), digest: DigestSet { sha256: sums } },
            ],
            entry: Entry { sealed_at: ended_at, ..self.entry() },
            body: Body::Receipt(receipt),
        }
    }

    /// Logs that slots were missed; its entry.
    pub fn missed(&mut self, name: &str, first: &str, last: &str, count: u64, cause: Cause) -> u64 {
        let plan = self.plan.as_ref().unwrap().0;
        self.now = self.now.max(at(last) + TimeDelta::hours(1));
        self.seal(&Statement {
            subject: vec![Subject { name: layout::document("plan", plan), digest: DigestSet { sha256: plan } }],
            entry: self.entry(),
            body: Body::Missed(Missed {
                job: job(name),
                first: at(first),
                last: at(last),
                count,
                cause,
                detail: "nothing ran".into(),
            }),
        })
    }

    /// Appends what waits, and publishes the checkpoint.
    pub fn append(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let objects = &mut self.objects;
        self.edge
            .append(&waiting, &mut |name: String, bytes| {
                // Once a tile is full its partial ones go.
                if !name.contains(".p/") {
                    objects.retain(|other, _| !other.starts_with(&format!("{name}.p/")));
                }
                objects.insert(name, bytes);
            })
            .unwrap();
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: self.edge.size(), root: self.edge.root() };
        self.objects.insert("checkpoint".into(), checkpoint.sign(&FileKey::from_seed(&[3; 32])).unwrap());
        self.known = Some(checkpoint.known());
    }

    /// Appends what waits, and verifies everything, up to `as_of` where it is not empty.
    pub fn verified(&mut self, as_of: &str) -> (Memory, Verdict) {
        self.append();
        let memory = Memory(self.objects.clone());
        let verdict = memory.judge(as_of);
        (memory, verdict)
    }
}

fn zip(files: &BTreeMap<String, Vec<u8>>) -> (Vec<u8>, Digest) {
    let work = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = work.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut zip = io::Cursor::new(Vec::new());
    let sums = bundle::write(work.path(), &mut zip).unwrap().sums;
    (zip.into_inner(), sums)
}

/// An origin's objects.
#[derive(Debug, Clone)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    pub fn judge(&self, as_of: &str) -> Verdict {
        let as_of = (!as_of.is_empty()).then(|| at(as_of));
        verify(self, &Options { as_of, threads: Some(1), ..Options::trusting(trust()) }, &|_| {}).unwrap()
    }

    /// The name of the bundle of a job's slot.
    pub fn bundle(&self, slot: &str, name: &str) -> String {
        let start = layout::bundle_of_slot(at(slot), &job(name), Digest::of(b""));
        let start = start.rsplit_once('-').unwrap().0;
        self.0.keys().find(|key| key.starts_with(start)).unwrap().clone()
    }
}

impl Reader for Memory {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send + '_>>> {
        Ok(self.0.get(name).map(|bytes| Box::new(bytes.as_slice()) as _))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.0.keys().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        Ok(())
    }
}
