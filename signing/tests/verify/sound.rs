//! A sound archive, written with the crate's own functions and by no agent: keys, plans, 130 slots of two jobs, some missed, a run by
//! hand, in appends that cross the first full tile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use chrono::TimeDelta;
use signing::{
    bundle::{self, Agent, Attempt, Bundle, CollectorFacts, Population, RUN_FACTS_FORMAT, RunFacts, SUMS, SourceFacts},
    digest::Digest,
    keys::{self, FileKey, KeyEntry, KeySet, Signer, Use, Validity},
    layout::{self, Job},
    log::{Checkpoint, Edge},
    plan::{self, Offset, Plan, PlannedJob, Schedule},
    seal::{pae, seal},
    statement::{
        Anchored, Body, Cause, Counts, DigestSet, Document, Entry, Known, Missed, Outcome, PAYLOAD_TYPE, Receipt,
        Statement, Subject,
    },
    store::{Dir, Reader},
    time::Utc,
    timestamp::Hash,
    verify::{CannotVerify, Derived, Options, Rederive, Verdict, verify},
};
use tempfile::SpooledTempFile;

use crate::tsa::{Make, Tsa};

pub const ORIGIN: &str = "example.org/test";

pub fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

pub fn root_key() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

pub fn receipts_key() -> FileKey {
    FileKey::from_seed(&[2; 32])
}

pub fn checkpoints_key() -> FileKey {
    FileKey::from_seed(&[3; 32])
}

pub fn trust() -> String {
    root_key().public().fingerprint()
}

pub fn job(name: &str) -> Job {
    Job::new(name, "this").unwrap()
}

/// What changes a run's files.
pub type ChangeFiles = Box<dyn Fn(&Path)>;

/// Writes an archive as an agent would.
pub struct Writer {
    pub dir: PathBuf,
    pub edge: Edge,
    pub waiting: Vec<Vec<u8>>,
    pub known: Option<Known>,
    pub anchor: Option<Anchored>,
    pub plan: Option<Digest>,
    pub now: Utc,
    pub sealer: FileKey,
    pub key_id: Option<String>,
    /// Changes a run's files before they are bundled.
    pub before_bundling: Option<ChangeFiles>,
}

