//! What an operator may do to archive and keys while the agent runs or rests: it waits, says so, loses nothing, and begins no second log.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, path::Path};

use tests::program::{Place, stop, text, until};

fn configured() -> Place {
    let place = Place::new();
    fs::write(place.path().join("evidenced.yaml"), "append_every: 1s\narchive: {directory: ./mounted/evidence}\n")
        .unwrap();
    place.expect(0, ["keys", "init"]);
    place.expect(0, ["collect", "host/mfa"]);
    place
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

fn assert_intact(place: &Place, entries: &str) {
    let verdict = place.expect(0, ["verify", "./mounted/evidence", "--trust", &place.root(), "--deep"]);
    assert!(verdict.contains("ARCHIVE INTACT") && verdict.contains(entries), "{verdict}");
}

#[test]
fn run_collects_into_the_spool_while_the_archive_is_not_mounted_and_begins_no_other() {
    let place = configured();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    fs::create_dir(&mounted).unwrap();
    let child = place.daemon();
    assert!(place.said().contains("AWAY"), "{}", place.said());
    assert!(place.said().contains("Is its file system mounted"), "{}", place.said());
    let output = place.run(["collect", "host/mfa"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("waits in the spool"), "{}", text(&output.stdout));
    assert!(is_empty(&mounted));
    let status = place.expect(5, ["status"]);
    assert!(status.contains("AWAY       since 20") && status.contains("Is its file system mounted"), "{status}");
    let metrics = place.expect(0, ["status", "--prometheus"]);
    assert!(metrics.contains("evidenced_up{origin=") && metrics.contains("evidenced_archive_away{"), "{metrics}");

    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    place.expect(0, ["collect", "host/mfa"]);
    place.expect(0, ["status"]);
    stop(child);
    assert_intact(&place, "7 entries");
}

#[test]
fn run_waits_for_the_archive_where_state_dir_remembers_too_little() {
    let place = configured();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    fs::remove_dir_all(place.path().join("evidence.state/cache/log")).unwrap();
    let mut child = place.start("daemon", ["run"]);
    until("the daemon to say that it waits", || {
        assert_eq!(child.try_wait().unwrap(), None, "{}", place.said());
        place.said().contains("WAITING")
    });
    assert!(place.said().contains("Is its file system mounted"), "{}", place.said());
    assert!(!mounted.exists());
    let output = place.run(["status"]);
    assert!(text(&output.stdout).contains("its log says why"), "{}", text(&output.stdout));

    fs::rename(&away, &mounted).unwrap();
    until("the daemon to go on", || place.answers(&child));
    stop(child);
    assert_intact(&place, "5 entries");
}

#[test]
fn what_collect_reads_while_the_archive_is_not_mounted_is_logged_by_the_next_one_and_begins_no_other_log() {
    let place = configured();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    fs::rename(&mounted, &away).unwrap();
    let output = place.run(["collect", "host/mfa"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout);
    assert!(said.contains("waits in the spool") && said.contains("Is its file system mounted"), "{said}");
    assert!(!mounted.exists());
    let status = place.expect(5, ["status"]);
    assert!(status.contains("state_dir knows one of 4 entries") && status.contains("1 waiting"), "{status}");
    let status = place.command(["status"]).env("EVIDENCED_MAX_SPOOL_BYTES", "1048576").output().unwrap();
    assert_eq!(status.status.code(), Some(5));

    let large = place.path().join("evidence.state/spool/00009999999999999999");
    fs::create_dir(&large).unwrap();
    fs::write(large.join("bundle.zip"), vec![b' '; 2 << 20]).unwrap();
    let status = place.command(["status"]).env("EVIDENCED_MAX_SPOOL_BYTES", "1048576").output().unwrap();
    assert_eq!(status.status.code(), Some(4));
    let said = text(&status.stdout);
    assert!(said.contains("FULL") && said.contains("max_spool_bytes (1048576)"), "{said}");
    fs::remove_dir_all(large).unwrap();

    fs::rename(&away, &mounted).unwrap();
    place.expect(0, ["collect", "host/mfa"]);
    assert_intact(&place, "6 entries");
}

#[test]
fn what_is_collected_while_the_archive_is_away_waits_in_the_spool_and_is_logged_when_it_is_back() {
    let place = configured();
    let (mounted, away) = (place.path().join("mounted"), place.path().join("away"));
    let child = place.daemon();
    fs::rename(&mounted, &away).unwrap();
    fs::create_dir(&mounted).unwrap();
    for _ in 0..2 {
        let output = place.run(["collect", "host/mfa"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("waits in the spool"), "{}", text(&output.stdout));
    }
    assert!(is_empty(&mounted), "nothing is written where the archive is not");
    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    place.expect(0, ["collect", "host/mfa"]);
    stop(child);
    assert_intact(&place, "8 entries");
}

#[test]
fn a_lost_keys_json_is_asked_for_and_never_made_anew_for_a_log() {
    let place = Place::new();
    place.expect(0, ["collect", "host/mfa"]);
    let keys = place.path().join("evidence.keys/keys.json");
    let bytes = fs::read(&keys).unwrap();
    fs::remove_file(&keys).unwrap();
    for command in [&["collect", "host/mfa"][..], &["keys", "init"]] {
        let output = place.run(command);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains("document/keys"), "{}", text(&output.stderr));
        assert!(!keys.exists());
    }
    // As the message says: the archive holds the same bytes.
    let kept = fs::read_dir(place.origin().join("document/keys")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(&kept).unwrap(), bytes);
    fs::copy(kept, keys).unwrap();
    place.expect(0, ["collect", "host/mfa"]);
    place.expect(0, ["verify", "./evidence", "--trust", &place.root()]);
}

#[test]
fn another_keys_json_of_the_same_revision_never_enters_the_log() {
    let place = Place::new();
    place.expect(0, ["collect", "host/mfa"]);
    let (evidence, away) = (place.path().join("evidence"), place.path().join("away"));
    fs::rename(&evidence, &away).unwrap();
    fs::remove_file(place.path().join("evidence.keys/keys.json")).unwrap();
    place.expect(0, ["keys", "init"]);
    fs::rename(&away, &evidence).unwrap();
    let output = place.run(["collect", "host/mfa"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("later revision"), "{}", text(&output.stderr));
    let later = place.run(["verify", "./evidence", "--trust", &place.root(), "--as-of", "2100-01-01T00:00:00Z"]);
    assert_eq!(later.status.code(), Some(0));
    assert!(text(&later.stderr).contains("2100-01-01T00:00:00Z is yet to come by this computer's clock"));
}
