//! What every parser of the format promises of whatever bytes it is given: it never panics, what it accepts comes back the same, and
//! where the format has one spelling, no other is accepted. The property tests beside this file and the fuzz targets in `fuzz/` run
//! the same functions.

// A promise that is not kept panics, with what was found.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Cursor, Read},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use signing::{
    append::Decision,
    approval::{Approval, Choice, Kind, Records, Response, Signed, Waiver},
    bundle::{Bundle, ChecksDocument, RunFacts},
    digest::Digest,
    keys::{self, FileKey, KeySet, PublicKey, Signer},
    layout::{self, Job},
    log::{
        self, Checkpoint, OfflineProof, TILE_WIDTH,
        cosignature::{self, Cosignature, WitnessKey},
        witness::{Log, Submission},
    },
    plan::Plan,
    seal::{Seal, pae},
    slots::Coverage,
    statement::Statement,
    store::{Dir, Reader},
    time::{Utc, millis},
    timestamp::{Roots, Verifier, peek},
    verify::{Derived, Options, Rederive, verify},
};

/// One parser: its name, what it promises, and bytes to begin from.
pub struct Target {
    /// `seal`.
    pub name: &'static str,
    /// Panics where a promise is not kept.
    pub check: fn(&[u8]),
    /// From the vectors of the format.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every parser.
pub const TARGETS: &[Target] = &[
    Target { name: "append", check: append, seeds: append_seeds },
    Target { name: "approval", check: approval, seeds: approval_seeds },
    Target { name: "archive", check: archive, seeds: archive_seeds },
    Target { name: "bundle", check: bundle, seeds: || objects("bundle/") },
    Target { name: "checkpoint", check: checkpoint, seeds: || objects("checkpoint") },
    Target { name: "checks", check: checks, seeds: || vec![vector("bundle/checks.json")] },
    Target { name: "cosignature", check: cosignature, seeds: cosignature_seeds },
    Target { name: "entries", check: entries, seeds: entries_seeds },
    Target { name: "key", check: key, seeds: key_seeds },
    Target { name: "keys", check: keys_payload, seeds: keys_seeds },
    Target { name: "names", check: names, seeds: || VECTORS.keys().map(|name| name.clone().into_bytes()).collect() },
    Target { name: "plan", check: plan, seeds: || objects("document/plan/") },
    Target { name: "roots", check: roots, seeds: || vec![vector("token/root.pem")] },
    Target { name: "proof", check: proof, seeds: proof_seeds },
    Target { name: "run", check: run, seeds: || vec![vector("bundle/run.json")] },
    Target { name: "seal", check: seal, seeds: || objects("seal/") },
    Target { name: "statement", check: statement, seeds: || leaves().collect() },
    Target { name: "stray", check: stray, seeds: stray_seeds },
    Target { name: "tile", check: tile, seeds: tile_seeds },
    Target { name: "token", check: token, seeds: || vec![vector("token/response.tsr")] },
    Target { name: "witness", check: submission, seeds: submission_seeds },
];

/// The most bytes that a bundle's files may have together here.
const MOST_UNPACKED: u64 = 1 << 20;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

fn vector(name: &str) -> Vec<u8> {
    fs::read(vectors().join(name)).unwrap()
}

/// The archive of the vectors.
static VECTORS: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let dir = Dir::new(vectors().join("archive"));
    let mut objects = BTreeMap::new();
    dir.list("", &mut |name| {
        objects.insert(name.to_owned(), dir.read(name, u64::MAX - 1).unwrap().unwrap());
    })
    .unwrap();
    objects
});

/// The objects whose names begin so.
fn objects(prefix: &str) -> Vec<Vec<u8>> {
    VECTORS.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, bytes)| bytes.clone()).collect()
}

fn leaves() -> impl Iterator<Item = Vec<u8>> {
    objects("seal/").into_iter().map(|bytes| Seal::from_bytes(&bytes).unwrap().payload)
}