impl Writer {
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            edge: Edge::empty(),
            waiting: Vec::new(),
            known: None,
            anchor: None,
            plan: None,
            now: at("2026-11-01T00:00:00Z"),
            sealer: receipts_key(),
            key_id: None,
            before_bundling: None,
        }
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn entry(&self) -> Entry {
        Entry {
            origin: ORIGIN.into(),
            key_id: self.key_id.clone().unwrap_or(self.sealer.public().fingerprint()),
            plan: self.plan,
            sealed_at: self.now,
            checkpoint: self.known,
            anchor: self.anchor,
            instance: "i".into(),
        }
    }

    /// Stores the published checkpoint and a token over it, of this time, and lets the next entries name it; the token's name.
    pub fn anchor(&mut self, tsa: &Tsa, time: Utc) -> String {
        let checkpoint = fs::read(self.dir.join("checkpoint")).unwrap();
        let size = self.edge.size();
        self.put(&layout::anchor(size, Digest::of(&checkpoint), layout::Anchor::Checkpoint), &checkpoint);
        let token = token(tsa, &checkpoint, time);
        let name = layout::anchor(size, Digest::of(&token), layout::Anchor::Token);
        self.put(&name, &token);
        self.anchor = Some(Anchored { size, token: Digest::of(&token) });
        name
    }

    /// Seals a statement; the leaf waits for the next append.
    pub fn seal(&mut self, statement: &Statement) -> String {
        let leaf = statement.to_bytes().unwrap();
        let signature = self.sealer.sign(&pae(PAYLOAD_TYPE, &leaf)).unwrap();
        let name = layout::seal(statement.entry.sealed_at, Statement::leaf_digest(&leaf));
        self.put(&name, &seal(&leaf, &self.sealer.public().fingerprint(), &signature));
        self.waiting.push(leaf);
        name
    }

    pub fn document(&mut self, kind: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let name = layout::document(kind, digest);
        self.put(&name, bytes);
        self.seal(&Statement {
            subject: vec![Subject { name, digest: DigestSet { sha256: digest } }],
            entry: self.entry(),
            body: Body::Document(Document { kind: kind.into(), reason: "for the test".into() }),
        });
        digest
    }

    pub fn keys(&mut self, set: &KeySet) {
        self.signed_keys(&set.sign(&root_key()).unwrap());
    }

    /// Logs a `keys.json` as it is.
    pub fn signed_keys(&mut self, bytes: &[u8]) {
        self.document("keys", bytes);
    }

    pub fn plan(&mut self, jobs: &[&str], reason: &str) -> Plan {
        self.plan_with(jobs, reason, None)
    }

    pub fn plan_with(&mut self, jobs: &[&str], reason: &str, watermark: Option<Utc>) -> Plan {
        let mut jobs = planned_jobs(jobs);
        jobs.iter_mut().filter(|job| job.schedule.is_some()).for_each(|job| job.watermark = watermark);
        let plan = Plan {
            format: plan::FORMAT.into(),
            origin: ORIGIN.into(),
            agent: "0.1.0".into(),
            sealed_at: self.now,
            previous: self.plan,
            reason: reason.into(),
            settle_seconds: 60,
            retention_days: Some(400),
            zones: BTreeMap::from([("UTC".to_owned(), vec![Offset { from: None, seconds: 0 }])]),
            jobs,
            not_run: Vec::new(),
        };
        let bytes = serde_json::to_vec(&plan).unwrap();
        self.plan = Some(self.document("plan", &bytes));
        plan
    }

    pub fn receipt(&mut self, job: &Job, slot: Option<Utc>, change: impl FnOnce(&mut Receipt)) -> Statement {
        let work = tempfile::tempdir().unwrap();
        let started_at = self.now;
        let ended_at = started_at + TimeDelta::seconds(2);
        let body = format!("alice,{}\n", started_at.timestamp());
        let records = format!("{{\"id\":\"alice\",\"as_of\":null,\"exchange\":1,\"raw\":{}}}\n", body.len());
        let results = b"{\"format\":\"evidenced-results/1\",\"checks\":[]}";
        let facts = RunFacts {
            format: RUN_FACTS_FORMAT.into(),
            job: job.clone(),
            slot,
            source: SourceFacts { name: job.source().into(), kind: "host".into(), identity: "this".into() },
            collector: CollectorFacts { id: job.collector().into(), version: 1 },
            agent: Agent { version: "0.1.0".into() },
            plan: self.plan.unwrap(),
            started_at,
            ended_at,
            attempts: vec![Attempt { started_at, ended_at, error: None }],
            outcome: Outcome::Collected,
            reason: String::new(),
            late: false,
            populations: BTreeMap::from([("accounts".to_owned(), Population::Whole)]),
            gaps: Vec::new(),
            records: BTreeMap::from([("accounts".to_owned(), 1)]),
            window: None,
            inputs: Vec::new(),
        };
        let exchange = serde_json::json!({
            "number": 1, "operation": "read-file", "request": {"path": "/etc/accounts"}, "caller": "uid 0 (root)",
            "started_at": started_at, "ended_at": ended_at, "answer": "ok", "detail": "", "end": "end of file",
            "body": "exchanges/00000001-read-file.txt", "bytes": body.len(), "sha256": Digest::of(body.as_bytes()),
        });
        for (name, bytes) in [
            ("run.json", serde_json::to_vec(&facts).unwrap()),
            ("exchanges.jsonl", format!("{exchange}\n").into_bytes()),
            ("exchanges/00000001-read-file.txt", body.into_bytes()),
            ("records/accounts.jsonl", records.into_bytes()),
            ("results.json", results.to_vec()),
            ("checks.json", b"checks".to_vec()),
            ("log.txt", Vec::new()),
        ] {
            let path = work.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        if let Some(change) = &self.before_bundling {
            change(work.path());
        }
        let mut zip = io::Cursor::new(Vec::new());
        let sums = bundle::write(work.path(), &mut zip).unwrap().sums;
        let digest = Digest::of(zip.get_ref());
        let name = match slot {
            Some(slot) => layout::bundle_of_slot(slot, job, digest),
            None => layout::bundle_by_hand(started_at, job, digest),
        };
        self.put(&name, zip.get_ref());
        let mut receipt = Receipt {
            job: job.clone(),
            slot,
            started_at,
            ended_at,
            attempts: 1,
            late: false,
            outcome: Outcome::Collected,
            reason: String::new(),
            records: 1,
            totals: Counts::default(),
            results: Digest::of(results),
            checks: None,
            window: None,
        };
        change(&mut receipt);
        Statement {
            subject: vec![
                Subject { name, digest: DigestSet { sha256: digest } },
                Subject { name: SUMS.into(), digest: DigestSet { sha256: sums } },
            ],
            entry: Entry { sealed_at: ended_at, ..self.entry() },
            body: Body::Receipt(receipt),
        }
    }

    pub fn run(&mut self, job: &Job, slot: Option<Utc>) -> Statement {
        let statement = self.receipt(job, slot, |_| {});
        self.seal(&statement);
        statement
    }

    pub fn missed(&mut self, job: &Job, slot: Utc) {
        let plan = self.plan.unwrap();
        self.seal(&Statement {
            subject: vec![Subject { name: layout::document("plan", plan), digest: DigestSet { sha256: plan } }],
            entry: self.entry(),
            body: Body::Missed(Missed {
                job: job.clone(),
                first: slot,
                last: slot,
                count: 1,
                cause: Cause::Down,
                detail: "nothing ran".into(),
            }),
        });
    }

    /// Appends what waits and publishes the checkpoint; partial tiles that are full now go.
    pub fn append(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut made = Vec::new();
        self.edge.append(&waiting, &mut |name, bytes| made.push((name, bytes))).unwrap();
        for (name, bytes) in made {
            self.put(&name, &bytes);
            if !name.contains(".p/") {
                let _ = fs::remove_dir_all(self.dir.join(format!("{name}.p")));
            }
        }
        self.checkpoint();
    }

    pub fn checkpoint(&mut self) {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: self.edge.size(), root: self.edge.root() };
        self.put("checkpoint", &checkpoint.sign(&checkpoints_key()).unwrap());
        self.known = Some(checkpoint.known());
    }
}

