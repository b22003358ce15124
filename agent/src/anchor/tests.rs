//! When authorities are asked, what is stored and what entries name, over simulated time. Real tokens are in tests/tests/anchor.rs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic)]

use std::{collections::VecDeque, fs, path::PathBuf};

use chrono::TimeDelta;
use collectors::contract::BoxFuture;
use signing::{digest::Digest, statement::Statement, timestamp::Stamp};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{archive::DirArchive, clock::SimClock, durable::Disk, http::HttpError, keystore, pipeline::Options};

const ORIGIN: &str = "test/anchor";
const MINUTE: Duration = Duration::from_secs(60);

/// What an authority does when it is asked.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A token of so many seconds ahead of the clock.
    Token(i64),
    /// This status, and `Retry-After`.
    Refuse(u16, Option<u64>),
    Hang,
}

/// An authority of a few acts; the last one is repeated.
struct Fake {
    clock: Arc<SimClock>,
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<(Instant, Vec<u8>)>>,
}

impl Fake {
    fn new(world: &World, acts: &[Act]) -> Arc<Self> {
        let acts = Mutex::new(acts.iter().copied().collect());
        Arc::new(Self { clock: world.clock.clone(), acts, asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn waits(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|two| two[1].0 - two[0].0).collect()
    }
}

impl Ask for Arc<Fake> {
    fn ask<'a>(&'a self, message: &'a [u8], within: Duration) -> BoxFuture<'a, Result<Token, AskError>> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((Instant::now(), message.to_vec()));
            asked.len()
        };
        let act = {
            let mut acts = self.acts.lock().unwrap();
            if acts.len() > 1 { acts.pop_front().unwrap() } else { acts[0] }
        };
        Box::pin(async move {
            match act {
                Act::Token(ahead) => {
                    let at = self.clock.now() + TimeDelta::seconds(ahead);
                    let stamp = Stamp {
                        at,
                        earliest: at,
                        latest: at,
                        authority: "fake".into(),
                        root: Digest::of(b"root"),
                        root_name: "root".into(),
                        serial: "01".into(),
                    };
                    let der = format!("token {number} at {at} over {}", Digest::of(message));
                    Ok(Token { der: der.into_bytes(), stamp })
                }
                Act::Refuse(status, retry_after) => {
                    Err(AskError::Status { status, retry_after: retry_after.map(Duration::from_secs) })
                }
                Act::Hang => {
                    sleep(within).await;
                    Err(AskError::Http(HttpError::Slow(within)))
                }
            }
        })
    }
}

struct World {
    dir: TempDir,
    clock: Arc<SimClock>,
    pipeline: Arc<Pipeline>,
    documents: Mutex<u32>,
}

impl World {
    async fn new() -> Self {
        let shared = std::path::Path::new("/dev/shm");
        let dir = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        let clock = Arc::new(SimClock::new("2026-11-22T04:00:00Z".parse().unwrap()));
        keystore::make(&Disk::new(), &dir.path().join("keys"), ORIGIN, "2020-01-01T00:00:00Z".parse().unwrap())
            .unwrap();
        let pipeline = Self::open(&dir, &clock).await;
        Self { dir, clock, pipeline, documents: Mutex::default() }
    }

    async fn open(dir: &TempDir, clock: &Arc<SimClock>) -> Arc<Pipeline> {
        let disk = Disk::new();
        let state_dir = dir.path().join("state");
        disk.make_private_dirs(&state_dir).unwrap();
        let keys = keystore::open(&keystore::Paths::in_dir(&dir.path().join("keys"))).unwrap();
        let options = Options {
            state_dir,
            archive: Arc::new(DirArchive::open(&dir.path().join("archive"), ORIGIN, &disk).unwrap()),
            origin: ORIGIN.into(),
            keys: keys.into(),
            clock: clock.clone(),
            disk,
            instance: "i".into(),
        };
        Arc::new(Pipeline::open(options).await.unwrap())
    }

    fn anchoring(&self, every: Duration, fakes: &[&Arc<Fake>]) -> Anchoring {
        let asked = fakes.iter().enumerate().map(|(n, fake)| {
            let ask: Box<dyn Ask> = Box::new((*fake).clone());
            (format!("http://{n}"), Duration::from_secs(15), ask)
        });
        Anchoring::of(self.pipeline.clone(), every, false, asked.collect())
    }

