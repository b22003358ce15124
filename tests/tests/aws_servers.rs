//! The servers that stand in for AWS do what the tests of AWS rest on. boto3 is the judge.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::json;
use tests::aws::{AwsWorld, Ministack, Moto, check, request};

/// Has a promise checked in a world in which nothing was made or asked. They share a process, one after the other.
fn with_world(promise: &str) {
    static WORLD: OnceLock<Mutex<AwsWorld>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(AwsWorld::start()));
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    world.reset();
    world.check(promise);
}

#[test]
fn every_answer_of_the_stand_in_is_read_by_boto3_as_it_was_written() {
    check("aws_check.py", &["answers_parse_back"]);
}

#[test]
fn every_request_that_boto3_makes_is_understood() {
    check("aws_check.py", &["requests_are_identified"]);
}

#[test]
fn rows_that_botocores_model_does_not_know_are_refused() {
    with_world("wrong_data_is_refused");
}

#[test]
fn lists_come_in_pages_with_tokens_that_paginators_follow() {
    with_world("pages_are_followed");
}

#[test]
fn what_moto_gets_wrong_is_put_right() {
    with_world("gaps_of_moto_are_closed");
}

#[test]
fn everything_that_the_seed_makes_up_is_read_by_boto3() {
    let world = AwsWorld::start();
    let seeded = world.seed(&["members=1"], &["us-east-1", "eu-west-1"]);
    assert_eq!(seeded.accounts().len(), 2);
    world.check("seeded_answers_are_read");
}

#[test]
fn refusals_throttling_and_expiry_are_in_each_protocols_own_words() {
    with_world("refusals_have_their_protocols_words");
}

#[test]
fn pages_can_be_empty_repeat_themselves_or_lose_their_token() {
    with_world("pages_go_wrong_as_told");
}

#[test]
fn connections_can_end_early_drip_hang_and_be_reset() {
    with_world("connections_break_as_told");
}

#[test]
fn a_rule_faults_the_calls_that_it_names_and_no_others() {
    with_world("rules_match_what_they_name");
}

#[test]
fn every_call_is_logged_with_who_made_it_and_how_it_ended() {
    with_world("calls_are_logged");
}

#[test]
fn signatures_are_checked_in_every_protocol() {
    with_world("signatures_are_checked");
}

#[test]
fn permissions_sessions_and_trust_are_enforced() {
    with_world("permissions_are_enforced");
}

#[test]
fn a_server_ends_with_its_owner() {
    let (world, moto, ministack) = (AwsWorld::start(), Moto::start(), Ministack::start());
    let processes = [world.pid(), moto.pid(), ministack.pid()];
    for port in [world.port(), moto.port(), ministack.port()] {
        let (status, _) = request(port, "GET", "/", b"");
        assert!(status < 500, "{status}");
    }
    moto.enforcing();
    moto.reset();
    assert_eq!(world.calls().len(), 1, "what nobody signed is logged too");
    world.fault(json!({"call": "iam.*", "do": "deny"}));
    assert_eq!(world.faults().len(), 1);
    drop((world, moto, ministack));
    for process in processes {
        let alive = std::path::Path::new(&format!("/proc/{process}/cmdline")).exists();
        assert!(!alive, "process {process} is still there");
    }
}
