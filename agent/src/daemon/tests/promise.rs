//! What is promised enters the log when it differs from the newest set there, and only then.

use controls::{CONTROLS_FORMAT, ControlSet, FrameworkSet, starter};
use signing::{
    digest::Digest,
    log::{Checkpoint, entries},
    statement::{Body, Statement},
};

use super::*;

/// A promise by this reason, in which the first control has this owner.
fn promised(world: &World, owner: &str, reason: &str) -> ControlSet {
    let mut controls = starter().to_vec();
    controls[0].owner = owner.into();
    ControlSet {
        format: CONTROLS_FORMAT.into(),
        origin: ORIGIN.into(),
        agent: "test".into(),
        previous: None,
        reason: reason.into(),
        period: None,
        frameworks: FrameworkSet::default(),
        parameters: serde_json::Map::new(),
        controls,
        switched_off: Vec::new(),
        treatments: BTreeMap::new(),
        user_entity_controls: Vec::new(),
        vendor_expectations: Vec::new(),
        scope: world.jobs().scope(),
    }
}

/// The kinds of the log's documents with their digests, in its order.
fn documents(world: &World) -> Vec<(String, Digest)> {
    let archive = Dir::new(world.path("archive").join("test+daemon"));
    let checkpoint = fs::read(world.path("archive").join("test+daemon/checkpoint")).unwrap();
    let size = Checkpoint::parse_unverified(&checkpoint).unwrap().size;
    let mut found = Vec::new();
    entries(&archive, 0, size, &mut |_, leaf| {
        let said = Statement::from_bytes(leaf).unwrap();
        if let Body::Document(document) = said.body {
            found.push((document.kind, said.subject[0].digest.sha256));
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// The sets of controls in the log, in its order.
fn sets(world: &World) -> Vec<(Digest, ControlSet)> {
    let kept = documents(world).into_iter().filter(|(kind, _)| kind == "controls");
    let read = |(_, digest): (String, Digest)| {
        let name = format!("archive/test+daemon/document/controls/{digest}.json");
        (digest, ControlSet::from_bytes(&fs::read(world.path(&name)).unwrap()).unwrap())
    };
    kept.map(read).collect()
}

/// Runs for an hour with this promise.
async fn an_hour(world: &World, set: ControlSet) {
    let agent = world.start_with(|daemon| daemon.promise(set)).await;
    let until = world.clock.now() + hours(1);
    world.clock.sleep_until(until).await;
    assert_eq!(agent.stop().await, done());
}

#[tokio::test(start_paused = true)]
async fn a_promise_is_logged_once_after_the_plan_whose_checks_it_names() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hourly", "@hourly", [Act::Good])]);
    an_hour(&world, promised(&world, "Ada", "the beginning")).await;
    let kinds: Vec<String> = documents(&world).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["keys", "plan", "controls"]);
    let (_, set) = sets(&world).remove(0);
    assert_eq!((set.reason.as_str(), set.previous.as_deref(), set.scope.len()), ("the beginning", None, 1));
    let verdict = world.verify();
    assert_eq!((verdict.numbers.controls, verdict.numbers.other_documents), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_promise_is_found_again_by_a_start_that_knows_nothing_and_another_reason_is_none() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hourly", "@hourly", [Act::Good])]);
    an_hour(&world, promised(&world, "Ada", "the beginning")).await;
    an_hour(&world, promised(&world, "Ada", "again")).await;
    fs::remove_dir_all(world.path("state")).unwrap();
    an_hour(&world, promised(&world, "Ada", "on another machine")).await;
    assert_eq!(sets(&world).len(), 1);
    world.verify();
}

#[tokio::test(start_paused = true)]
async fn what_is_promised_again_after_another_promise_is_logged_again_and_each_names_the_one_before() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hourly", "@hourly", [Act::Good])]);
    for owner in ["Ada", "Grace", "Ada"] {
        an_hour(&world, promised(&world, owner, owner)).await;
    }
    let sets = sets(&world);
    let owners: Vec<&str> = sets.iter().map(|(_, set)| set.controls[0].owner.as_str()).collect();
    assert_eq!(owners, ["Ada", "Grace", "Ada"]);
    let before: Vec<Option<String>> = sets.iter().map(|(_, set)| set.previous.clone()).collect();
    assert_eq!(before, [None, Some(sets[0].0.to_string()), Some(sets[1].0.to_string())]);
    world.verify();
}

#[tokio::test(start_paused = true)]
async fn a_set_that_waits_in_the_spool_is_not_written_twice() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hourly", "@hourly", [Act::Good])]);
    an_hour(&world, promised(&world, "Ada", "")).await;
    let (daemon, pipeline, instance) = world.daemon().await;
    assert!(pipeline.spool_controls(promised(&world, "Grace", "")).await.unwrap());
    drop((daemon, pipeline, instance));
    an_hour(&world, promised(&world, "Grace", "")).await;
    assert_eq!(sets(&world).len(), 2);
    world.verify();
}

#[tokio::test(start_paused = true)]
async fn a_pause_changes_nothing_of_what_is_promised() {
    let world = World::new("2026-06-01T00:30:00Z", &[Fake::new("test/hourly", "@hourly", [Act::Good])]);
    let set = promised(&world, "Ada", "");
    let agent = world.start_with(|daemon| daemon.promise(set)).await;
    world.until("2026-06-01T01:10:00Z").await;
    agent.ask(Ask::Pause { reason: "moving".into() }).await;
    world.until("2026-06-02T01:10:00Z").await;
    agent.ask(Ask::Resume).await;
    world.until("2026-06-02T02:10:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(sets(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_archive_collects_by_what_was_promised_before_and_logs_the_change_once_it_is_back() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    an_hour(&world, promised(&world, "Ada", "")).await;
    fs::write(world.path("away"), b"").unwrap();
    let set = promised(&world, "Grace", "");
    let agent = world.start_with(|daemon| daemon.promise(set)).await;
    world.until("2026-06-01T04:30:00Z").await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 4);
    fs::remove_file(world.path("away")).unwrap();
    world.until("2026-06-01T06:30:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert_eq!(sets(&world).len(), 2);
    world.verify();
}
