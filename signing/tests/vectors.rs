//! The vectors of `docs/vectors`: made again from fixed keys and files, and compared byte for byte.
//!
//! `UPDATE_VECTORS=1 cargo test -p signing --test vectors` writes them. The bundle's bytes also depend on the DEFLATE encoder: a new version of
//! it may change them, which is no change of the format.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Cursor, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use signing::{
    bundle::{self, Bundle, ChecksDocument, RunFacts},
    digest::Digest,
    keys::{self, FileKey, KeyEntry, KeySet, PublicKey, Signer, Use, Validity},
    layout,
    log::{self, Checkpoint, Edge, RootHasher},
    plan::{self, Offset, Plan, PlannedJob, Schedule},
    seal::{self, Seal},
    statement::{
        self, Body, Cause, Counts, DigestSet, Document, Entry, Known, Missed, Outcome, Receipt, Statement, Subject,
    },
    store::{Dir, Reader},
    time::Utc,
    verify::{Options, verify},
};

const ORIGIN: &str = "example.org/evidence";

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

/// Compares the file below `docs/vectors` with what was made, or writes it.
fn same(name: &str, bytes: &[u8]) {
    let path = vectors().join(name);
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        return;
    }
    let found = fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(found == bytes, "{name} is\n{}\nand was made as\n{}", show(&found), show(bytes));
}

fn show(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| hex::encode(bytes), str::to_owned)
}

fn at(text: &str) -> Utc {
    text.parse().unwrap()
}

fn root() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

fn receipts() -> FileKey {
    FileKey::from_seed(&[2; 32])
}

fn checkpoints() -> FileKey {
    FileKey::from_seed(&[3; 32])
}

fn key_set() -> KeySet {
    let entry = |key: FileKey, use_| KeyEntry {
        key_id: key.public().fingerprint(),
        spki: *key.public(),
        use_,
        name: None,
        valid: Validity { from: at("2026-11-22T03:00:00Z"), until: None },
        compromised_since: None,
        superseded_by: None,
        lost: false,
    };
    KeySet {
        format: keys::FORMAT.into(),
        origin: ORIGIN.into(),
        revision: 1,
        root: *root().public(),
        keys: vec![entry(receipts(), Use::Receipts), entry(checkpoints(), Use::Checkpoints)],
        made_at: at("2026-11-22T03:00:00Z"),
        consents: BTreeSet::new(),
    }
}

fn hourly() -> Schedule {
    Schedule {
        text: "@hourly".into(),
        zone: "UTC".into(),
        minutes: BTreeSet::from([0]),
        hours: (0..24).collect(),
        days: (1..32).collect(),
        months: (1..13).collect(),
        weekdays: (0..7).collect(),
        either_day: false,
        elapsed: true,
    }
}

/// Those that the results in `docs/vectors/bundle` come from.
fn checks() -> ChecksDocument {
    let text = r#"- id: accounts-uid-0-only-root
  item: unique_user_ids
  population: accounts
  pass: .uid != 0 or .id == "root"
  says: "{id} has uid 0"
- id: accounts-no-empty-password
  item: linux_host_access
  population: accounts
  exempt: .login_shell | not
  pass: if .password == null then null else .password != "empty" end
  says: "{id} has no password"
"#;
    ChecksDocument::new(text, json!({}))
}

fn first_plan() -> Plan {
    Plan {
        format: plan::FORMAT.into(),
        origin: ORIGIN.into(),
        agent: "0.1.0".into(),
        sealed_at: at("2026-11-22T03:30:00Z"),
        previous: None,
        reason: "started".into(),
        settle_seconds: 300,
        retention_days: None,
        zones: BTreeMap::from([("UTC".to_owned(), vec![Offset { from: None, seconds: 0 }])]),
        jobs: vec![PlannedJob {
            job: "example/accounts@this".parse().unwrap(),
            version: 1,
            checks: Digest::of(&checks().to_bytes()),
            schedule: Some(hourly()),
            start_within_seconds: 600,
            deadline_seconds: 300,
            grace_seconds: 60,
            spread_seconds: 0,
            watermark: None,
        }],
        not_run: vec![],
    }
}

/// The origin's objects, by name.
#[derive(Default)]
struct Archive {
    objects: BTreeMap<String, Vec<u8>>,
    edge: Option<Edge>,
    pending: Vec<Vec<u8>>,
    known: Option<Known>,
}