/// The root key of the vectors, whose seed is public.
fn root() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

fn statement(bytes: &[u8]) {
    if let Ok(statement) = Statement::from_bytes(bytes) {
        // What was spelled shorter than this crate spells it may be too long when it is written again.
        if let Ok(again) = statement.to_bytes() {
            assert_eq!(Statement::from_bytes(&again).unwrap(), statement);
        }
    }
}

fn seal(bytes: &[u8]) {
    if let Ok(seal) = Seal::from_bytes(bytes) {
        let again = Seal::from_bytes(&seal.to_bytes()).unwrap();
        assert_eq!(again.to_bytes(), seal.to_bytes());
        assert_eq!((again.payload, again.key_id, again.signature), (seal.payload, seal.key_id, seal.signature));
        assert_eq!(again.timestamps, seal.timestamps);
    }
}

fn approval_seeds() -> Vec<Vec<u8>> {
    let (origin, approver) = ("example.org/log".to_owned(), "Ada Lovelace".to_owned());
    let made_at: Utc = "2026-11-22T04:00:00Z".parse().unwrap();
    let waiver = Waiver {
        format: Kind::Waiver.format().into(),
        origin: origin.clone(),
        approver: approver.clone(),
        made_at,
        control: Some("AC-01".into()),
        check: Some("aws/iam-users/mfa-enrolled".into()),
        job: Some("aws/iam-users@prod".parse().unwrap()),
        records: Records::These(vec!["alice".into()]),
        reason: "a key is on its way".into(),
        until: made_at + TimeDelta::days(90),
        compensating: None,
    };
    let response = Response {
        format: Kind::Response.format().into(),
        origin: origin.clone(),
        approver: approver.clone(),
        made_at,
        deviation: Some("D-0123456789ab".into()),
        control: None,
        text: "a contractor".into(),
        remediation: Some("disabled".into()),
        remediation_by: Some(made_at.date_naive()),
    };
    let decision = signing::approval::Decision {
        format: Kind::Decision.format().into(),
        origin,
        approver,
        made_at,
        citation: "164.312(a)(2)(iv)".into(),
        decision: Choice::Alternative,
        reason: "the volume is encrypted".into(),
        alternative: Some("encryption of volumes".into()),
    };
    let all = [Approval::Waiver(waiver), Approval::Response(response), Approval::Decision(decision)];
    all.into_iter().map(|approval| Signed::new(approval, &root()).unwrap().payload().to_vec()).collect()
}

/// The payload of what a person signs under a good signature, for each kind; and as a document.
fn approval(bytes: &[u8]) {
    let _ = Signed::from_bytes(bytes);
    let root = root();
    for kind in Kind::ALL {
        let sig = STANDARD.encode(root.sign(&pae(kind.payload_type(), bytes)).unwrap());
        let document = format!(
            r#"{{"payload":"{}","payloadType":"{}","signatures":[{{"sig":"{sig}","keyid":"{}"}}]}}"#,
            STANDARD.encode(bytes),
            kind.payload_type(),
            root.public().fingerprint()
        );
        if let Ok(signed) = Signed::from_bytes(document.as_bytes()) {
            assert_eq!((signed.approval.kind(), signed.to_bytes()), (kind, document.into_bytes()));
            let _ = (signed.approval.subject(), signed.approval.text());
            // What can be read can be signed, but for its length: it may have been spelled shorter.
            if let Ok(again) = Signed::new(signed.approval.clone(), &root) {
                assert_eq!(Signed::from_bytes(&again.to_bytes()).unwrap().approval, signed.approval);
            }
        }
    }
}

fn keys_seeds() -> Vec<Vec<u8>> {
    let payload = |bytes: Vec<u8>| {
        let envelope: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()
    };
    objects("document/keys/").into_iter().map(payload).collect()
}

