//! Against our own witness over HTTP, and against ones that lie, hang or are away.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic)]

use std::{fs, path::PathBuf, sync::Mutex};

use signing::{
    keys::{FileKey, Signer as _},
    log::witness::Log,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    archive::DirArchive,
    clock::{Clock as _, SystemClock},
    config,
    durable::Disk,
    keystore,
    pipeline::Options,
    witness::{
        server,
        store::{self, Store},
    },
};

const ORIGIN: &str = "test/witness";
const NAME: &str = "witness.example/w";

struct World {
    dir: TempDir,
    pipeline: Arc<Pipeline>,
    documents: Mutex<u32>,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let disk = Disk::new();
        keystore::make(&disk, &dir.path().join("keys"), ORIGIN, "2020-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let state_dir = dir.path().join("state");
        disk.make_private_dirs(&state_dir).unwrap();
        let options = Options {
            state_dir,
            archive: Arc::new(DirArchive::open(&dir.path().join("archive"), ORIGIN, &disk).unwrap()),
            origin: ORIGIN.into(),
            keys: keystore::open(&keystore::Paths::in_dir(&dir.path().join("keys"))).unwrap().into(),
            clock: Arc::new(SystemClock),
            disk,
            instance: "i".into(),
        };
        let pipeline = Arc::new(Pipeline::open(options).await.unwrap());
        let world = Self { dir, pipeline, documents: Mutex::default() };
        world.grow().await;
        world
    }

    /// The log grows; how many entries it has then.
    async fn grow(&self) -> u64 {
        let number = {
            let mut documents = self.documents.lock().unwrap();
            *documents += 1;
            *documents
        };
        self.pipeline.spool_document("note", "test", format!("{{\"note\":{number}}}").into_bytes()).await.unwrap();
        assert!(self.pipeline.drain().await.unwrap().logged > 0);
        self.pipeline.checkpoint().unwrap().size
    }

    fn published(&self) -> Published {
        self.pipeline.published().borrow().clone().unwrap()
    }

    /// The stored cosignatures, each with its size.
    fn cosigned(&self) -> Vec<(u64, PathBuf)> {
        let anchors = self.dir.path().join("archive").join(layout::origin_directory(ORIGIN)).join("anchor");
        let mut found = Vec::new();
        for size in fs::read_dir(anchors).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            for file in fs::read_dir(&size).unwrap().map(|entry| entry.unwrap().path()) {
                if file.extension().is_some_and(|extension| extension == "cosig") {
                    found.push((size.file_name().unwrap().to_str().unwrap().parse().unwrap(), file));
                }
            }
        }
        found.sort();
        found
    }

    fn config(&self, url: &str, key: &WitnessKey) -> WitnessConfig {
        WitnessConfig { url: url.to_owned(), key: key.vkey(), every: config::Duration::seconds(1) }
    }

    fn keeper(&self, url: &str, key: &WitnessKey) -> Keeper {
        let config = self.config(url, key);
        Witnessing::open(self.pipeline.clone(), &[config]).unwrap().unwrap().resting.remove(0)
    }

    /// Our own witness, and where it listens.
    async fn witness(&self) -> (WitnessKey, String) {
        let (state, key) = (self.dir.path().join("witness"), self.dir.path().join("witness.pem"));
        let made = store::init(&Disk::new(), &state, &key, NAME).unwrap();
        let keys = vec![*self.pipeline.options().keys.now().checkpoints.public()];
        let logs = vec![Log { origin: ORIGIN.into(), keys }];
        let store = Arc::new(Store::open(&Disk::new(), &state, &key, logs).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(listener, store, Arc::new(SystemClock), std::future::pending()));
        (made.witness, url)
    }
}

fn key(seed: u8) -> (FileKey, WitnessKey) {
    let key = FileKey::from_seed(&[seed; 32]);
    let witness = WitnessKey::new(NAME, *key.public()).unwrap();
    (key, witness)
}

/// Answers each request with a status and a body; `None`: never.
async fn fake(answer: impl Fn(&[u8]) -> Option<(u16, Vec<u8>)> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let body = request(&mut stream).await;
            let Some((status, body)) = answer(&body) else {
                hanging.push(stream);
                continue;
            };
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    url
}

async fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if read.len() >= end + 4 + length.parse::<usize>().unwrap() {
                return read.split_off(end + 4);
            }
        }
        let mut some = [0; 4096];
        let length = stream.read(&mut some).await.unwrap();
        assert!(length > 0, "the client went away");
        read.extend_from_slice(&some[..length]);
    }
}

#[tokio::test]
async fn each_published_checkpoint_is_cosigned_and_the_signature_stored_beside_it() {
    let world = World::new().await;
    let (witness, url) = world.witness().await;
    let mut keeper = world.keeper(&url, &witness);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let published = world.published();
        keeper.try_submit(&published, WITHIN).await.unwrap();
        keeper.cosigned = published.size;
        sizes.push(published.size);
        let name = layout::anchor(published.size, Digest::of(&published.bytes), Anchor::Checkpoint);
        let kept = world.pipeline.options().archive.read(&name, MAX_CHECKPOINT).await.unwrap();
        assert_eq!(kept.as_deref(), Some(&*published.bytes));
        world.grow().await;
    }
    let cosigned = world.cosigned();
    assert_eq!(cosigned.iter().map(|(size, _)| *size).collect::<Vec<_>>(), sizes);
    let (_, newest) = cosigned.last().unwrap();
    let bytes = fs::read(newest).unwrap();
    assert_eq!(newest.file_stem().unwrap().to_str().unwrap(), Digest::of(&bytes).to_string());
    let checkpoint = store::look(&world.dir.path().join("witness")).unwrap().1[0].checkpoint.clone();
    cosignature::verify(&bytes, checkpoint.text().as_bytes(), &[witness]).unwrap();
}

#[tokio::test]
async fn the_daemons_part_submits_when_the_log_grows_and_once_more_at_the_end() {
    let world = World::new().await;
    let (witness, url) = world.witness().await;
    let mut witnessing = Witnessing::open(world.pipeline.clone(), &[world.config(&url, &witness)]).unwrap().unwrap();
    let mut status = witnessing.status();
    witnessing.start();
    let first = world.published().size;
    status.wait_for(|all| all[0].size == Some(first)).await.unwrap();
    let size = world.grow().await;
    let last = witnessing.finish().await;
    assert_eq!((last[0].size, last[0].error.clone(), last[0].name.as_str()), (Some(size), None, NAME));
    assert_eq!(world.cosigned().len(), 2);
}

#[tokio::test]
async fn a_start_does_not_ask_again_for_what_is_there() {
    let world = World::new().await;
    let (witness, url) = world.witness().await;
    let published = world.published();
    let at = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap();
    // Nobody listens there.
    let again = world.keeper("http://127.0.0.1:1", &witness).try_submit(&published, WITHIN).await.unwrap();
    assert_eq!((again, world.cosigned().len()), (at, 1));
}

#[tokio::test]
async fn a_restarted_client_learns_the_witnesss_size_and_goes_on() {
    let world = World::new().await;
    let (witness, url) = world.witness().await;
    world.keeper(&url, &witness).try_submit(&world.published(), WITHIN).await.unwrap();
    for _ in 0..5 {
        world.grow().await;
    }
    world.keeper(&url, &witness).try_submit(&world.published(), WITHIN).await.unwrap();
    assert_eq!(world.cosigned().len(), 2);
}

#[tokio::test]
async fn a_witness_that_is_ahead_or_holds_another_tree_is_an_alarm() {
    let world = World::new().await;
    let (_, witness) = key(3);
    let published = world.published();
    let url = fake(|_| Some((409, b"1000\n".to_vec()))).await;
    let ahead = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
    assert!(matches!(ahead, SubmitError::Ahead { held: 1000, .. }) && ahead.is_alarm(), "{ahead}");
    let size = published.size;
    let url = fake(move |_| Some((409, format!("{size}\n").into_bytes()))).await;
    let fork = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
    assert!(matches!(fork, SubmitError::Fork(at) if at == size) && fork.is_alarm(), "{fork}");
    let url = fake(|_| Some((422, b"it does not continue\n".to_vec()))).await;
    let refused = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
    assert!(refused.is_alarm() && refused.to_string().contains("it does not continue"), "{refused}");
    for sizes in [&b"x\n"[..], b"", b"01\n", b"1", b"-1\n"] {
        let url = fake(move |_| Some((409, sizes.to_vec()))).await;
        let none = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
        assert!(matches!(none, SubmitError::Size), "{none}");
    }
    assert!(world.cosigned().is_empty());
}

