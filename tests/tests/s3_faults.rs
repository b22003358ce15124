//! What a store's answers leave open is settled by reading back, and what it refuses is never taken for an absence. The faults are made
//! between the agent and a server that others wrote.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{io::Write as _, sync::Arc, time::Duration};

use agent::archive::{Archive, ArchiveError, Body, Created};
use signing::{digest::Digest, layout::CHECKPOINT};
use tests::{
    aws::Ministack,
    s3::{
        Bucket, KEYS,
        proxy::{Fault, Proxy},
    },
};

/// As often as the agent asks.
const ALWAYS: u32 = 1_000;

struct World {
    proxy: Proxy,
    bucket: Bucket,
    // Ends last.
    _server: Ministack,
}

impl World {
    async fn new() -> (Self, Arc<dyn Archive>) {
        let server = Ministack::start();
        let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
        let proxy = Proxy::start(server.port());
        let archive = Arc::new(bucket.archive_through(&proxy).await);
        (Self { proxy, bucket, _server: server }, archive)
    }

    fn fault(&self, method: &'static str, part: &'static str, times: u32, fault: Fault) {
        self.proxy.fault(method, part, times, fault);
    }

    /// How many versions of an object there are.
    async fn versions(&self, name: &str) -> usize {
        let listed = self.bucket.owner().list_object_versions().bucket(&self.bucket.name);
        listed.prefix(self.bucket.key(name)).send().await.unwrap().versions().len()
    }

    async fn uploads(&self) -> usize {
        let listed = self.bucket.owner().list_multipart_uploads().bucket(&self.bucket.name).send().await.unwrap();
        listed.uploads().len()
    }
}

fn large(fill: u8) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![fill; (16 << 20) + 1]).unwrap();
    file
}