/// The payload of a keys document under a good signature, so that the parser behind the signature is reached; and as a document.
fn keys_payload(bytes: &[u8]) {
    let _ = KeySet::open_untrusted(bytes);
    let root = root();
    let envelope = serde_json::json!({
        "payload": STANDARD.encode(bytes),
        "payloadType": keys::PAYLOAD_TYPE,
        "signatures": [{
            "sig": STANDARD.encode(root.sign(&pae(keys::PAYLOAD_TYPE, bytes)).unwrap()),
            "keyid": root.public().fingerprint(),
        }],
    });
    let document = serde_json::to_vec(&envelope).unwrap();
    if let Ok(set) = KeySet::open(&document, &root.public().fingerprint()) {
        let again = set.sign(&root).unwrap();
        assert_eq!(KeySet::open_untrusted(&again).unwrap(), set);
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let key = root();
    vec![
        key.public().to_spki_der(),
        key.public().to_bytes().to_vec(),
        key.to_pem().as_bytes().to_vec(),
        log::vkey("example.org/test", key.public()).into_bytes(),
        witness().vkey().into_bytes(),
    ]
}

/// Keys, public and private: one spelling of each public one.
fn key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.to_spki_der(), bytes);
    }
    if let Ok(array) = bytes.try_into()
        && let Ok(key) = PublicKey::from_bytes(array)
    {
        assert_eq!(key.to_bytes(), *array);
        assert!(!key.verify_strict(b"", &[0; 64]));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = FileKey::from_pem(text)
    {
        assert_eq!(FileKey::from_pem(&key.to_pem()).unwrap().public(), key.public());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(witness) = WitnessKey::from_vkey(text) {
        assert_eq!(witness.vkey(), text);
    }
    if let Ok(logs) = Log::from_vkeys(&[text]) {
        assert_eq!(log::vkey(&logs[0].origin, &logs[0].keys[0]), text);
    }
}

/// A note and the checkpoint in it: of its text there is one spelling.
fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::parse_unverified(bytes) {
        let key = root();
        let again = checkpoint.sign(&key).unwrap();
        let text = |note: &[u8]| note.windows(2).position(|pair| pair == b"\n\n").map(|at| note[..=at].to_vec());
        assert_eq!(text(&again), text(bytes));
        let (opened, by) = Checkpoint::open(&again, &checkpoint.origin, &[*key.public()]).unwrap();
        assert_eq!((opened, by), (checkpoint.clone(), key.public().fingerprint()));
        assert!(Checkpoint::open(bytes, &checkpoint.origin, &[*key.public()]).is_err(), "nobody signed it");
    }
}

fn witness() -> WitnessKey {
    WitnessKey::new("witness.example.org/w", *root().public()).unwrap()
}

fn cosignature_seeds() -> Vec<Vec<u8>> {
    let text = VECTORS["checkpoint"].split_inclusive(|b| *b == b'\n').take(3).collect::<Vec<_>>().concat();
    let line = |day| {
        let at = format!("2026-11-{day}T00:00:00Z").parse().unwrap();
        Cosignature::sign(&witness(), &root(), &text, at).unwrap().to_line().into_bytes()
    };
    vec![line(22), [line(23), line(22)].concat(), [VECTORS["checkpoint"].clone(), line(22)].concat()]
}

/// A witness's lines, alone and in a note: what is accepted is spelled as it is written, and of one witness there is one.
fn cosignature(bytes: &[u8]) {
    let text = Checkpoint::parse_unverified(&VECTORS["checkpoint"]).unwrap().text();
    if let Ok(found) = cosignature::verify(bytes, text.as_bytes(), &[witness()]) {
        assert_eq!(found.len(), 1);
        let line = found[0].to_line();
        assert!(bytes.windows(line.len()).any(|part| part == line.as_bytes()));
    }
    if let Ok((checkpoint, found)) = cosignature::verify_note(bytes, &[witness()]) {
        assert_eq!((checkpoint.text(), found.len()), (text, 1));
    }
}