    /// The log grows by an entry.
    async fn grow(&self) {
        let number = {
            let mut documents = self.documents.lock().unwrap();
            *documents += 1;
            *documents
        };
        let bytes = format!("{{\"note\":{number}}}").into_bytes();
        self.pipeline.spool_document("note", "test", bytes).await.unwrap();
        assert!(self.pipeline.drain().await.unwrap().logged > 0);
    }

    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive").join(layout::origin_directory(ORIGIN))
    }

    /// The names below `anchor/`.
    fn anchors(&self) -> Vec<(u64, Digest, Anchor)> {
        let mut found = Vec::new();
        let root = self.archive();
        for size in fs::read_dir(root.join("anchor")).into_iter().flatten() {
            for file in fs::read_dir(size.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let (size, digest, kind) = layout::parse_anchor(&name).unwrap();
                assert_eq!(Digest::of(&fs::read(path).unwrap()), digest);
                found.push((size, digest, kind));
            }
        }
        found.sort();
        found
    }

    fn tokens(&self) -> usize {
        self.anchors().iter().filter(|(_, _, kind)| *kind == Anchor::Token).count()
    }

    /// The entry that the log ends with.
    fn newest(&self) -> Statement {
        let mut newest = None;
        let size = self.pipeline.checkpoint().unwrap().size;
        signing::log::entries(&signing::store::Dir::new(self.archive()), size - 1, size, &mut |_, leaf| {
            newest = Some(Statement::from_bytes(leaf).unwrap());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        newest.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_grew_is_anchored_at_once_and_then_once_an_interval() {
    let world = World::new().await;
    let fake = Fake::new(&world, &[Act::Token(0)]);
    let mut anchoring = world.anchoring(10 * MINUTE, &[&fake]);
    anchoring.start();
    sleep(MINUTE).await;
    assert_eq!(fake.asked(), 0, "nothing is published yet");
    for _ in 0..30 {
        world.grow().await;
        sleep(MINUTE).await;
    }
    assert_eq!(fake.asked(), 3);
    assert!(fake.waits().iter().all(|wait| *wait >= 10 * MINUTE), "{:?}", fake.waits());
    sleep(60 * MINUTE).await;
    assert_eq!(fake.asked(), 4, "what does not grow is anchored once");
    // Each time the newest checkpoint, as it was published.
    let published = fs::read(world.archive().join("checkpoint")).unwrap();
    assert_eq!(fake.asked.lock().unwrap()[3].1, published);
    let anchors = world.anchors();
    assert_eq!(anchors.len(), 8, "{anchors:?}");
    let size = world.pipeline.checkpoint().unwrap().size;
    assert!(anchors.contains(&(size, Digest::of(&published), Anchor::Checkpoint)));
    assert_eq!(anchoring.status().borrow()[0].size, Some(size));
    assert_eq!(anchoring.finish().await[0].error, None);
    assert_eq!(fake.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_stop_anchors_what_is_new_unless_the_authority_was_just_asked_and_the_next_start_goes_on() {
    let world = World::new().await;
    let fake = Fake::new(&world, &[Act::Token(0)]);
    let mut anchoring = world.anchoring(10 * MINUTE, &[&fake]);
    anchoring.start();
    world.grow().await;
    sleep(MINUTE).await;
    world.grow().await;
    let told = anchoring.finish().await;
    assert_eq!((fake.asked(), told[0].size, &told[0].error), (2, Some(3), &None));

    world.grow().await;
    let told = world.anchoring(10 * MINUTE, &[&fake]).finish().await;
    assert_eq!((fake.asked(), told[0].size), (2, Some(3)));
    assert!(told[0].error.as_ref().unwrap().contains("the next start anchors"), "{told:?}");

    // The interval is remembered over the start.
    let mut anchoring = world.anchoring(10 * MINUTE, &[&fake]);
    anchoring.start();
    sleep(9 * MINUTE).await;
    assert_eq!(fake.asked(), 2);
    sleep(2 * MINUTE).await;
    assert_eq!(fake.asked(), 3);
    assert_eq!(remembered(&world.dir.path().join("state"), ORIGIN)[0].size, Some(4));
    assert!(remembered(&world.dir.path().join("state"), "another/origin").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_fails_is_asked_after_longer_and_longer_and_left_alone_as_long_as_it_says() {
    let world = World::new().await;
    let refuse = Act::Refuse(500, None);
    let fake = Fake::new(&world, &[refuse, refuse, refuse, Act::Refuse(503, Some(7_200)), Act::Token(0)]);
    let mut anchoring = world.anchoring(MINUTE, &[&fake]);
    anchoring.start();
    world.grow().await;
    sleep(240 * MINUTE).await;
    let waits: Vec<u64> = fake.waits().iter().map(Duration::as_secs).collect();
    assert_eq!(waits.len(), 4, "{waits:?}");
    for (wait, expected) in waits.iter().zip([15..=30, 30..=60, 60..=120, 7_200..=7_201]) {
        assert!(expected.contains(wait), "{waits:?}");
    }
    assert_eq!((world.tokens(), &anchoring.status().borrow()[0].error), (1, &None));
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_holds_up_neither_the_other_nor_the_log_nor_for_long_the_stop() {
    let world = World::new().await;
    let (hangs, answers) = (Fake::new(&world, &[Act::Hang]), Fake::new(&world, &[Act::Token(0)]));
    let mut anchoring = world.anchoring(MINUTE, &[&hangs, &answers]);
    anchoring.start();
    for size in 2..5 {
        world.grow().await;
        assert_eq!(world.pipeline.checkpoint().unwrap().size, size);
        sleep(2 * MINUTE).await;
        assert_eq!(anchoring.status().borrow()[1].size, Some(size));
    }
    world.grow().await;
    let begun = Instant::now();
    let told = anchoring.finish().await;
    assert!(begun.elapsed() <= LAST + Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(told[0].error.as_ref().unwrap().contains("did not answer within"), "{told:?}");
    assert_eq!((told[0].size, told[1].size, &told[1].error), (None, Some(5), &None));
    assert_eq!(world.tokens(), 4);
}

#[tokio::test(start_paused = true)]
async fn entries_name_the_newest_stored_token_and_none_that_is_ahead_of_the_clock() {
    let world = World::new().await;
    let fake = Fake::new(&world, &[Act::Token(0), Act::Token(3_600), Act::Token(-3_600), Act::Token(1)]);
    let mut anchoring = world.anchoring(MINUTE, &[&fake]);
    anchoring.start();
    world.grow().await;
    assert_eq!(world.newest().entry.anchor, None);
    let mut named = Vec::new();
    let mut apart = Vec::new();
    for _ in 0..4 {
        sleep(2 * MINUTE).await;
        apart.push(anchoring.status().borrow()[0].apart_seconds);
        world.grow().await;
        let anchor = world.newest().entry.anchor.unwrap();
        assert!(world.anchors().contains(&(anchor.size, anchor.token, Anchor::Token)));
        named.push(anchor.size);
    }
    assert_eq!(named, [2, 2, 2, 5], "one of the future and one of the past are told and stored, and not named");
    assert_eq!(apart, [None, Some(3_600), Some(-3_600), None]);
    assert_eq!(world.tokens(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_archive_does_not_take_is_stored_later_and_not_asked_for_again() {
    let world = World::new().await;
    let fake = Fake::new(&world, &[Act::Token(0)]);
    world.grow().await;
    let blocked = world.archive().join("anchor");
    fs::write(&blocked, "").unwrap();
    let mut anchoring = world.anchoring(MINUTE, &[&fake]);
    anchoring.start();
    sleep(10 * MINUTE).await;
    let told = anchoring.status().borrow()[0].clone();
    assert!(told.error.as_ref().unwrap().contains("cannot be stored"), "{told:?}");
    assert_eq!((fake.asked(), told.size), (1, None));
    world.grow().await;
    assert_eq!(world.newest().entry.anchor, None, "what is not stored is not named");
    fs::remove_file(&blocked).unwrap();
    sleep(30 * MINUTE).await;
    let at: Vec<u64> = world.anchors().iter().map(|(size, _, _)| *size).collect();
    assert_eq!((fake.asked(), at), (2, vec![2, 2, 3, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_start_after_a_crash_between_the_two_writes_anchors_the_same_checkpoint() {
    let world = World::new().await;
    world.grow().await;
    let published = world.pipeline.published().borrow().clone().unwrap();
    let name = layout::anchor(published.size, Digest::of(&published.bytes), Anchor::Checkpoint);
    let bytes = published.bytes.to_vec();
    world.pipeline.options().archive.create(&name, bytes.into()).await.unwrap();
    let fake = Fake::new(&world, &[Act::Token(0)]);
    let told = world.anchoring(MINUTE, &[&fake]).finish().await;
    assert_eq!((told[0].size, world.anchors().len()), (Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_longer_log_than_this_one_is_not_believed() {
    let world = World::new().await;
    world.grow().await;
    let fake = Fake::new(&world, &[Act::Token(0)]);
    world.anchoring(MINUTE, &[&fake]).finish().await;
    let path = world.dir.path().join("state/cache/anchors.json");
    let altered = fs::read_to_string(&path).unwrap().replace("\"size\":2", "\"size\":99");
    fs::write(&path, altered).unwrap();
    let mut anchoring = world.anchoring(MINUTE, &[&fake]);
    anchoring.start();
    sleep(2 * MINUTE).await;
    assert_eq!(fake.asked(), 2);
}
