//! What every archive promises, whatever it lies in. Each function is a promise; the writers are handles of one empty origin, and may be handles of
//! one process or of several agents.

// A promise that is not kept panics with what was found.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, io::Write as _, sync::Arc};

use agent::archive::{Archive, ArchiveError, Body, Created};
use signing::{digest::Digest, layout::CHECKPOINT};

/// Handles of one origin.
pub type Writers = [Arc<dyn Archive>];

/// Objects of a listing that does not fit on one page of S3.
const MORE_THAN_A_PAGE: usize = 1_003;

/// Longer than what is sent in one request.
const LARGE: usize = (16 << 20) + 4_321;

/// All of them, in turn.
pub async fn all(writers: &Writers) {
    let first = &writers[0];
    absent_is_absent_and_what_is_longer_than_allowed_is_an_error(first).await;
    the_same_bytes_are_a_success_and_other_bytes_an_alarm(first).await;
    of_many_writers_one_creates(writers).await;
    of_many_writers_one_replaces_the_checkpoint(writers).await;
    a_large_file_arrives_whole_and_is_compared_whole(first).await;
    names_that_are_none_are_refused(first).await;
    only_what_is_superseded_can_be_removed(first).await;
    everything_is_listed_in_order(first).await;
    what_blocks_reads_the_same(first).await;
}

/// `None` only where there is nothing.
pub async fn absent_is_absent_and_what_is_longer_than_allowed_is_an_error(archive: &Arc<dyn Archive>) {
    assert_eq!(archive.read("seal/none", 10).await.unwrap(), None);
    assert_eq!(archive.digest("seal/none").await.unwrap(), None);
    assert_eq!(archive.list("seal/").await.unwrap(), Vec::<String>::new());
    archive.create("seal/ten", b"0123456789".to_vec().into()).await.unwrap();
    assert_eq!(archive.read("seal/ten", 10).await.unwrap().unwrap(), b"0123456789");
    let refused = archive.read("seal/ten", 9).await.unwrap_err();
    assert!(matches!(refused, ArchiveError::Io { .. }), "{refused}");
    archive.create("seal/empty", Vec::new().into()).await.unwrap();
    assert_eq!(archive.read("seal/empty", 0).await.unwrap().unwrap(), b"");
}

/// And the alarm names both.
pub async fn the_same_bytes_are_a_success_and_other_bytes_an_alarm(archive: &Arc<dyn Archive>) {
    let name = "document/plan/one.json";
    assert_eq!(archive.create(name, b"one".to_vec().into()).await.unwrap(), Created::New);
    assert_eq!(archive.create(name, b"one".to_vec().into()).await.unwrap(), Created::Same);
    let alarm = archive.create(name, b"two".to_vec().into()).await.unwrap_err();
    assert!(
        matches!(&alarm, ArchiveError::OtherBytes { name: n, found, ours, .. }
            if n == name && *found == Digest::of(b"one") && *ours == Digest::of(b"two")),
        "{alarm}"
    );
    assert_eq!(archive.read(name, 10).await.unwrap().unwrap(), b"one");
    assert_eq!(archive.digest(name).await.unwrap(), Some(Digest::of(b"one")));
}

/// Others are told that they did not.
pub async fn of_many_writers_one_creates(writers: &Writers) {
    for round in 0..4 {
        let name = format!("append/{round}");
        let mut all = tokio::task::JoinSet::new();
        for (at, writer) in writers.iter().enumerate() {
            let (writer, name) = (writer.clone(), name.clone());
            all.spawn(async move { (at, writer.create(&name, format!("writer {at}").into_bytes().into()).await) });
        }
        let (mut created, mut refused) = (Vec::new(), 0);
        for (at, done) in all.join_all().await {
            match done {
                Ok(Created::New) => created.push(at),
                Err(ArchiveError::OtherBytes { .. }) => refused += 1,
                other => panic!("writer {at}: {other:?}"),
            }
        }
        assert_eq!((created.len(), refused), (1, writers.len() - 1));
        let there = writers[0].read(&name, 100).await.unwrap().unwrap();
        assert_eq!(there, format!("writer {}", created[0]).into_bytes());
    }
}