fn submission_seeds() -> Vec<Vec<u8>> {
    let proof = vec![Digest::of(b"a"), Digest::of(b"b")];
    vec![Submission::new(2, proof, &VECTORS["checkpoint"]).unwrap().to_bytes()]
}

/// The body of a request to a witness, of which there is one spelling.
fn submission(bytes: &[u8]) {
    if let Ok(parsed) = Submission::parse(bytes) {
        assert_eq!(parsed.to_bytes(), bytes);
        let log = Log { origin: parsed.checkpoint().origin.clone(), keys: vec![*root().public()] };
        assert!(parsed.judge(Some(&log), None).is_err(), "no log of this key signed it");
    }
}

/// One object, whatever its name.
struct One<'a>(&'a [u8]);

impl Reader for One<'_> {
    fn open(&self, _: &str) -> std::io::Result<Option<Box<dyn Read + Send + '_>>> {
        Ok(Some(Box::new(self.0)))
    }
    fn list(&self, _: &str, _: &mut dyn FnMut(&str)) -> std::io::Result<()> {
        Ok(())
    }
}

/// The first byte as a width of 1 to 256, and the rest.
fn width(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first().map(|(width, rest)| (u64::from(*width) + 1, rest))
}

fn with_width(prefix: &str) -> Vec<Vec<u8>> {
    let named = VECTORS.iter().filter_map(|(name, bytes)| {
        let width: u8 = name.strip_prefix(prefix)?.rsplit_once('/')?.1.parse().ok()?;
        Some([&[width - 1], bytes.as_slice()].concat())
    });
    named.collect()
}

fn entries_seeds() -> Vec<Vec<u8>> {
    with_width("tile/entries/")
}

fn tile_seeds() -> Vec<Vec<u8>> {
    with_width("tile/0/")
}

/// An entry bundle: its leaves are its bytes.
fn entries(bytes: &[u8]) {
    let Some((width, bytes)) = width(bytes) else { return };
    if let Ok(leaves) = log::entry_bundle(&One(bytes), 0, width) {
        assert_eq!(leaves.len() as u64, width);
        let again: Vec<u8> =
            leaves.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes(), leaf.as_slice()].concat()).collect();
        assert_eq!(again, bytes);
    }
}

/// A tile: its hashes are its bytes.
fn tile(bytes: &[u8]) {
    let Some((width, bytes)) = width(bytes) else { return };
    if let Ok(hashes) = log::tile(&One(bytes), 0, 0, width) {
        assert_eq!(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(), bytes);
        assert!(hashes.len() as u64 == width && width <= TILE_WIDTH);
    }
}

fn append_seeds() -> Vec<Vec<u8>> {
    vec![Decision { instance: "00ff".into(), old_size: 2, leaves: leaves().collect() }.to_bytes()]
}

fn append(bytes: &[u8]) {
    for old_size in [0, 2] {
        if let Ok(decision) = Decision::from_bytes(bytes, old_size) {
            assert_eq!(decision.old_size, old_size);
            assert_eq!(Decision::from_bytes(&decision.to_bytes(), old_size).unwrap(), decision);
        }
    }
}

/// A bundle whose structure and sums hold: another ZIP reader sees the same files in the same order, and nothing is unpacked beyond the
/// limit.
fn bundle(bytes: &[u8]) {
    let Ok(mut bundle) = Bundle::open(Cursor::new(bytes), MOST_UNPACKED) else { return };
    let names: Vec<String> = bundle.names().map(str::to_owned).collect();
    let promised: u64 = names.iter().map(|name| bundle.length(name).unwrap()).sum();
    assert!(promised <= MOST_UNPACKED);
    let mut unpacked = 0;
    for name in &names {
        assert!(!name.starts_with('/') && name.split('/').all(|part| !part.is_empty() && part != ".."));
        let mut file = bundle.stream(name).unwrap();
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = file.read(&mut block) {
            unpacked += n as u64;
        }
    }
    assert!(unpacked <= MOST_UNPACKED);
    if bundle.check_sums().is_err() {
        return;
    }
    let mut other = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    assert_eq!(other.len(), names.len());
    for (at, name) in names.iter().enumerate() {
        let mut file = other.by_index(at).unwrap();
        assert_eq!(file.name().unwrap(), name.as_str());
        let mut theirs = Vec::new();
        file.read_to_end(&mut theirs).unwrap();
        assert_eq!(theirs, bundle.file(name).unwrap());
    }
}