impl Archive {
    fn seal(&mut self, sealed_at: &str, plan: Option<Digest>, subject: Vec<(String, Digest)>, body: Body) {
        let key = receipts();
        let key_id = key.public().fingerprint();
        let statement = Statement {
            subject: subject.into_iter().map(|(name, sha256)| Subject { name, digest: DigestSet { sha256 } }).collect(),
            entry: Entry {
                origin: ORIGIN.into(),
                key_id: key_id.clone(),
                plan,
                sealed_at: at(sealed_at),
                checkpoint: self.known,
                anchor: None,
                instance: "00112233445566778899aabbccddeeff".into(),
            },
            body,
        };
        let payload = statement.to_bytes().unwrap();
        let signature = key.sign(&seal::pae(statement::PAYLOAD_TYPE, &payload)).unwrap();
        let name = layout::seal(at(sealed_at), Statement::leaf_digest(&payload));
        self.objects.insert(name, seal::seal(&payload, &key_id, &signature));
        self.pending.push(payload);
    }

    fn document(&mut self, kind: &str, sealed_at: &str, reason: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let name = layout::document(kind, digest);
        self.objects.insert(name.clone(), bytes);
        let body = Body::Document(Document { kind: kind.into(), reason: reason.into() });
        self.seal(sealed_at, None, vec![(name, digest)], body);
        digest
    }

    fn append(&mut self) {
        let mut edge = self.edge.take().unwrap_or_else(Edge::empty);
        let leaves = std::mem::take(&mut self.pending);
        edge.append(&leaves, &mut |name, bytes| {
            self.objects.insert(name, bytes);
        })
        .unwrap();
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: edge.size(), root: edge.root() };
        self.objects.insert(layout::CHECKPOINT.into(), checkpoint.sign(&checkpoints()).unwrap());
        self.known = Some(checkpoint.known());
        self.edge = Some(edge);
    }
}

fn archive() -> Archive {
    let mut archive = Archive::default();
    archive.document("keys", "2026-11-22T03:30:00Z", "keys made", key_set().sign(&root()).unwrap());
    let plan = serde_json::to_vec(&first_plan()).unwrap();
    let plan = archive.document("plan", "2026-11-22T03:30:00Z", "started", plan);
    archive.append();

    let directory = vectors().join("bundle");
    let mut zip = Cursor::new(Vec::new());
    let written = bundle::write(&directory, &mut zip).unwrap();
    let digest = Digest::of(zip.get_ref());
    let facts: RunFacts = serde_json::from_slice(&fs::read(directory.join("run.json")).unwrap()).unwrap();
    let name = layout::bundle_of_slot(facts.slot.unwrap(), &facts.job, digest);
    archive.objects.insert(name.clone(), zip.into_inner());
    let results = fs::read(directory.join("results.json")).unwrap();
    let checks = BTreeMap::from([
        ("accounts-uid-0-only-root".to_owned(), Counts { pass: 2, ..Counts::default() }),
        ("accounts-no-empty-password".to_owned(), Counts { unknown: 1, exempt: 1, ..Counts::default() }),
    ]);
    let mut totals = Counts::default();
    checks.values().for_each(|c| totals += *c);
    let receipt = Receipt {
        job: facts.job.clone(),
        slot: facts.slot,
        started_at: facts.started_at,
        ended_at: facts.ended_at,
        attempts: facts.attempts.len() as u32,
        late: facts.late,
        outcome: facts.outcome,
        reason: facts.reason.clone(),
        records: facts.records.values().sum(),
        totals,
        results: Digest::of(&results),
        checks: Some(checks),
        window: None,
    };
    let subject = vec![(name, digest), (bundle::SUMS.to_owned(), written.sums)];
    archive.seal("2026-11-22T04:00:02.250Z", Some(plan), subject, Body::Receipt(receipt));
    let missed = Missed {
        job: facts.job,
        first: at("2026-11-22T05:00:00Z"),
        last: at("2026-11-22T06:00:00Z"),
        count: 2,
        cause: Cause::Down,
        detail: "no agent was running".into(),
    };
    let subject = vec![(layout::document("plan", plan), plan)];
    archive.seal("2026-11-22T06:30:00Z", Some(plan), subject, Body::Missed(missed));
    archive.append();
    archive
}

