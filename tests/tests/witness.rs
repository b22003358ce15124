//! The witness as its operator runs it, what it does when it is killed, and cosignatures beside those of PyPI's aics-tlog.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use signing::{
    digest::Digest,
    keys::{FileKey, Signer as _},
    log::{
        Checkpoint, Edge,
        cosignature::{self, WitnessKey},
        growth, vkey,
        witness::Submission,
    },
    store::Dir,
};
use tempfile::TempDir;
use tests::{
    program::{Place, files, stop, text, until},
    tools,
};

const ORIGIN: &str = "example.org/log";
const NAME: &str = "witness.example/acme";

fn log_key() -> FileKey {
    FileKey::from_seed(&[1; 32])
}

/// A log with tiles; from leaf `fork` on it is another one.
struct Log {
    dir: TempDir,
    fork: u64,
    edge: Edge,
}

impl Log {
    fn new(fork: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), fork, edge: Edge::empty() }
    }

    fn grow(&mut self, size: u64) -> Checkpoint {
        let leaf = |n: u64| format!("leaf {n} {}", n >= self.fork).into_bytes();
        let leaves: Vec<_> = (self.edge.size()..size).map(leaf).collect();
        let mut edge = self.edge.clone();
        edge.append(&leaves, &mut |name, bytes| {
            let path = self.dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        })
        .unwrap();
        self.edge = edge;
        self.checkpoint()
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { origin: ORIGIN.into(), size: self.edge.size(), root: self.edge.root() }
    }

    fn body(&self, old: u64) -> Vec<u8> {
        let checkpoint = self.checkpoint();
        let (_, proof) = growth(&Dir::new(self.dir.path()), old, &checkpoint).unwrap();
        Submission::new(old, proof, &checkpoint.sign(&log_key()).unwrap()).unwrap().to_bytes()
    }
}

struct Witness {
    place: Place,
    key: WitnessKey,
    starts: u32,
    log: String,
}

impl Witness {
    fn new() -> Self {
        Self::of(vkey(ORIGIN, log_key().public()))
    }

    /// A witness of the log with that verifier key.
    fn of(log: String) -> Self {
        let place = Place::new();
        let said = place.expect(0, ["witness", "init", "--state", "state", "--key", "key.pem", "--name", NAME]);
        let key = WitnessKey::from_vkey(said.lines().last().unwrap()).unwrap();
        Self { place, key, starts: 0, log }
    }

    /// The running witness, and where it listens.
    fn start(&mut self) -> (Child, String) {
        self.starts += 1;
        let name = format!("witness{}", self.starts);
        let serve = ["witness", "--state", "state", "--key", "key.pem", "--listen", "127.0.0.1:0", "--log", &self.log];
        let mut child = self.place.start(&name, serve);
        let out = self.place.path().join(format!("{name}.out"));
        let mut address = String::new();
        until("the witness to listen", || {
            assert_eq!(child.try_wait().unwrap(), None, "the witness ended");
            let said = fs::read_to_string(&out).unwrap_or_default();
            address = said.trim_end().rsplit_once("http://").map_or(String::new(), |(_, at)| at.to_owned());
            !address.is_empty() && said.ends_with('\n')
        });
        (child, address)
    }

    fn show(&self) -> Output {
        self.place.run(["witness", "show", "--state", "state"])
    }

    fn kept(&self) -> Option<Checkpoint> {
        let shown = self.show();
        let (checkpoint, _) = cosignature::verify_note(&shown.stdout, std::slice::from_ref(&self.key)).ok()?;
        Some(checkpoint)
    }
}

