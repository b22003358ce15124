//! `kill -9` at any moment loses nothing and doubles nothing. The kill at each single write is in the agent's own tests; here the
//! whole program is killed at many moments, as an operating system would.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tests::program::{Place, files, text};

/// Kills of one run of the test.
const KILLS: u64 = 200;

#[test]
fn a_collect_killed_at_two_hundred_moments_loses_and_doubles_nothing() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let root = place.root();
    let begun = Instant::now();
    place.expect(0, ["collect", "host/time-sync", "host/mfa"]);
    let whole = begun.elapsed();
    let mut killed = 0;
    for step in 0..KILLS {
        let mut child = place.start("killed", ["collect", "host/time-sync", "host/mfa"]);
        // Moments all over a run, in no order: 89 and 200 have no common divisor.
        std::thread::sleep(whole.mul_f64(((step * 89) % KILLS) as f64 / KILLS as f64));
        // It may have ended by itself: that is one of the moments too.
        let _ = child.kill();
        killed += u64::from(!child.wait().unwrap().success());
        if step % 10 > 0 {
            continue;
        }
        let verdict = place.run(["verify", "./evidence", "--trust", &root]);
        assert!(
            matches!(verdict.status.code(), Some(0)),
            "after a kill at step {step}, before recovery:\n{}",
            text(&verdict.stdout)
        );
    }
    assert!(killed > KILLS / 2, "only {killed} of {KILLS} runs were killed before their end");
    place.expect(0, ["collect"]);
    let said = place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    assert!(said.contains("ARCHIVE INTACT"), "{said}");
    // What was spooled is in the log, once (a doubled leaf is a finding), and nothing was put aside.
    let aside = place.path().join("evidence.state/quarantine");
    assert!(!aside.exists() || files(&aside).is_empty());
    assert!(!said.contains("pending"), "everything that was spooled is logged after a whole run:\n{said}");
}

#[test]
fn a_first_collect_killed_while_it_makes_keys_or_log_can_be_run_again() {
    for step in 0..16u64 {
        let place = Place::new();
        let mut child = place.start("killed", ["collect"]);
        std::thread::sleep(Duration::from_millis(step * 8));
        let _ = child.kill();
        child.wait().unwrap();
        place.expect(0, ["collect"]);
        let root = place.root();
        place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    }
}