/// Whoever is late is told that it moved.
pub async fn of_many_writers_one_replaces_the_checkpoint(writers: &Writers) {
    let first = &writers[0];
    first.replace_checkpoint(None, b"0").await.unwrap();
    // Already there: a success.
    first.replace_checkpoint(None, b"0").await.unwrap();
    for stale in [None, Some(&b"older"[..])] {
        let refused = first.replace_checkpoint(stale, b"x").await.unwrap_err();
        assert!(matches!(refused, ArchiveError::CheckpointMoved { .. }), "{refused}");
    }
    let mut old = b"0".to_vec();
    for round in 1..5 {
        let mut all = tokio::task::JoinSet::new();
        for (at, writer) in writers.iter().enumerate() {
            let (writer, old) = (writer.clone(), old.clone());
            let new = format!("{round} by {at}").into_bytes();
            all.spawn(async move { (new.clone(), writer.replace_checkpoint(Some(&old), &new).await) });
        }
        let mut won = Vec::new();
        for (new, done) in all.join_all().await {
            match done {
                Ok(()) => won.push(new),
                Err(ArchiveError::CheckpointMoved { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        old = won.remove(0);
        assert_eq!(first.read(CHECKPOINT, 100).await.unwrap().unwrap(), old);
    }
}

/// Sent in parts, where the store has such.
pub async fn a_large_file_arrives_whole_and_is_compared_whole(archive: &Arc<dyn Archive>) {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    let bytes: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    file.write_all(&bytes).expect("a scratch file can be written");
    let name = "bundle/2026/11/22/large.zip";
    let body = || Body::File(file.path().to_owned());
    assert_eq!(archive.create(name, body()).await.unwrap(), Created::New);
    assert_eq!(archive.digest(name).await.unwrap(), Some(Digest::of(&bytes)));
    assert_eq!(archive.create(name, body()).await.unwrap(), Created::Same);
    let mut other = tempfile::NamedTempFile::new().expect("a scratch file can be made");
    other.write_all(&bytes[1..]).and_then(|()| other.write_all(b"!")).expect("a scratch file can be written");
    let alarm = archive.create(name, Body::File(other.path().to_owned())).await.unwrap_err();
    assert!(matches!(alarm, ArchiveError::OtherBytes { .. }), "{alarm}");
    assert_eq!(archive.digest(name).await.unwrap(), Some(Digest::of(&bytes)));
}

/// Names that this program never makes.
pub async fn names_that_are_none_are_refused(archive: &Arc<dyn Archive>) {
    for name in ["", "/x", "a//b", "../x", "a/.tmp-1", "c:\\x", "seal/"] {
        let refused = archive.create(name, b"x".to_vec().into()).await.unwrap_err();
        assert!(matches!(refused, ArchiveError::Refused { .. }), "{name:?}: {refused}");
    }
}

/// And nothing at all where the agent has no right to.
pub async fn only_what_is_superseded_can_be_removed(archive: &Arc<dyn Archive>) {
    for name in ["tile/0/001", "seal/x", "bundle/x.p/1"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
    }
    for name in ["tile/0/001", "checkpoint", "seal/x", "append/../checkpoint", "bundle/x.p/1"] {
        let refused = archive.remove(name).await.unwrap_err();
        assert!(matches!(refused, ArchiveError::Refused { .. }), "{name}: {refused}");
    }
    for name in ["append/5", "tile/0/000.p/5", "tile/entries/000.p/5"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
        if archive.removes() {
            archive.remove(name).await.unwrap();
            archive.remove(name).await.unwrap();
            assert_eq!(archive.read(name, 10).await.unwrap(), None);
        } else {
            assert!(matches!(archive.remove(name).await.unwrap_err(), ArchiveError::Refused { .. }));
            assert_eq!(archive.read(name, 10).await.unwrap().unwrap(), b"x");
        }
    }
}

/// Over all pages, and below the prefix only.
pub async fn everything_is_listed_in_order(archive: &Arc<dyn Archive>) {
    let mut all = tokio::task::JoinSet::new();
    for at in 0..MORE_THAN_A_PAGE {
        let archive = archive.clone();
        all.spawn(async move {
            archive.create(&format!("anchor/{at}/x.tsr"), b"x".to_vec().into()).await.unwrap();
        });
        if at % 16 == 15 {
            all.join_next().await.expect("it runs").expect("it succeeds");
        }
    }
    all.join_all().await;
    archive.create("anchors/no", b"x".to_vec().into()).await.unwrap();
    let expected: BTreeSet<String> = (0..MORE_THAN_A_PAGE).map(|at| format!("anchor/{at}/x.tsr")).collect();
    let listed = archive.list("anchor/").await.unwrap();
    assert!(listed.iter().eq(&expected), "{} of {} are listed", listed.len(), expected.len());
    let whole = archive.list("").await.unwrap();
    assert!(whole.is_sorted() && whole.len() > listed.len());
}

/// Streams and blocks.
pub async fn what_blocks_reads_the_same(archive: &Arc<dyn Archive>) {
    let (reader, names) = (archive.reader(), archive.list("").await.unwrap());
    let large = archive.digest("bundle/2026/11/22/large.zip").await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut listed = Vec::new();
        reader.list("", &mut |name| listed.push(name.to_owned())).unwrap();
        listed.sort_unstable();
        assert_eq!(listed, names);
        assert!(reader.open("seal/none").unwrap().is_none());
        assert_eq!(reader.read("seal/ten", 10).unwrap().unwrap(), b"0123456789");
        let mut stream = reader.open("bundle/2026/11/22/large.zip").unwrap().expect("it is there");
        let (digest, length) = Digest::read(&mut stream).unwrap();
        assert_eq!((Some(digest), length), (large, LARGE as u64));
    })
    .await
    .expect("the reader reads");
}