#[tokio::test]
async fn a_witness_that_lies_is_not_believed_and_nothing_of_it_is_kept() {
    let world = World::new().await;
    let published = world.published();
    let text = Checkpoint::parse_unverified(&published.bytes).unwrap().text().into_bytes();
    let other_text = [b"another/log\n", text.split_once_line()].concat();
    let now = SystemClock.now();
    let (own, witness) = key(3);
    let (foreign, stranger) = key(4);
    let line = |key: &FileKey, witness: &WitnessKey, text: &[u8], at: Utc| {
        Cosignature::sign(witness, key, text, at).unwrap().to_line().into_bytes()
    };
    let lies = [
        ("another key", line(&foreign, &stranger, &text, now)),
        ("another text", line(&own, &witness, &other_text, now)),
        ("yesterday", line(&own, &witness, &text, now - TimeDelta::days(1))),
        ("tomorrow", line(&own, &witness, &text, now + TimeDelta::days(1))),
        ("nothing", Vec::new()),
        ("no lines", b"signed, believe me\n".to_vec()),
        ("the checkpoint itself", published.bytes.to_vec()),
    ];
    for (what, lie) in lies {
        let url = fake(move |_| Some((200, lie.clone()))).await;
        let error = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
        assert!(matches!(error, SubmitError::Cosignature(_) | SubmitError::Time { .. }), "{what}: {error}");
    }
    assert!(world.cosigned().is_empty());
    let truth = line(&own, &witness, &text, now);
    let with_others = [line(&foreign, &stranger, &text, now), truth.clone()].concat();
    let url = fake(move |_| Some((200, with_others.clone()))).await;
    world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap();
    let (_, kept) = world.cosigned().remove(0);
    assert_eq!(fs::read(kept).unwrap(), truth);
}

trait Lines {
    fn split_once_line(&self) -> &[u8];
}

impl Lines for Vec<u8> {
    /// All but the first line.
    fn split_once_line(&self) -> &[u8] {
        &self[self.iter().position(|byte| *byte == b'\n').unwrap() + 1..]
    }
}

#[tokio::test]
async fn a_witness_that_is_away_slow_or_talks_without_end_costs_no_more_than_it_may() {
    let world = World::new().await;
    let published = world.published();
    let (_, witness) = key(3);
    let away = world.keeper("http://127.0.0.1:1", &witness).try_submit(&published, WITHIN).await.unwrap_err();
    assert!(matches!(away, SubmitError::Http(HttpError::Away(_))), "{away}");
    let url = fake(|_| None).await;
    let short = Duration::from_millis(300);
    let slow = world.keeper(&url, &witness).try_submit(&published, short).await.unwrap_err();
    assert!(matches!(slow, SubmitError::Http(HttpError::Slow(_))), "{slow}");
    let url = fake(|_| Some((200, vec![b'x'; 1 << 20]))).await;
    let long = world.keeper(&url, &witness).try_submit(&published, WITHIN).await.unwrap_err();
    assert!(matches!(long, SubmitError::Http(HttpError::TooLong(_))), "{long}");
}

#[tokio::test]
async fn a_failure_is_told_and_tried_again_later_and_evidence_goes_on() {
    let world = World::new().await;
    let (_, witness) = key(3);
    let mut keeper = world.keeper("http://127.0.0.1:1", &witness);
    let status = keeper.status.clone();
    let mut waits = Vec::new();
    for _ in 0..3 {
        keeper.submit(WITHIN).await;
        waits.push(keeper.due - Instant::now());
        world.grow().await;
    }
    assert!(status.borrow()[0].error.as_ref().unwrap().contains("cannot be reached"), "{:?}", status.borrow());
    assert!(waits.is_sorted() && waits[2] <= AGAIN * 5, "{waits:?}");
}