fn proof_seeds() -> Vec<Vec<u8>> {
    let archive = Dir::new(vectors().join("archive"));
    let made = (0..4).map(|index| OfflineProof::make(&archive, index, &VECTORS["checkpoint"]).unwrap().to_bytes());
    made.collect()
}

/// An inclusion proof in a file (C2SP tlog-proof), of which there is one spelling; it never shows a leaf that the log does not have.
fn proof(bytes: &[u8]) {
    if let Ok((proof, checkpoint)) = OfflineProof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        assert!(proof.check(b"no leaf of this log", &checkpoint).is_err());
    }
}

fn checks(bytes: &[u8]) {
    if let Ok(document) = ChecksDocument::from_bytes(bytes) {
        assert_eq!(ChecksDocument::from_bytes(&document.to_bytes()).unwrap(), document);
    }
}

fn run(bytes: &[u8]) {
    if let Ok(facts) = serde_json::from_slice::<RunFacts>(bytes) {
        let again = serde_json::to_vec(&facts).unwrap();
        assert_eq!(serde_json::from_slice::<RunFacts>(&again).unwrap(), facts);
    }
}

/// A plan comes back the same, and its slots are instants in order, as many as are counted, however odd the plan.
fn plan(bytes: &[u8]) {
    let Ok(plan) = serde_json::from_slice::<Plan>(bytes) else { return };
    let again = serde_json::to_vec(&plan).unwrap();
    assert_eq!(serde_json::from_slice::<Plan>(&again).unwrap(), plan);
    let from = plan.sealed_at;
    let Some(to) = from.checked_add_signed(TimeDelta::days(400)) else { return };
    for (job, schedule) in plan.jobs.iter().filter_map(|job| Some((&job.job, job.schedule.as_ref()?))) {
        let zone = plan.zones.get(&schedule.zone).map(Vec::as_slice).unwrap_or_default();
        let slots: Vec<_> = schedule.slots(zone, from, to).take(300).collect();
        assert!(slots.is_sorted_by(|a, b| a < b) && slots.iter().all(|slot| (from..to).contains(slot)), "{job}");
        if let Some(last) = slots.last() {
            let next = *last + TimeDelta::seconds(1);
            assert_eq!(schedule.slots(zone, from, next).count(), slots.len(), "{job}");
        }
    }
    let mut coverage = Coverage::new();
    coverage.plan(0, Digest::of(bytes), &plan);
    coverage.finish(to);
    coverage.take_findings();
}

/// Names and other short texts, of which there is one spelling.
fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(job) = text.parse::<Job>() {
        assert_eq!(job.as_str(), text);
        assert_eq!(Job::new(job.collector(), job.source()).unwrap(), job);
        assert!(job.file_name().len() == text.len() && !job.file_name().contains('/'));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Some((size, digest, kind)) = layout::parse_anchor(text) {
        assert_eq!(layout::anchor(size, digest, kind), text);
    }
    assert!(!layout::origin_directory(text).contains('/'));
    if let Ok(at) = text.parse() {
        assert_eq!(millis(at), millis(millis(at)));
    }
}

