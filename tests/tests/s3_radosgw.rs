//! Ceph's S3 server refuses what Object Lock must refuse, whoever asks, and honours no create-only writes: a strong lock on a store for one
//! agent.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use agent::{
    archive::{
        Archive, ArchiveError, S3Archive,
        s3::{Answer, LockMode, ObjectLock, S3Config},
    },
    clock::{Clock as _, SystemClock},
    durable::Disk,
};
use aws_sdk_s3::{
    error::ProvideErrorMetadata as _,
    primitives::DateTime,
    types::{
        BucketVersioningStatus, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention,
        ObjectLockRetentionMode, VersioningConfiguration,
    },
};
use tests::{
    conformance,
    s3::{Bucket, Radosgw},
};

/// One for all tests: it takes 15 s to start, and ends with the process.
fn server() -> Option<&'static Radosgw> {
    static SERVER: OnceLock<Option<Radosgw>> = OnceLock::new();
    SERVER.get_or_init(Radosgw::start).as_ref()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_from_a_store_that_keeps_agents_apart_and_one_agent_is_served() {
    let Some(server) = server() else { return };
    let (state, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let bucket = Bucket::make(&server.endpoint(), Radosgw::KEYS, true).await;
    let config = bucket.config();
    let archive = S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    let found = archive.examine(&config, state.path()).await;
    let found: BTreeMap<String, Answer> = found.iter().map(|f| (f.property.to_string(), f.answer)).collect();
    for property in ["versioning", "Object Lock", "no default retention", "clock"] {
        assert_eq!(found[property], Answer::Holds, "{property}: {found:?}");
    }
    for property in ["create-only writes", "compare and swap", "checksums"] {
        assert_eq!(found[property], Answer::Lacks, "{property}: {found:?}");
    }
    // The agent looks before it writes, so that all promises but those about several agents are kept.
    let writers: [Arc<dyn Archive>; 1] = [Arc::new(archive)];
    conformance::all(&writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_object_lock_is_refused() {
    let Some(server) = server() else { return };
    let (state, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let bucket = Bucket::make(&server.endpoint(), Radosgw::KEYS, false).await;
    let unfit = S3Archive::open(bucket.open(&bucket.config(), state.path(), &disk)).await.unwrap_err();
    assert!(matches!(unfit, ArchiveError::Unfit { .. }), "{unfit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_locked_in_compliance_mode_nobody_deletes_shortens_or_uncovers() {
    let Some(server) = server() else { return };
    let (state, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let bucket = Bucket::make(&server.endpoint(), Radosgw::KEYS, true).await;
    let lock =
        ObjectLock { mode: Some(LockMode::Compliance), retention: Some("30d".parse().unwrap()), legal_hold: false };
    let config = S3Config { object_lock: lock, ..bucket.config() };
    let archive = S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    archive.create("seal/x", b"x".to_vec().into()).await.unwrap();
    let (owner, name, key) = (bucket.owner(), bucket.name.as_str(), bucket.key("seal/x"));
    let versions = owner.list_object_versions().bucket(name).prefix(&key).send().await.unwrap();
    let version = versions.versions()[0].version_id().unwrap().to_owned();

    let delete = owner.delete_object().bucket(name).key(&key).version_id(&version).bypass_governance_retention(true);
    assert_eq!(delete.send().await.unwrap_err().into_service_error().code(), Some("AccessDenied"));
    let tomorrow = SystemClock.now().timestamp() + 86_400;
    for mode in [ObjectLockRetentionMode::Compliance, ObjectLockRetentionMode::Governance] {
        let shorter = ObjectLockRetention::builder().mode(mode).retain_until_date(DateTime::from_secs(tomorrow));
        let set = owner.put_object_retention().bucket(name).key(&key).bypass_governance_retention(true);
        assert!(set.retention(shorter.build()).send().await.is_err());
    }
    let off = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    assert!(owner.put_bucket_versioning().bucket(name).versioning_configuration(off).send().await.is_err());

    // Covered by another version, the locked one is still there.
    owner.put_object().bucket(name).key(&key).body(b"forged".to_vec().into()).send().await.unwrap();
    let first = owner.get_object().bucket(name).key(&key).version_id(&version).send().await.unwrap();
    assert_eq!(first.body.collect().await.unwrap().to_vec(), b"x");
    // The agent sees that something else is there, and replaces nothing.
    let alarm = archive.create("seal/x", b"x".to_vec().into()).await.unwrap_err();
    assert!(matches!(alarm, ArchiveError::OtherBytes { .. }), "{alarm}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_outlasts_whoever_may_bypass_governance() {
    let Some(server) = server() else { return };
    let (state, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let bucket = Bucket::make(&server.endpoint(), Radosgw::KEYS, true).await;
    let config = S3Config { object_lock: ObjectLock { legal_hold: true, ..ObjectLock::default() }, ..bucket.config() };
    let archive = S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    archive.create("bundle/x.zip", b"x".to_vec().into()).await.unwrap();
    let (owner, name, key) = (bucket.owner(), bucket.name.as_str(), bucket.key("bundle/x.zip"));
    let versions = owner.list_object_versions().bucket(name).prefix(&key).send().await.unwrap();
    let version = versions.versions()[0].version_id().unwrap().to_owned();
    let delete =
        || owner.delete_object().bucket(name).key(&key).version_id(&version).bypass_governance_retention(true).send();
    assert!(delete().await.is_err());
    // What keeps it is the hold: without it, whoever may bypass governance can delete.
    let off = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
    owner.put_object_legal_hold().bucket(name).key(&key).legal_hold(off).send().await.unwrap();
    delete().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_extended_in_the_store_and_never_shortened() {
    let Some(server) = server() else { return };
    let (state, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let bucket = Bucket::make(&server.endpoint(), Radosgw::KEYS, true).await;
    let of = |days: &str| ObjectLock {
        mode: Some(LockMode::Compliance),
        retention: Some(days.parse().unwrap()),
        legal_hold: false,
    };
    let kept = async || {
        let head =
            bucket.owner().head_object().bucket(&bucket.name).key(bucket.key("tile/0/000")).send().await.unwrap();
        head.object_lock_retain_until_date().unwrap().secs()
    };
    let short = S3Config { object_lock: of("3d"), ..bucket.config() };
    let archive = S3Archive::open(bucket.open(&short, state.path(), &disk)).await.unwrap();
    archive.create("tile/0/000", b"x".to_vec().into()).await.unwrap();
    let first = kept().await;
    let long = S3Config { object_lock: of("300d"), ..bucket.config() };
    let archive = S3Archive::open(bucket.open(&long, state.path(), &disk)).await.unwrap();
    assert_eq!(archive.renew().await.unwrap().unwrap().extended, 1);
    assert!(kept().await >= first + 290 * 86_400);
    let last = kept().await;
    let archive = S3Archive::open(bucket.open(&short, state.path(), &disk)).await.unwrap();
    assert_eq!(archive.renew().await.unwrap().unwrap().extended, 0);
    assert_eq!(kept().await, last);
}
