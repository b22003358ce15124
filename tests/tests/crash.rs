//! `kill -9` at any moment loses nothing and doubles nothing. The kill at each single write is in the agent's own tests; here the
//! whole program is killed at many moments, as an operating system would.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::Duration;

use tests::program::{Place, text};

#[test]
fn a_collect_killed_at_any_moment_is_followed_by_one_that_leaves_an_intact_archive() {
    let place = Place::new();
    place.expect(0, ["collect"]);
    let root = place.root();
    for step in 0..24u64 {
        let mut child = place.start("killed", ["collect", "host/time-sync", "host/mfa"]);
        std::thread::sleep(Duration::from_millis(5 + step * 17));
        // It may have ended by itself: that is one of the moments too.
        let _ = child.kill();
        child.wait().unwrap();
        let verdict = place.run(["verify", "./evidence", "--trust", &root]);
        assert!(
            matches!(verdict.status.code(), Some(0)),
            "after a kill at step {step}, before recovery:\n{}",
            text(&verdict.stdout)
        );
    }
    place.expect(0, ["collect"]);
    let said = place.expect(0, ["verify", "./evidence", "--trust", &root, "--deep"]);
    assert!(said.contains("ARCHIVE INTACT"), "{said}");
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
