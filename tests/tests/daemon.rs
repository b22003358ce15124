//! The daemon as an operator meets it: started, asked, stopped, killed and started again.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tests::program::{Place, program, text, until};

fn configured() -> Place {
    let place = Place::new();
    fs::write(
        place.path().join("evidenced.yaml"),
        "jobs:\n  - {collector: host/time-sync, schedule: \"* * * * *\"}\n  - {collector: host/mfa, schedule: \"* * * * *\"}\n\
         append_every: 1s\n",
    )
    .unwrap();
    place.expect(0, ["validate"]);
    place.expect(0, ["keys", "init"]);
    place
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn collect_beside_a_running_daemon_goes_through_it_and_one_log_holds_both() {
    let place = configured();
    let mut child = place.daemon();
    let said = place.expect(0, ["collect", "host/time-sync"]);
    assert!(said.contains("host/time-sync@this"), "{said}");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let root = place.root();
    place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
}

#[test]
fn a_second_daemon_on_the_same_archive_is_refused_even_with_another_state_directory() {
    let place = configured();
    let mut child = place.daemon();
    let output = place.command(["run"]).env("EVIDENCED_STATE_DIR", "./other.state").output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("evidence"), "{}", text(&output.stderr));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn slots_are_filled_across_a_stop_a_kill_and_a_restart() {
    let place = configured();
    let mut child = place.daemon();
    let receipts = || {
        let shown = text(&place.run(["show", "./evidence", "--json", "--limit", "1000"]).stdout);
        shown.matches("\"slot\":\"").count() + shown.matches("\"slot\": \"").count()
    };
    until("the first slots to be logged", || receipts() >= 2);
    signal(&child, Signal::KILL);
    child.wait().unwrap();

    let mut child = place.daemon();
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let root = place.root();
    let verdict = place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
}

#[test]
fn pause_is_logged_with_its_reason_and_resume_puts_schedules_back() {
    let place = configured();
    let mut child = place.daemon();
    place.expect(0, ["pause", "--reason", "data centre is moved"]);
    place.expect(0, ["resume"]);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let shown = place.expect(0, ["show", "./evidence"]);
    assert!(shown.contains("data centre is moved"), "{shown}");
    let root = place.root();
    place.expect(0, ["verify", "./evidence", "--trust", &root]);
}

#[test]
fn a_reader_of_its_lines_that_goes_away_ends_nothing() {
    let place = configured();
    let mut child = place.command(["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    until("the daemon to answer", || {
        assert_eq!(child.try_wait().unwrap(), None);
        place.answers(&child)
    });
    place.expect(0, ["collect", "host/mfa"]);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    place.expect(0, ["verify", "./evidence", "--trust", &place.root()]);
}

#[test]
fn a_terminal_that_closes_stops_it_cleanly() {
    let place = configured();
    // Whoever runs the tests with nohup has the signal ignored, and a program that is started so leaves it so.
    let log = fs::File::create(place.path().join("daemon.err")).unwrap();
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(program()).arg("run").current_dir(place.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut child = place.answering(child);
    signal(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    place.expect(0, ["verify", "./evidence", "--trust", &place.root()]);
}
