//! Trusted time from outside: `collect` and `run` anchor by authorities that OpenSSL plays, over HTTP. Some of them lie, hang or are away.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use signing::{
    digest::Digest,
    layout::{self, Anchor},
    statement::{Anchored, Statement},
    store::Dir,
};
use tests::{
    program::{Place, files, stop, text, until},
    tools::scripts,
};

/// Authorities on 127.0.0.1, for as long as this lives.
struct Tsa {
    directory: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Tsa {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Command::new("python3")
            .arg(scripts().join("tsa.py"))
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        Self { directory, server, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    fn hold(&self) -> PathBuf {
        self.directory.path().join("hold")
    }

    /// When this path was asked, in seconds since the epoch.
    fn requests(&self, path: &str) -> Vec<f64> {
        let all = fs::read_to_string(self.directory.path().join("requests")).unwrap_or_default();
        let asked = all.lines().filter_map(|line| line.split_once(' '));
        asked.filter(|(asked, _)| *asked == format!("/{path}")).map(|(_, at)| at.parse().unwrap()).collect()
    }

    /// A place whose configuration names these authorities.
    fn place(&self, paths: &[&str], anchor_every: &str) -> Place {
        self.place_with(paths, anchor_every, "")
    }

    /// The same, with more lines of configuration; they may go on with `signing.timestamps`.
    fn place_with(&self, paths: &[&str], anchor_every: &str, more: &str) -> Place {
        let authorities: Vec<String> = paths
            .iter()
            .map(|path| format!("    - {{url: '{}', every: 1s, ca: '{}'}}\n", self.url(path), self.root().display()))
            .collect();
        let place = Place::new();
        let yaml = format!(
            "append_every: 1s\nsigning:\n  timestamps:\n    anchor_every: {anchor_every}\n    authorities:\n{}{more}",
            authorities.concat()
        );
        fs::write(place.path().join("evidenced.yaml"), yaml).unwrap();
        place.expect(0, ["keys", "init"]);
        place
    }
}

impl Drop for Tsa {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The anchors of a place, by size.
fn anchors(place: &Place) -> Vec<(u64, Digest, Anchor)> {
    let origin = place.origin();
    let names = files(&origin).into_iter().filter_map(|path| {
        let name = path.strip_prefix(&origin).unwrap().to_str().unwrap().to_owned();
        name.starts_with("anchor/").then_some(name)
    });
    let mut found: Vec<_> = names.map(|name| layout::parse_anchor(&name).unwrap()).collect();
    found.sort();
    found
}

fn of_kind(all: &[(u64, Digest, Anchor)], wanted: Anchor) -> Vec<(u64, Digest)> {
    all.iter().filter(|(_, _, kind)| *kind == wanted).map(|(size, digest, _)| (*size, *digest)).collect()
}

/// Whether OpenSSL verifies a token over a checkpoint of the same size.
fn openssl_verifies(place: &Place, tsa: &Tsa, size: u64, token: Digest) -> bool {
    let path = |digest, kind| place.origin().join(layout::anchor(size, digest, kind));
    of_kind(&anchors(place), Anchor::Checkpoint).into_iter().filter(|(at, _)| *at == size).any(|(_, checkpoint)| {
        let output = Command::new("openssl")
            .args(["ts", "-verify", "-data"])
            .arg(path(checkpoint, Anchor::Checkpoint))
            .arg("-in")
            .arg(path(token, Anchor::Token))
            .arg("-CAfile")
            .arg(tsa.root())
            .output()
            .unwrap();
        output.status.success()
    })
}

/// What each entry of the log names.
fn named(place: &Place) -> Vec<Option<Anchored>> {
    let origin = place.origin();
    let checkpoint = fs::read(origin.join("checkpoint")).unwrap();
    let size = signing::log::Checkpoint::parse_unverified(&checkpoint).unwrap().size;
    let mut named = Vec::new();
    signing::log::entries(&Dir::new(&origin), 0, size, &mut |_, leaf| {
        named.push(Statement::from_bytes(leaf).unwrap().entry.anchor);
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    named
}

fn status(place: &Place) -> Value {
    serde_json::from_slice(&place.run(["status", "--json"]).stdout).unwrap()
}

fn is_there(path: &Path) -> bool {
    path.exists()
}

#[test]
fn collect_is_anchored_by_each_authority_as_openssl_verifies_and_the_next_entries_name_the_newest_token() {
    let tsa = Tsa::start();
    let place = tsa.place(&["rsa", "ecdsa"], "10m");
    let out = place.expect(0, ["collect", "host/mfa"]);
    for path in ["rsa", "ecdsa"] {
        assert!(out.contains(&format!("by {} (4 entries)", tsa.url(path))), "{out}");
    }
    let all = anchors(&place);
    let published = fs::read(place.origin().join("checkpoint")).unwrap();
    assert_eq!(of_kind(&all, Anchor::Checkpoint), [(4, Digest::of(&published))]);
    let tokens = of_kind(&all, Anchor::Token);
    assert_eq!(tokens.len(), 2, "{all:?}");
    assert!(tokens.iter().all(|(size, token)| openssl_verifies(&place, &tsa, *size, *token)), "{all:?}");
    assert!(named(&place).iter().all(Option::is_none));

    // The least interval of each authority.
    std::thread::sleep(Duration::from_millis(1_100));
    place.expect(0, ["collect", "host/mfa"]);
    let entries = named(&place);
    let newest = entries[4].expect("the second receipt names a token");
    assert!(tokens.contains(&(newest.size, newest.token)), "{newest:?}");
    assert_eq!(of_kind(&anchors(&place), Anchor::Token).len(), 4);
    let told = status(&place);
    assert_eq!((&told["anchors"][0]["size"], &told["anchors"][0]["error"]), (&Value::from(5), &Value::Null));
    let metrics = place.expect(0, ["status", "--prometheus"]);
    assert!(metrics.contains("evidenced_anchored_entries{") && metrics.contains("/rsa\"} 5"), "{metrics}");

    // What state_dir remembers is not believed: without the token in the archive entries name none.
    fs::remove_dir_all(place.origin().join("anchor")).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    let output = place.run(["collect", "host/mfa"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("does not give back the newest token"), "{}", text(&output.stderr));
    assert_eq!(named(&place)[5], None);
    assert_eq!(of_kind(&anchors(&place), Anchor::Token).len(), 2);
}

#[test]
fn of_authorities_that_lie_hang_or_refuse_nothing_is_stored_and_collect_goes_on_with_the_honest_one() {
    let tsa = Tsa::start();
    let faults = [
        ("away", "it cannot be reached"),
        ("slow", "did not answer within 5 s"),
        ("500", "status 500"),
        ("503", "status 503"),
        ("other-nonce", "nonce"),
        ("other-message", "another message"),
        ("garbage", "its answer is refused"),
        ("html", "it answered with \"text/html\""),
        ("huge", "longer than 65536 bytes"),
        ("untrusted", "no path from the signer's certificate"),
        ("expired", "was not valid"),
    ];
    let mut paths: Vec<&str> = faults.iter().map(|(path, _)| *path).collect();
    paths.push("ecdsa");
    let place = tsa.place(&paths, "10m");
    let begun = Instant::now();
    let out = place.expect(0, ["collect", "host/mfa"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for (path, why) in faults {
        let line = out.lines().find(|line| line.contains(&format!("Not anchored by {}: ", tsa.url(path))));
        assert!(line.is_some_and(|line| line.contains(why)), "{path}: {out}");
    }
    let all = anchors(&place);
    let tokens = of_kind(&all, Anchor::Token);
    assert_eq!((all.len(), tokens.len()), (2, 1), "{all:?}");
    assert!(openssl_verifies(&place, &tsa, tokens[0].0, tokens[0].1));
}

#[test]
fn run_anchors_a_log_that_grew_no_more_often_than_set_and_a_hanging_authority_holds_up_nothing() {
    let tsa = Tsa::start();
    let place = tsa.place(&["rsa", "slow"], "4s");
    let child = place.daemon();
    let begun = Instant::now();
    let mut collects = 0;
    while tsa.requests("rsa").len() < 3 {
        place.expect(0, ["collect", "host/mfa"]);
        collects += 1;
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", tsa.requests("rsa"));
    }
    assert!(collects > 3, "the interval holds back some of {collects} appends");
    let asked = tsa.requests("rsa");
    assert!(asked.windows(2).all(|two| two[1] - two[0] >= 3.9), "{asked:?}");
    assert_eq!(tsa.requests("slow").len(), 1, "it is still being waited for, or left alone");
    until("the status to say so", || status(&place)["anchors"][0]["size"].is_u64());
    let told = place.expect(0, ["status"]);
    assert!(told.contains("anchored   20") && told.contains(&tsa.url("slow")), "{told}");

    // The last entries are anchored by the stop.
    until("the authority's least interval to pass", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        tsa.requests("rsa").last().is_none_or(|last| now - last > 1.5)
    });
    place.expect(0, ["collect", "host/mfa"]);
    let begun = Instant::now();
    stop(child);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let published = fs::read(place.origin().join("checkpoint")).unwrap();
    let all = anchors(&place);
    let last = of_kind(&all, Anchor::Checkpoint).into_iter().next_back().unwrap();
    assert_eq!(last.1, Digest::of(&published), "{all:?}");
    for (size, token) in of_kind(&all, Anchor::Token) {
        assert!(openssl_verifies(&place, &tsa, size, token), "{size}");
    }
}

#[test]
fn a_daemon_killed_while_it_anchors_goes_on_after_a_start_and_an_authority_that_comes_back_is_told_once() {
    let tsa = Tsa::start();
    let place = tsa.place(&["rsa", "500"], "1s");
    fs::write(tsa.hold(), "").unwrap();
    let mut child = place.daemon();
    place.expect(0, ["collect", "host/mfa"]);
    until("the authority to be asked", || !tsa.requests("rsa").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_there(&place.origin().join("anchor")));
    fs::remove_file(tsa.hold()).unwrap();

    let child = place.daemon();
    until("the log to be anchored", || status(&place)["anchors"][0]["size"].is_u64());
    until("the other to be told of", || place.said().contains("status 500"));
    stop(child);
    let all = anchors(&place);
    assert!(of_kind(&all, Anchor::Token).iter().all(|(size, token)| openssl_verifies(&place, &tsa, *size, *token)));
    assert_eq!(place.said().matches("status 500").count(), 1, "{}", place.said());
}

#[test]
fn doctor_asks_each_authority_for_one_token() {
    let tsa = Tsa::start();
    let place = tsa.place(&["ecdsa", "untrusted", "500"], "10m");
    let output = place.run(["doctor"]);
    let out = text(&output.stdout);
    let of = |path: &str| {
        let begins = |line: &&str| line.contains(&format!("timestamps: {}: ", tsa.url(path)));
        out.lines().find(begins).unwrap_or_else(|| panic!("{path}: {out}")).to_owned()
    };
    assert!(of("ecdsa").starts_with("fine") && of("ecdsa").contains("a token by Tests ecdsa"), "{out}");
    assert!(of("untrusted").starts_with("FINDING") && out.contains("write its root certificate as `ca`"), "{out}");
    assert!(of("500").starts_with("FINDING"), "{out}");
    assert_eq!(tsa.requests("ecdsa").len(), 1);
    assert_eq!(output.status.code(), Some(1));
    assert!(!is_there(&place.path().join("evidence")), "nothing is sealed");
}

#[test]
fn a_token_in_a_seal_is_not_waited_for_and_what_is_sealed_stays_the_same_over_a_crash() {
    let tsa = Tsa::start();
    let more = "    in_seals: true\narchive: {directory: ./mounted/evidence}\n";
    let place = tsa.place_with(&["rsa", "slow"], "10m", more);
    place.expect(0, ["collect", "host/mfa"]);
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    let mut child = place.daemon();
    assert_eq!(place.run(["collect", "host/mfa"]).status.code(), Some(2), "it waits in the spool");
    let spooled = |suffix: &str| -> Vec<PathBuf> {
        let all = files(&place.path().join("evidence.state/spool"));
        all.into_iter().filter(|path| path.to_str().unwrap().ends_with(suffix)).collect()
    };
    until("a token to come", || !spooled(".tsr").is_empty());
    assert!(spooled(".sigstore.json").is_empty());

    // The archive is back, but takes no bundle: the entry is sealed with what has come, and waits again.
    fs::rename(&away, &mounted).unwrap();
    let origin =
        files(&mounted).into_iter().find(|path| path.ends_with("checkpoint")).unwrap().parent().unwrap().to_owned();
    let (bundles, aside) = (origin.join("bundle"), place.path().join("bundle"));
    fs::rename(&bundles, &aside).unwrap();
    fs::write(&bundles, "").unwrap();
    until("the entry to be sealed", || !spooled("seal.sigstore.json").is_empty());
    let sealed = fs::read(&spooled("seal.sigstore.json")[0]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(&bundles).unwrap();
    fs::rename(&aside, &bundles).unwrap();

    let child = place.daemon();
    until("the entry to be logged", || status(&place)["checkpoint"]["size"].as_u64() > Some(3));
    stop(child);
    let seals = files(&origin.join("seal"));
    assert!(seals.iter().any(|path| fs::read(path).unwrap() == sealed), "the seal is another than before the crash");
    let seal = signing::seal::Seal::from_bytes(&sealed).unwrap();
    assert_eq!(seal.timestamps.len(), 1);
    let scratch = tempfile::tempdir().unwrap();
    let (signature, token) = (scratch.path().join("signature"), scratch.path().join("token"));
    fs::write(&signature, seal.signature).unwrap();
    fs::write(&token, &seal.timestamps[0]).unwrap();
    let openssl = Command::new("openssl")
        .args(["ts", "-verify", "-data"])
        .args([&signature, Path::new("-in"), &token, Path::new("-CAfile"), &tsa.root()])
        .output()
        .unwrap();
    assert!(openssl.status.success(), "{}", text(&openssl.stderr));
}