#[test]
fn the_archive_is_made_again_to_the_byte() {
    let archive = archive();
    for (name, bytes) in &archive.objects {
        same(&format!("archive/{name}"), bytes);
    }
    let mut names = BTreeSet::new();
    Dir::new(vectors().join("archive"))
        .list("", &mut |name| {
            names.insert(name.to_owned());
        })
        .unwrap();
    let made: BTreeSet<_> = archive.objects.into_keys().collect();
    assert_eq!(names, made, "docs/vectors/archive holds other objects");
}

#[test]
fn the_archive_on_disk_is_what_it_says() {
    let dir = Dir::new(vectors().join("archive"));
    let read = |name: &str| dir.read(name, 1 << 20).unwrap().unwrap_or_else(|| panic!("{name} is not there"));
    let mut names = Vec::new();
    dir.list("document/keys", &mut |name| names.push(name.to_owned())).unwrap();
    let set = KeySet::open(&read(&names[0]), &root().public().fingerprint()).unwrap();
    let may_sign: Vec<_> = set.keys.iter().filter(|k| k.use_ == Use::Checkpoints).map(|k| k.spki).collect();
    let (checkpoint, _) = Checkpoint::open(&read(layout::CHECKPOINT), ORIGIN, &may_sign).unwrap();
    Edge::read(&dir, checkpoint.size, checkpoint.root).unwrap();
    let mut hasher = RootHasher::new();
    let mut kinds = Vec::new();
    log::entries(&dir, 0, checkpoint.size, &mut |index, leaf| {
        hasher.push(leaf);
        let statement = Statement::from_bytes(leaf).unwrap();
        assert_eq!(statement.to_bytes().unwrap(), leaf);
        let entry = &statement.entry;
        let seal = Seal::from_bytes(&read(&layout::seal(entry.sealed_at, Statement::leaf_digest(leaf)))).unwrap();
        assert_eq!(seal.payload, leaf);
        seal.verify(&set.key(&entry.key_id, Use::Receipts, entry.sealed_at).unwrap()).unwrap();
        let subject = &statement.subject[0];
        assert_eq!(Digest::of(&read(&subject.name)), subject.digest.sha256);
        let proof = log::inclusion(&dir, index, &checkpoint).unwrap();
        log::check_inclusion(&proof, index, log::leaf_hash(leaf), &checkpoint).unwrap();
        if let Some(known) = entry.checkpoint {
            let old = Checkpoint { origin: ORIGIN.into(), size: known.size, root: known.root };
            log::consistency(&dir, &old, &checkpoint).unwrap();
        }
        if matches!(statement.body, Body::Receipt(_)) {
            let bytes = read(&subject.name);
            let mut bundle = Bundle::open(Cursor::new(&bytes), bundle::MAX_UNPACKED).unwrap();
            assert_eq!(bundle.check_sums().unwrap(), statement.subject[1].digest.sha256);
        }
        kinds.push(statement.body.predicate_type());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(hasher.root(), checkpoint.root);
    assert_eq!(kinds, [statement::DOCUMENT_V1, statement::DOCUMENT_V1, statement::RECEIPT_V1, statement::MISSED_V1]);
}

#[test]
fn the_verifier_finds_the_archive_intact() {
    let dir = Dir::new(vectors().join("archive"));
    let mut options = Options::trusting(root().public().fingerprint());
    options.as_of = Some(at("2026-11-22T06:30:00Z"));
    let verdict = verify(&dir, &options, &|_| {}).unwrap();
    assert!(verdict.intact, "{:?}", verdict.findings);
    assert_eq!(verdict.checkpoint.size, 4);
    options.trust = receipts().public().fingerprint();
    assert!(verify(&dir, &options, &|_| {}).is_err(), "another root was accepted");
}

#[test]
fn the_bundle_of_the_vectors_opens_to_the_files_beside_it() {
    let archive = archive();
    let (_, zip) = archive.objects.iter().find(|(name, _)| name.starts_with("bundle/")).unwrap();
    let mut bundle = Bundle::open(Cursor::new(zip), bundle::MAX_UNPACKED).unwrap();
    let names: Vec<_> = bundle.names().skip(1).map(str::to_owned).collect();
    for name in names {
        let mut bytes = Vec::new();
        bundle.stream(&name).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, fs::read(vectors().join("bundle").join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn run_facts_are_written_as_the_vector_has_them() {
    let facts = RunFacts {
        format: bundle::RUN_FACTS_FORMAT.into(),
        job: "example/accounts@this".parse().unwrap(),
        slot: Some(at("2026-11-22T04:00:00Z")),
        source: bundle::SourceFacts {
            name: "this".into(),
            kind: "host".into(),
            identity: json!({"host_name": "web-1", "machine_id": "7f3c"}),
        },
        collector: bundle::CollectorFacts { id: "example/accounts".into(), version: 1 },
        agent: bundle::Agent { version: "0.1.0".into() },
        plan: Digest::of(&serde_json::to_vec(&first_plan()).unwrap()),
        started_at: at("2026-11-22T04:00:01.1Z"),
        ended_at: at("2026-11-22T04:00:02Z"),
        attempts: vec![bundle::Attempt {
            started_at: at("2026-11-22T04:00:01.1Z"),
            ended_at: at("2026-11-22T04:00:02Z"),
            error: None,
        }],
        outcome: Outcome::Partial,
        reason: "/etc/shadow: permission denied; run as root to know".into(),
        late: false,
        populations: BTreeMap::from([("accounts".to_owned(), bundle::Population::Whole)]),
        gaps: vec!["/etc/shadow: permission denied; run as root to know".into()],
        records: BTreeMap::from([("accounts".to_owned(), 2)]),
        window: None,
        inputs: vec![],
    };
    same("bundle/run.json", &serde_json::to_vec(&facts).unwrap());
}

#[test]
fn checks_are_written_as_the_vector_has_them() {
    let bytes = checks().to_bytes();
    same("bundle/checks.json", &bytes);
    assert_eq!(ChecksDocument::from_bytes(&bytes).unwrap(), checks());
    let other = std::str::from_utf8(&bytes).unwrap().replace("evidenced-checks/1", "evidenced-checks/2");
    assert!(ChecksDocument::from_bytes(other.as_bytes()).unwrap_err().to_string().contains("evidenced-checks/2"));
}

fn key(seed: u8) -> Value {
    let key = FileKey::from_seed(&[seed; 32]);
    let public: &PublicKey = key.public();
    json!({
        "seed": hex::encode([seed; 32]),
        "public": hex::encode(public.to_bytes()),
        "spki": STANDARD.encode(public.to_spki_der()),
        "fingerprint": public.fingerprint(),
    })
}

fn pae(payload_type: &str, body: &str) -> Value {
    json!({"type": payload_type, "body": body, "pae": hex::encode(seal::pae(payload_type, body.as_bytes()))})
}

fn digests(digests: Vec<Digest>) -> Vec<String> {
    digests.iter().map(Digest::to_string).collect()
}

fn trees() -> Value {
    let leaf = |i: u64| format!("leaf {i}").into_bytes();
    let tree = |size: u64| {
        let (mut edge, mut objects) = (Edge::empty(), BTreeMap::new());
        let leaves: Vec<_> = (0..size).map(leaf).collect();
        edge.append(&leaves, &mut |name, bytes| drop(objects.insert(name, bytes))).unwrap();
        (edge, objects)
    };
    let roots: Vec<_> =
        [0, 1, 2, 3, 7, 8, 255, 256, 257, 1000].map(|size| json!({"size": size, "root": tree(size).0.root()})).into();
    let objects: BTreeMap<_, _> = tree(257).1.iter().map(|(name, bytes)| (name.clone(), Digest::of(bytes))).collect();
    let names: Vec<_> = [(0, 0, 1), (0, 0, 256), (1, 999, 256), (0, 1000, 7), (3, 1_234_067, 256)]
        .map(|(l, n, w)| json!({"level": l, "index": n, "width": w, "name": log::tile_name(l, n, w)}))
        .into();
    let dir = tempfile::tempdir().unwrap();
    let (edge, files) = tree(257);
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let new = Checkpoint { origin: ORIGIN.into(), size: 257, root: edge.root() };
    let old = Checkpoint { origin: ORIGIN.into(), size: 7, root: tree(7).0.root() };
    let reader = Dir::new(dir.path());
    let small: Vec<Vec<u8>> = vec![vec![], vec![b'a'], vec![0xff; 2]];
    let mut bundle = Vec::new();
    Edge::empty()
        .append(&small, &mut |name, bytes| {
            if name.contains("entries") {
                bundle = bytes
            }
        })
        .unwrap();
    json!({
        "leaves": "leaf <i> in ASCII, i from 0",
        "leaf_hashes": [
            {"leaf": "", "hash": log::leaf_hash(b"")},
            {"leaf": hex::encode("leaf 0"), "hash": log::leaf_hash(b"leaf 0")},
        ],
        "roots": roots,
        "objects_of_257": objects,
        "tile_names": names,
        "entry_bundle": {"leaves": small.iter().map(hex::encode).collect::<Vec<_>>(), "bytes": hex::encode(bundle)},
        "inclusion": {"size": 257, "index": 5, "proof": digests(log::inclusion(&reader, 5, &new).unwrap())},
        "consistency": {"old": 7, "new": 257, "proof": digests(log::consistency(&reader, &old, &new).unwrap())},
    })
}

/// Each with what it shows, a schedule, its zone's offsets, and the slots of a stretch of time.
fn slots() -> Vec<Value> {
    let berlin = vec![
        Offset { from: None, seconds: 3600 },
        Offset { from: Some(at("2026-03-29T01:00:00Z")), seconds: 7200 },
        Offset { from: Some(at("2026-10-25T01:00:00Z")), seconds: 3600 },
    ];
    let local = |text: &str, minute: u8, hour: u8| Schedule {
        text: text.into(),
        zone: "Europe/Berlin".into(),
        minutes: BTreeSet::from([minute]),
        hours: BTreeSet::from([hour]),
        elapsed: false,
        ..hourly()
    };
    let cases = [
        (
            "a local time that is skipped runs at the first instant after the gap",
            local("30 2 * * *", 30, 2),
            "2026-03-28T00:00:00Z",
            "2026-03-31T00:00:00Z",
        ),
        (
            "a local time that repeats runs the first time only",
            local("30 2 * * *", 30, 2),
            "2026-10-24T00:00:00Z",
            "2026-10-27T00:00:00Z",
        ),
        (
            "with hours * the schedule follows elapsed time",
            Schedule {
                text: "30 * * * *".into(),
                minutes: BTreeSet::from([30]),
                zone: "Europe/Berlin".into(),
                ..hourly()
            },
            "2026-10-24T23:00:00Z",
            "2026-10-25T03:00:00Z",
        ),
        (
            "where both day fields are restricted, either is enough",
            Schedule {
                days: BTreeSet::from([14]),
                weekdays: BTreeSet::from([5]),
                either_day: true,
                ..local("0 6 14 * FRI", 0, 6)
            },
            "2026-11-01T00:00:00Z",
            "2026-11-22T00:00:00Z",
        ),
    ];
    cases
        .map(|(shows, schedule, from, to)| {
            let slots: Vec<_> = schedule.slots(&berlin, at(from), at(to)).collect();
            json!({"shows": shows, "schedule": schedule, "offsets": berlin, "from": from, "to": to, "slots": slots})
        })
        .into()
}

#[test]
fn the_values_are_made_again() {
    let archive = archive();
    let (bundle, zip) = archive.objects.iter().find(|(name, _)| name.starts_with("bundle/")).unwrap();
    let checkpoint = Checkpoint::parse_unverified(&archive.objects[layout::CHECKPOINT]).unwrap();
    let values = json!({
        "format": "evidenced-vectors/1",
        "origin": ORIGIN,
        "keys": {"root": key(1), "receipts": key(2), "checkpoints": key(3)},
        "verifier_key": log::vkey(ORIGIN, checkpoints().public()),
        "pae": [
            pae("http://example.com/HelloWorld", "hello world"),
            pae(statement::PAYLOAD_TYPE, "{}"),
            pae(keys::PAYLOAD_TYPE, "ä"),
        ],
        "bundle": {"directory": "bundle", "name": bundle, "sha256": Digest::of(zip)},
        "archive": {"directory": "archive", "size": checkpoint.size, "root": checkpoint.root},
        "tree": trees(),
        "slots": slots(),
    });
    same("vectors.json", format!("{values:#}\n").as_bytes());
}