/// The archive of the vectors with one object replaced.
struct Overlay<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl Reader for Overlay<'_> {
    fn open(&self, name: &str) -> std::io::Result<Option<Box<dyn Read + Send + '_>>> {
        if name == self.name {
            return Ok(Some(Box::new(self.bytes)));
        }
        Ok(VECTORS.get(name).map(|bytes| Box::new(bytes.as_slice()) as _))
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> std::io::Result<()> {
        VECTORS.keys().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        if !VECTORS.contains_key(self.name) && self.name.starts_with(prefix) {
            each(self.name);
        }
        Ok(())
    }
}

/// Nobody knows the collector of the vectors' bundle.
struct NoCollector;

impl Rederive for NoCollector {
    fn rederive(
        &self,
        _: &mut Bundle<tempfile::SpooledTempFile>,
        facts: &RunFacts,
        _: &signing::statement::Receipt,
    ) -> Result<Derived, String> {
        Ok(Derived::Unknown(facts.collector.id.clone()))
    }
}

fn archive_seeds() -> Vec<Vec<u8>> {
    VECTORS.values().enumerate().map(|(at, bytes)| [&[at as u8], bytes.as_slice()].concat()).collect()
}

/// One object of an archive replaced by whatever bytes, the first of which says which object: verification ends, and finds it intact
/// only where nothing was changed.
fn archive(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (name, original) = VECTORS.iter().nth(usize::from(*which) % VECTORS.len()).unwrap();
    let options =
        Options { deep: Some(&NoCollector), threads: Some(1), ..Options::trusting(root().public().fingerprint()) };
    let verdict = verify(&Overlay { name, bytes }, &options, &|_| {});
    if verdict.is_ok_and(|verdict| verdict.intact) {
        assert_eq!(bytes, original, "{name} was changed, and nothing was found");
    }
}

fn stray_seeds() -> Vec<Vec<u8>> {
    let names = [
        "append/4",
        "anchor/4/00.tsr",
        "tile/0/001",
        "seal/2026/11/22/x.sigstore.json",
        ".tmp-1",
        "document/keys/x.json",
    ];
    let named = VECTORS.iter().map(|(name, bytes)| [name.as_bytes(), b"\0", bytes].concat());
    named.chain(names.map(|name| [name.as_bytes(), b"\0{}"].concat())).collect()
}

/// An archive with one object more, its name before the first zero byte: whatever that is, it is told of, and never taken for evidence.
fn stray(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|b| *b == 0) else { return };
    let Ok(name) = std::str::from_utf8(&bytes[..end]) else { return };
    if VECTORS.contains_key(name) {
        return;
    }
    let options = Options { threads: Some(1), ..Options::trusting(root().public().fingerprint()) };
    let verdict = verify(&Overlay { name, bytes: &bytes[end + 1..] }, &options, &|_| {}).unwrap();
    assert_eq!((verdict.numbers.seals, verdict.numbers.objects), (4, VECTORS.len() as u64 + 1));
    let told = verdict.findings.iter().any(|finding| finding.object == name)
        || verdict.pending.first.iter().any(|pending| pending.object == name)
        || verdict.leftovers.first.contains(name);
    assert!(told, "{name:?} is in the archive, and nothing tells of it");
}

/// What is accepted of an altered token says the same as before: nothing rests on what was altered.
fn token(bytes: &[u8]) {
    static VERIFIER: LazyLock<Verifier> =
        LazyLock::new(|| Verifier::new(Roots::from_pem(&vector("token/root.pem")).unwrap()));
    let message = vector("token/message");
    if let Ok(stamp) = VERIFIER.verify(bytes, &message) {
        assert_eq!(stamp, VERIFIER.verify(&vector("token/response.tsr"), &message).unwrap());
        assert!(peek(bytes).unwrap().0.is_of(&message));
    }
}

/// Roots that are read can be looked for in vain.
fn roots(bytes: &[u8]) {
    if let Ok(roots) = Roots::from_pem(bytes) {
        assert!(!roots.roots().is_empty());
        let message = vector("token/message");
        let _ = Verifier::new(roots).verify(&vector("token/response.tsr"), &message);
    }
}
