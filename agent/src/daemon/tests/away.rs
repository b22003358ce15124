//! The archive is away: while the agent runs, at its start, for a week; and what it then says.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_archive_that_is_away_stops_no_run_and_gets_everything_later() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    sleep(Duration::from_secs(120)).await;
    let (archive, aside) = (world.path("archive/test+daemon"), world.path("archive/aside"));
    fs::rename(&archive, &aside).unwrap();
    fs::write(&archive, b"").unwrap();
    world.until("2026-06-01T05:10:00Z").await;
    assert_eq!(fake.runs.load(Ordering::SeqCst), 5);
    let status = agent.status().await;
    assert!(status.spooled >= 5 && status.trouble.is_some(), "{status:?}");
    fs::remove_file(&archive).unwrap();
    fs::rename(&aside, &archive).unwrap();
    world.until("2026-06-01T05:15:00Z").await;
    assert_eq!(agent.pipeline.pending(), 0);
    assert_eq!(agent.stop().await, done());
    assert_eq!(world.coverage("test/hourly@here").counts.judged, 5);
}

#[tokio::test(start_paused = true)]
async fn a_week_without_the_archive_and_a_restart_in_it_leaves_exactly_one_receipt_for_each_slot() {
    let fakes = [
        Fake::new("test/hourly", "@hourly", [Act::Good]),
        Fake::new("test/daily", "30 2 * * *", [Act::Good, Act::Half]),
    ];
    let world = World::new("2026-06-01T00:30:00Z", &fakes);
    let agent = world.start().await;
    world.until("2026-06-02T12:30:00Z").await;
    agent.stop().await;
    fs::write(world.path("away"), b"").unwrap();

    let agent = world.start().await;
    world.until("2026-06-06T12:30:00Z").await;
    let (status, logged) = (agent.status().await, agent.pipeline.checkpoint());
    assert!(status.spooled > 90 && status.trouble.is_some(), "{status:?}");
    agent.kill().await;
    world.clock.jump(hours(3) + TimeDelta::minutes(1));
    let agent = world.start().await;
    world.until("2026-06-09T12:30:00Z").await;
    assert_eq!(agent.pipeline.checkpoint(), logged);
    fs::remove_file(world.path("away")).unwrap();
    world.until("2026-06-09T12:40:00Z").await;
    assert_eq!(agent.pipeline.pending(), 0);
    assert_eq!(agent.stop().await, done());

    let total = world.verify().coverage.unwrap().total;
    assert_eq!((total.uncovered, total.late), (0, 0), "{total:?}");
    // From 1 June 01:00 to 9 June 12:00, and eight nights of Berlin; while it was dead three slots passed.
    assert_eq!((total.judged, total.missed.values().sum::<u64>()), (8 * 24 + 12 + 9, 3), "{total:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_disk_put_back_during_an_outage_takes_what_is_due_from_the_log_when_it_is_back() {
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    let agent = world.start().await;
    world.until("2026-06-01T03:30:00Z").await;
    agent.stop().await;
    let state = world.path("state");
    let older = world.path("older");
    std::process::Command::new("cp").arg("-a").arg(&state).arg(&older).status().unwrap();
    let agent = world.start().await;
    world.until("2026-06-01T06:45:00Z").await;
    agent.stop().await;
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&older, &state).unwrap();
    fs::write(world.path("away"), b"").unwrap();

    let agent = world.start().await;
    world.until("2026-06-01T08:30:00Z").await;
    assert!(agent.status().await.spooled > 2, "by the old disk's word slots are open");
    fs::remove_file(world.path("away")).unwrap();
    world.until("2026-06-01T10:30:00Z").await;
    assert_eq!(agent.stop().await, done());
    assert!(fs::read_dir(state.join("quarantine")).unwrap().count() > 2);
    let total = world.verify().coverage.unwrap().total;
    assert_eq!((total.uncovered, total.judged), (0, 10), "{total:?}");
    // 07:00 and 08:00 were read under a plan that the log never had.
    assert_eq!(total.missed.values().sum::<u64>(), 2, "{total:?}");
}

#[tokio::test(start_paused = true)]
async fn at_its_limit_the_spool_takes_receipts_of_missed_slots_and_no_runs_and_says_so_before() {
    use crate::room::Level;
    let fake = Fake::new("test/hourly", "@hourly", [Act::Good]);
    let mut world = World::new("2026-06-01T00:30:00Z", std::slice::from_ref(&fake));
    world.start().await.stop().await;
    world.max_spool_bytes = Some(60_000);
    fs::write(world.path("away"), b"").unwrap();
    let agent = world.start().await;
    let mut levels = Vec::new();
    for _ in 0..48 {
        sleep(Duration::from_secs(3600)).await;
        let status = agent.status().await;
        assert!(status.away.is_some() && status.oldest.is_some() && status.room.bytes > 0, "{status:?}");
        levels.push(status.room.level);
    }
    assert!(levels.is_sorted(), "{levels:?}");
    levels.dedup();
    assert_eq!(levels, [Level::Ok, Level::Near, Level::Full]);
    let runs = fake.runs.load(Ordering::SeqCst);
    assert!((3..40).contains(&runs), "{runs} runs");
    let refused = agent.ask(Ask::Collect { only: Vec::new() }).await;
    assert!(matches!(&refused[..], [Answer::Refused(why)] if why.contains("max_spool_bytes (60000)")), "{refused:?}");

    fs::remove_file(world.path("away")).unwrap();
    sleep(Duration::from_secs(2 * 3600)).await;
    let status = agent.status().await;
    assert_eq!((status.room.level, status.away, status.spooled), (Level::Ok, None, 0));
    assert!(fake.runs.load(Ordering::SeqCst) > runs, "runs start again");
    assert_eq!(agent.stop().await, done());
    let total = world.verify().coverage.unwrap().total;
    assert_eq!(total.uncovered, 0, "{total:?}");
    assert!(total.missed.len() == 1 && total.missed[&Cause::Blocked] > 5, "{total:?}");
}