/// A token over a message, of this time, with an accuracy of one second.
pub fn token(tsa: &Tsa, message: &[u8], time: Utc) -> Vec<u8> {
    let said = Make::new(tsa).info(|info| {
        info.imprint = Hash::Sha256.of(message);
        info.time = time.format("%Y%m%d%H%M%SZ").to_string();
    });
    said.build()
}

pub fn key_entry(key: &FileKey, use_: Use) -> KeyEntry {
    KeyEntry {
        key_id: key.public().fingerprint(),
        spki: *key.public(),
        use_,
        name: None,
        valid: Validity { from: at("2026-11-01T00:00:00Z"), until: None },
        compromised_since: None,
        superseded_by: None,
        lost: false,
    }
}

pub fn key_set(revision: u64) -> KeySet {
    KeySet {
        format: keys::FORMAT.into(),
        origin: ORIGIN.into(),
        revision,
        root: *root_key().public(),
        keys: vec![key_entry(&receipts_key(), Use::Receipts), key_entry(&checkpoints_key(), Use::Checkpoints)],
        made_at: at("2026-11-01T00:00:00Z"),
        consents: BTreeSet::new(),
    }
}

/// The named jobs by the hour; `host/accounts` and `host/sshd` without a schedule where they are not named.
fn planned_jobs(names: &[&str]) -> Vec<PlannedJob> {
    let all = ["host/accounts", "host/sshd"].into_iter().map(|name| (name, names.contains(&name)));
    all.map(|(name, scheduled)| planned(name, scheduled)).collect()
}

fn planned(name: &str, scheduled: bool) -> PlannedJob {
    PlannedJob {
        job: job(name),
        version: 1,
        checks: Digest::of(b"checks"),
        schedule: scheduled.then(|| Schedule {
            text: "0 * * * *".into(),
            zone: "UTC".into(),
            minutes: BTreeSet::from([0]),
            hours: (0..24).collect(),
            days: (1..=31).collect(),
            months: (1..=12).collect(),
            weekdays: (0..=6).collect(),
            either_day: false,
            elapsed: true,
        }),
        start_within_seconds: 600,
        deadline_seconds: 600,
        grace_seconds: 60,
        spread_seconds: 0,
        watermark: None,
    }
}

/// 265 entries: keys, plan, 130 hours of two jobs (one slot missed), a run by hand, a restated plan, and one append after it.
pub fn write(dir: &Path) -> Writer {
    write_watched(dir, &mut |_| {})
}