/// Status and body; `None` where the witness went away.
fn post(address: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head =
        format!("POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let status = answer.get(9..12)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let whole = head.to_ascii_lowercase().contains(&format!("content-length: {}", body.len()));
    whole.then(|| (status, body.to_owned()))
}

/// Submits until it is signed or refused for good, with whatever size the witness says.
fn submit(address: &str, log: &Log, key: &WitnessKey) -> Option<Result<Checkpoint, u16>> {
    let checkpoint = log.checkpoint();
    let mut old = 0;
    for _ in 0..20 {
        match post(address, &log.body(old))? {
            (200, lines) => {
                let keys = std::slice::from_ref(key);
                cosignature::verify(lines.as_bytes(), checkpoint.text().as_bytes(), keys).unwrap();
                return Some(Ok(checkpoint));
            }
            (409, size) => {
                let size: u64 = size.trim_end().parse().unwrap();
                if size > checkpoint.size || size == old {
                    return Some(Err(409));
                }
                old = size;
            }
            (status, _) => return Some(Err(status)),
        }
    }
    panic!("the witness says another size each time");
}

#[test]
fn a_witness_signs_growth_refuses_a_fork_and_shows_both_to_its_operator() {
    let mut witness = Witness::new();
    let nothing = witness.show();
    assert_eq!(nothing.status.code(), Some(2), "{}", text(&nothing.stderr));
    let (child, address) = witness.start();
    let (mut log, mut forked) = (Log::new(u64::MAX), Log::new(4));
    log.grow(3);
    submit(&address, &log, &witness.key).unwrap().unwrap();
    log.grow(600);
    let newest = submit(&address, &log, &witness.key).unwrap().unwrap();
    let shown = witness.show();
    assert_eq!((shown.status.code(), witness.kept()), (Some(0), Some(newest.clone())));
    assert_eq!(Checkpoint::open(&shown.stdout, ORIGIN, &[*log_key().public()]).unwrap().0, newest);

    forked.grow(600);
    assert_eq!(submit(&address, &forked, &witness.key), Some(Err(409)));
    forked.grow(700);
    assert_eq!(submit(&address, &forked, &witness.key), Some(Err(422)));
    let shown = witness.show();
    assert_eq!((shown.status.code(), witness.kept()), (Some(1), Some(newest)));
    assert!(text(&shown.stderr).contains("REFUSED"), "{}", text(&shown.stderr));
    stop(child);
    let said = fs::read_to_string(witness.place.path().join("witness1.err")).unwrap();
    assert!(said.contains("FORK") && said.contains("stopped"), "{said}");

    let (child, address) = witness.start();
    log.grow(601);
    submit(&address, &log, &witness.key).unwrap().unwrap();
    stop(child);
}

#[test]
fn killed_at_any_moment_it_has_signed_one_history_and_remembers_all_of_it() {
    let mut witness = Witness::new();
    let signed: Mutex<BTreeSet<(u64, Digest)>> = Mutex::default();
    let logs = [Mutex::new(Log::new(u64::MAX)), Mutex::new(Log::new(2))];
    for round in 0..12_u64 {
        let (mut child, address) = witness.start();
        thread::scope(|scope| {
            for log in &logs {
                let (address, key, signed) = (&address, &witness.key, &signed);
                scope.spawn(move || {
                    let mut log = log.lock().unwrap();
                    loop {
                        let size = log.edge.size();
                        log.grow(size + 1);
                        match submit(address, &log, key) {
                            Some(Ok(checkpoint)) => {
                                signed.lock().unwrap().insert((checkpoint.size, checkpoint.root));
                            }
                            Some(Err(_)) => {}
                            None => return,
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(20 + round * 17 % 90));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let newest = signed.lock().unwrap().last().copied();
        let kept = witness.kept();
        assert!(kept.as_ref().map(|kept| kept.size) >= newest.map(|(size, _)| size), "{kept:?} after {newest:?}");
    }
    let signed = signed.into_inner().unwrap();
    assert!(signed.len() > 5, "only {} signatures were given", signed.len());
    let size = signed.last().unwrap().0;
    let one_history = |fork: u64| {
        let mut log = Log::new(fork);
        let roots: BTreeSet<(u64, Digest)> = (1..=size).map(|size| (size, log.grow(size).root)).collect();
        signed.is_subset(&roots)
    };
    assert!(one_history(u64::MAX) || one_history(2), "two histories were signed: {signed:?}");
}

/// An agent whose log that witness signs, and its verifier key.
fn agent() -> (Place, Witness) {
    let place = Place::new();
    place.expect(0, ["keys", "init", "--origin", "example.org/agent"]);
    let list: serde_json::Value = serde_json::from_str(&place.expect(0, ["keys", "list", "--json"])).unwrap();
    let witness = Witness::of(list["vkeys"][0].as_str().unwrap().to_owned());
    (place, witness)
}

fn configure(place: &Place, address: &str, witness: &Witness) {
    let file = format!(
        "origin: example.org/agent\nsigning:\n  witnesses:\n    - {{url: \"http://{address}\", key: \"{}\", every: 1s}}\n",
        witness.key.vkey()
    );
    fs::write(place.path().join("evidenced.yaml"), file).unwrap();
}

/// The stored cosignatures.
fn cosigned(place: &Place) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cosig");
    files(&place.path().join("evidence")).into_iter().filter(is_one).collect()
}

/// A reading of one job by hand: what is said, on both outputs.
fn collect(place: &Place) -> String {
    let output = place.run(["collect", "host/accounts"]);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

#[test]
fn what_the_agent_publishes_is_cosigned_and_a_log_that_was_put_back_is_refused() {
    let (place, mut witness) = agent();
    let (child, address) = witness.start();
    configure(&place, &address, &witness);
    assert!(collect(&place).contains(&format!("by {NAME} (")));
    let first = cosigned(&place);
    assert_eq!(first.len(), 1);
    let size: u64 = first[0].parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    let kept = witness.kept().unwrap();
    assert_eq!(kept.size, size);
    let lines = fs::read(&first[0]).unwrap();
    cosignature::verify(&lines, kept.text().as_bytes(), std::slice::from_ref(&witness.key)).unwrap();
    let published = fs::read(place.origin().join("checkpoint")).unwrap();
    let beside = first[0].with_file_name(format!("{}.checkpoint", Digest::of(&published)));
    assert_eq!(fs::read(beside).unwrap(), published);
    let root = place.root();
    place.expect(0, ["verify", "evidence", "--trust", &root]);

    let copy = |from: &str, to: &str| {
        let _ = fs::remove_dir_all(place.path().join(to));
        let done = Command::new("cp").args(["-a", from, to]).current_dir(place.path()).status().unwrap();
        assert!(done.success());
    };
    copy("evidence", "old.evidence");
    copy("evidence.state", "old.state");
    assert!(collect(&place).contains(&format!("by {NAME} (")));
    assert_eq!(cosigned(&place).len(), 2);
    // The operator puts an older log back, with the agent's own memory of it, and goes on from there.
    copy("old.evidence", "evidence");
    copy("old.state", "evidence.state");
    for _ in 0..2 {
        assert!(collect(&place).contains(&format!("Not cosigned by {NAME}: it ")));
    }
    assert_eq!(cosigned(&place), first);
    let shown = witness.show();
    assert_eq!(shown.status.code(), Some(1), "{}", text(&shown.stderr));
    stop(child);
}

#[test]
fn the_daemon_shows_what_it_publishes_to_a_witness_that_comes_back() {
    let (place, mut witness) = agent();
    let (child, address) = witness.start();
    configure(&place, &address, &witness);
    let daemon = place.start("daemon", ["run"]);
    until("the plan to be cosigned", || place.path().join("evidence").exists() && !cosigned(&place).is_empty());
    until("the daemon to say so", || {
        let said = text(&place.run(["status"]).stdout);
        said.lines().any(|line| line.starts_with("cosigned ") && line.ends_with(NAME))
    });
    stop(child);
    let before = cosigned(&place).len();
    collect(&place);
    stop(daemon);
    assert_eq!(cosigned(&place).len(), before);
    let (child, address) = witness.start();
    configure(&place, &address, &witness);
    assert!(collect(&place).contains(&format!("by {NAME} (")));
    assert_eq!(cosigned(&place).len(), before + 1);
    stop(child);
}

fn python(arguments: &[&str], note: &[u8]) -> Output {
    let mut child = Command::new(tools::verifiers().join("bin/python"))
        .arg(tools::scripts().join("cosign.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(note).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn aics_tlog_of_pypi_verifies_our_cosignatures_and_we_verify_its() {
    let mut witness = Witness::new();
    let (child, address) = witness.start();
    let mut log = Log::new(u64::MAX);
    let checkpoint = log.grow(7);
    submit(&address, &log, &witness.key).unwrap().unwrap();
    let note = witness.show().stdout;
    stop(child);
    let vkey = witness.key.vkey();
    let said = python(&["verify", &vkey], &note);
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    let altered = text(&note).replacen("\n7\n", "\n8\n", 1);
    assert_eq!(python(&["verify", &vkey], altered.as_bytes()).status.code(), Some(1));

    let seed = "2a".repeat(32);
    let said = python(&["sign", "other.example/w", &seed, "1795320000"], &checkpoint.sign(&log_key()).unwrap());
    assert!(said.status.success(), "{}", text(&said.stderr));
    let said = text(&said.stdout);
    let (vkey, note) = said.split_once('\n').unwrap();
    let theirs = WitnessKey::from_vkey(vkey).unwrap();
    assert_eq!(theirs, WitnessKey::new("other.example/w", *FileKey::from_seed(&[0x2a; 32]).public()).unwrap());
    let (found, by) = cosignature::verify_note(note.as_bytes(), std::slice::from_ref(&theirs)).unwrap();
    assert_eq!((found, by[0].at.timestamp()), (checkpoint, 1_795_320_000));
    let altered = note.replacen("\n7\n", "\n8\n", 1);
    cosignature::verify_note(altered.as_bytes(), &[theirs]).unwrap_err();
}