fn is_refused(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_found_and_is_a_success() {
    let (world, archive) = World::new().await;
    // The first answer is lost, and the second says 412.
    world.fault("PUT", "/seal/once", 1, Fault::LoseAnswer);
    assert_eq!(archive.create("seal/once", b"x".to_vec().into()).await.unwrap(), Created::Same);
    // Every answer is lost.
    world.fault("PUT", "/seal/always", ALWAYS, Fault::LoseAnswer);
    assert_eq!(archive.create("seal/always", b"x".to_vec().into()).await.unwrap(), Created::Same);
    for name in ["seal/once", "seal/always"] {
        assert_eq!(world.versions(name).await, 1, "{name}");
    }
    // What somebody else wrote meanwhile is no success.
    world.bucket.archive().await.create("seal/theirs", b"y".to_vec().into()).await.unwrap();
    world.fault("PUT", "/seal/theirs", ALWAYS, Fault::LoseAnswer);
    let alarm = archive.create("seal/theirs", b"x".to_vec().into()).await.unwrap_err();
    assert!(matches!(alarm, ArchiveError::OtherBytes { .. }), "{alarm}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_answer_was_lost_is_found_and_one_that_never_arrived_is_not() {
    let (world, archive) = World::new().await;
    world.fault("PUT", "/checkpoint", 1, Fault::LoseAnswer);
    archive.replace_checkpoint(None, b"1").await.unwrap();
    world.fault("PUT", "/checkpoint", ALWAYS, Fault::LoseAnswer);
    archive.replace_checkpoint(Some(b"1"), b"2").await.unwrap();
    world.proxy.sound();
    world.fault("PUT", "/checkpoint", ALWAYS, Fault::Drop);
    let away = archive.replace_checkpoint(Some(b"2"), b"3").await.unwrap_err();
    assert!(matches!(away, ArchiveError::Io { .. }), "{away}");
    world.proxy.sound();
    archive.replace_checkpoint(Some(b"2"), b"3").await.unwrap();
    assert_eq!(archive.read(CHECKPOINT, 10).await.unwrap().unwrap(), b"3");
    assert_eq!(world.versions(CHECKPOINT).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_the_same_time_and_stores_that_are_busy_are_tried_again() {
    let (world, archive) = World::new().await;
    world.fault("PUT", "/seal/conflict", 3, Fault::Refuse(409, "ConditionalRequestConflict"));
    assert_eq!(archive.create("seal/conflict", b"x".to_vec().into()).await.unwrap(), Created::New);
    world.fault("PUT", "/checkpoint", 3, Fault::Refuse(409, "ConditionalRequestConflict"));
    archive.replace_checkpoint(None, b"1").await.unwrap();
    world.fault("PUT", "/seal/busy", 2, Fault::Refuse(503, "SlowDown"));
    assert_eq!(archive.create("seal/busy", b"x".to_vec().into()).await.unwrap(), Created::New);
    world.fault("GET", "/seal/busy", 2, Fault::Refuse(500, "InternalError"));
    world.fault("GET", "/seal/busy", 1, Fault::Late(Duration::from_millis(500)));
    assert_eq!(archive.read("seal/busy", 10).await.unwrap().unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_busy_is_an_error_after_which_the_object_is_whole_or_absent() {
    let (world, archive) = World::new().await;
    world.fault("PUT", "/seal/x", ALWAYS, Fault::Refuse(503, "SlowDown"));
    let away = archive.create("seal/x", b"x".to_vec().into()).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Io { action: "create", .. }), "{away}");
    assert_eq!(archive.read("seal/x", 10).await.unwrap(), None);
    world.proxy.sound();
    assert_eq!(archive.create("seal/x", b"x".to_vec().into()).await.unwrap(), Created::New);
    // Neither can be read back, so that nothing is known: an error too, and no alarm.
    world.fault("PUT", "/seal/y", ALWAYS, Fault::LoseAnswer);
    world.fault("GET", "/seal/y", ALWAYS, Fault::Drop);
    let away = archive.create("seal/y", b"y".to_vec().into()).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Io { action: "create", .. }), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_never_an_absence_and_names_the_right_that_is_missing() {
    let (world, archive) = World::new().await;
    world.fault("GET", "/seal/none", ALWAYS, Fault::Refuse(403, "AccessDenied"));
    for refused in [
        archive.read("seal/none", 10).await.map(|_| ()).unwrap_err(),
        archive.digest("seal/none").await.map(|_| ()).unwrap_err(),
    ] {
        assert!(is_refused(&refused), "{refused}");
        assert!(signing::errors::chain(&refused).contains("s3:ListBucket"), "{}", signing::errors::chain(&refused));
    }
    world.fault("GET", "list-type=2", ALWAYS, Fault::Refuse(403, "AccessDenied"));
    assert!(is_refused(&archive.list("seal/").await.unwrap_err()));
    world.fault("PUT", "/seal/none", ALWAYS, Fault::Refuse(403, "AccessDenied"));
    let refused = archive.create("seal/none", b"x".to_vec().into()).await.unwrap_err();
    assert!(is_refused(&refused) && signing::errors::chain(&refused).contains("s3:PutObject"));
    world.fault("GET", "/seal/old", ALWAYS, Fault::Refuse(400, "ExpiredToken"));
    let expired = archive.read("seal/old", 10).await.unwrap_err();
    assert!(signing::errors::chain(&expired).contains("the credentials have expired"), "{expired:?}");
    world.fault("GET", "/seal/lost", ALWAYS, Fault::Refuse(404, "NoSuchBucket"));
    let gone = archive.read("seal/lost", 10).await.unwrap_err();
    assert!(signing::errors::chain(&gone).contains("there is no such bucket"), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_read_on_where_it_did() {
    let (world, archive) = World::new().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253) as u8).collect();
    archive.create("bundle/long.zip", bytes.clone().into()).await.unwrap();
    world.fault("GET", "/bundle/long.zip", 3, Fault::CutAnswer(700_000));
    assert_eq!(archive.digest("bundle/long.zip").await.unwrap(), Some(Digest::of(&bytes)));
    let ranges = world.proxy.asked().iter().filter(|asked| asked.method == "GET").count();
    assert_eq!(ranges, 4);
    // One that breaks off without end is an error, and not a shorter object.
    world.fault("GET", "/bundle/long.zip", ALWAYS, Fault::CutAnswer(1));
    let broken = archive.digest("bundle/long.zip").await.unwrap_err();
    assert!(signing::errors::chain(&broken).contains("broke off"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listing_that_fails_is_no_shorter_listing() {
    let (world, archive) = World::new().await;
    archive.create("seal/x", b"x".to_vec().into()).await.unwrap();
    world.fault("GET", "list-type=2", ALWAYS, Fault::Refuse(503, "SlowDown"));
    let away = archive.list("").await.unwrap_err();
    assert!(matches!(away, ArchiveError::Io { action: "list", .. }), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bundle_survives_lost_answers_and_leaves_no_unfinished_upload() {
    let (world, archive) = World::new().await;
    let (file, name) = (large(7), "bundle/large.zip");
    world.fault("PUT", "partNumber=2", 1, Fault::Refuse(503, "SlowDown"));
    world.fault("PUT", "partNumber=1", 1, Fault::LoseAnswer);
    world.fault("POST", "uploadId=", ALWAYS, Fault::LoseAnswer);
    let created = archive.create(name, Body::File(file.path().to_owned())).await.unwrap();
    assert_eq!(created, Created::Same);
    world.proxy.sound();
    let digest = Digest::of(&std::fs::read(file.path()).unwrap());
    assert_eq!(archive.digest(name).await.unwrap(), Some(digest));
    assert_eq!((world.versions(name).await, world.uploads().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_that_fails_is_aborted_and_its_next_try_is_whole() {
    let (world, archive) = World::new().await;
    let (file, name) = (large(9), "bundle/large.zip");
    world.fault("PUT", "partNumber=3", ALWAYS, Fault::Refuse(403, "AccessDenied"));
    let refused = archive.create(name, Body::File(file.path().to_owned())).await.unwrap_err();
    assert!(is_refused(&refused), "{refused}");
    assert_eq!((world.versions(name).await, world.uploads().await), (0, 0));
    world.proxy.sound();
    assert_eq!(archive.create(name, Body::File(file.path().to_owned())).await.unwrap(), Created::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_delete_marker_hides_is_no_absence_unless_it_may_be_removed() {
    let (world, archive) = World::new().await;
    for name in ["seal/x", "append/1"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
        let gone = world.bucket.owner().delete_object().bucket(&world.bucket.name).key(world.bucket.key(name));
        gone.send().await.unwrap();
    }
    let hidden = archive.read("seal/x", 10).await.unwrap_err();
    assert!(signing::errors::chain(&hidden).contains("a delete marker hides it"), "{hidden:?}");
    assert_eq!(archive.read("append/1", 10).await.unwrap(), None);
}