/// The same; `each` is called after every append.
pub fn write_watched(dir: &Path, each: &mut dyn FnMut(&mut Writer)) -> Writer {
    let mut writer = Writer::new(dir);
    writer.keys(&key_set(1));
    writer.now += TimeDelta::seconds(1);
    writer.plan(&["host/accounts", "host/sshd"], "started");
    writer.append();
    each(&mut writer);
    let (accounts, sshd) = (job("host/accounts"), job("host/sshd"));
    for hour in 1..=130 {
        let slot = at("2026-11-01T00:00:00Z") + TimeDelta::hours(hour);
        writer.now = slot + TimeDelta::seconds(1);
        writer.run(&accounts, Some(slot));
        if hour == 7 {
            writer.now = slot + TimeDelta::minutes(20);
            writer.missed(&sshd, slot);
        } else {
            writer.run(&sshd, Some(slot));
        }
        if hour == 100 {
            writer.now += TimeDelta::seconds(30);
            writer.run(&accounts, None);
            writer.now += TimeDelta::seconds(30);
            writer.plan(&["host/accounts", "host/sshd"], "restated");
        }
        if hour % 10 == 0 {
            writer.append();
            each(&mut writer);
        }
    }
    writer.now += TimeDelta::minutes(2);
    writer.run(&sshd, None);
    writer.append();
    each(&mut writer);
    writer
}

/// An origin's objects in memory; some of them may be made unreadable.
#[derive(Clone, Default)]
pub struct Memory {
    pub objects: BTreeMap<String, Vec<u8>>,
    pub refused: BTreeSet<String>,
}

impl Reader for Memory {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send + '_>>> {
        if self.refused.contains(name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.objects.get(name).map(|bytes| Box::new(bytes.as_slice()) as _))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        if self.refused.contains(prefix) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.objects.keys().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        Ok(())
    }
}

impl Memory {
    pub fn read(dir: &Path) -> Self {
        let mut objects = BTreeMap::new();
        Dir::new(dir)
            .list("", &mut |name| {
                objects.insert(name.to_owned(), fs::read(dir.join(name)).unwrap());
            })
            .unwrap();
        Self { objects, refused: BTreeSet::new() }
    }

    /// The names that begin so, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub fn judge(&self) -> Verdict {
        self.judge_with(&Options::trusting(trust())).unwrap()
    }

    pub fn judge_with(&self, options: &Options<'_>) -> Result<Verdict, CannotVerify> {
        verify(self, options, &|_| {})
    }
}

static SOUND: LazyLock<Memory> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    Memory::read(dir.path())
});

/// A copy of the sound archive, to be changed.
pub fn sound() -> Memory {
    SOUND.clone()
}

/// An archive that `change` makes of a small one: keys, a plan without schedules, two runs by hand; then one append.
pub fn small(change: impl FnOnce(&mut Writer)) -> Memory {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.keys(&key_set(1));
    writer.plan(&[], "collect by hand");
    writer.append();
    for _ in 0..2 {
        writer.now += TimeDelta::minutes(5);
        writer.run(&job("host/accounts"), None);
    }
    change(&mut writer);
    writer.append();
    Memory::read(dir.path())
}

/// The codes of all findings with the objects that they name, once each.
pub fn found(verdict: &Verdict) -> BTreeSet<(String, String)> {
    verdict.findings.iter().map(|f| (f.code.to_string(), f.object.clone())).collect()
}

/// Derives the test archive's records: the length of the body.
pub struct Lengths;

impl Rederive for Lengths {
    fn rederive(&self, bundle: &mut Bundle<SpooledTempFile>, facts: &RunFacts, _: &Receipt) -> Result<Derived, String> {
        if facts.collector.version > 1 {
            return Ok(Derived::Unknown(format!("{} version {}", facts.collector.id, facts.collector.version)));
        }
        let body = bundle.file("exchanges/00000001-read-file.txt").map_err(|e| e.to_string())?;
        let records = bundle.file("records/accounts.jsonl").map_err(|e| e.to_string())?;
        let wanted = format!("{{\"id\":\"alice\",\"as_of\":null,\"exchange\":1,\"raw\":{}}}\n", body.len());
        if records == wanted.as_bytes() {
            return Ok(Derived::Same);
        }
        Ok(Derived::Other(vec![("records/accounts.jsonl".into(), "line 1 differs".into())]))
    }
}
