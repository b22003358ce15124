//! A weak store is told from a strong one at the start, what is written is locked for as long as it must be, and nothing else is.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use agent::{
    archive::{
        Archive, ArchiveError, S3Archive,
        s3::{Answer, LockMode, ObjectLock, Open, Property, Renewed, S3Config},
    },
    clock::{Clock, SimClock, SystemClock},
    durable::Disk,
};
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockMode, ObjectLockRetentionMode,
    ObjectLockRule, ServerSideEncryption,
};
use chrono::TimeDelta;
use tests::{
    aws::{Ministack, Moto},
    s3::{
        Bucket, KEYS, ORIGIN,
        proxy::{Fault, Proxy},
    },
};

fn answers(found: &[agent::archive::s3::Found]) -> BTreeMap<String, Answer> {
    found.iter().map(|found| (found.property.to_string(), found.answer)).collect()
}

async fn examined(bucket: &Bucket, config: &S3Config, state_dir: &Path) -> BTreeMap<String, Answer> {
    let archive = S3Archive::connect(bucket.open(config, state_dir, &Disk::new())).await.unwrap();
    answers(&archive.examine(config, state_dir).await)
}

fn expected(answers: [Answer; 7]) -> BTreeMap<String, Answer> {
    let properties = [
        Property::Versioning,
        Property::ObjectLock,
        Property::NoDefaultRetention,
        Property::CreateOnly,
        Property::CompareAndSwap,
        Property::Checksums,
        Property::Clock,
    ];
    properties.iter().map(Property::to_string).zip(answers).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn weak_is_told_from_strong_on_each_server() {
    use Answer::{CannotTell, Holds, Lacks};
    let state = tempfile::tempdir().unwrap();
    let ministack = Ministack::start();
    let bucket = Bucket::make(&ministack.endpoint(), KEYS, true).await;
    let strong = expected([Holds; 7]);
    assert_eq!(examined(&bucket, &bucket.config(), state.path()).await, strong);
    // Tried again it is the same, although the objects of the first try are there.
    assert_eq!(examined(&bucket, &bucket.config(), state.path()).await, strong);
    // moto stores what comes with another checksum, and names its answer about versioning as no reader of S3 expects it.
    let moto = Moto::start();
    let bucket = Bucket::make(&moto.endpoint(), KEYS, true).await;
    for _ in 0..2 {
        let found = examined(&bucket, &bucket.config(), state.path()).await;
        assert_eq!(found, expected([CannotTell, Holds, Holds, Holds, Holds, Lacks, Holds]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_object_lock_is_refused_unless_that_is_written() {
    let state = tempfile::tempdir().unwrap();
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, false).await;
    let (mut config, disk) = (bucket.config(), Disk::new());
    let unfit = S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap_err();
    assert!(matches!(unfit, ArchiveError::Unfit { .. }), "{unfit}");
    let said = unfit.to_string();
    assert!(said.contains("Object Lock") && said.contains("versioning") && said.contains("mode: none"), "{said}");

    config.object_lock = ObjectLock { mode: Some(LockMode::None), ..ObjectLock::default() };
    let archive = S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    archive.create("seal/x", b"x".to_vec().into()).await.unwrap();
    assert_eq!(archive.read("seal/x", 1).await.unwrap().unwrap(), b"x");
    assert_eq!(archive.renew().await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_retention_of_the_bucket_is_seen() {
    let state = tempfile::tempdir().unwrap();
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let rule = DefaultRetention::builder().mode(ObjectLockRetentionMode::Governance).days(7).build();
    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(ObjectLockRule::builder().default_retention(rule).build())
        .build();
    let set = bucket.owner().put_object_lock_configuration().bucket(&bucket.name).object_lock_configuration(lock);
    set.send().await.unwrap();
    let found = examined(&bucket, &bucket.config(), state.path()).await;
    assert_eq!(found["no default retention"], Answer::Lacks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_writes_nothing_to_find_out_again_unless_the_settings_changed() {
    let state = tempfile::tempdir().unwrap();
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let proxy = Proxy::start(server.port());
    let mut config = S3Config { endpoint: Some(proxy.endpoint()), ..bucket.config() };
    let disk = Disk::new();
    let writes = || proxy.asked().iter().filter(|asked| asked.method == "PUT").count();
    S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    assert!(writes() > 3);
    S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    assert_eq!(writes(), 0);
    config.object_lock.retention = Some("30d".parse().unwrap());
    S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    assert!(writes() > 2);
    // A bucket that is not there is no weak store.
    let lost = S3Config { bucket: "evidence-is-not-here".into(), ..config.clone() };
    let gone = S3Archive::open(bucket.open(&lost, state.path(), &disk)).await.unwrap_err();
    assert!(signing::errors::chain(&gone).contains("there is no such bucket"), "{gone:?}");
    // A store that is away is not found to lack anything: what is known holds, and without it the start waits.
    drop(server);
    S3Archive::open(bucket.open(&config, state.path(), &disk)).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let away = S3Archive::open(bucket.open(&config, elsewhere.path(), &disk)).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Io { .. }), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_not_the_stores_is_seen_and_stops_nothing() {
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let proxy = Proxy::start(server.port());
    let config = S3Config { endpoint: Some(proxy.endpoint()), ..bucket.config() };
    for (seconds, says) in [(400, "s ahead of this host's"), (-400, "s behind this host's")] {
        for method in ["GET", "PUT"] {
            proxy.fault(method, "", 1_000, Fault::Ahead(seconds));
        }
        let state = tempfile::tempdir().unwrap();
        let archive = S3Archive::connect(bucket.open(&config, state.path(), &Disk::new())).await.unwrap();
        let found = archive.examine(&config, state.path()).await;
        let clock = found.iter().find(|found| found.property == Property::Clock).unwrap();
        assert!(clock.answer == Answer::Lacks && clock.says.contains(says), "{clock:?}");
        assert!(found.iter().filter(|found| found.property != Property::Clock).all(|f| f.answer == Answer::Holds));
        archive.create("seal/2026/11/22/one", b"one".to_vec().into()).await.unwrap();
        proxy.sound();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_make_no_store_look_weak() {
    let server = Ministack::start();
    for part in ["/create", "/replace", "/checksum"] {
        let state = tempfile::tempdir().unwrap();
        let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
        let proxy = Proxy::start(server.port());
        let config = S3Config { endpoint: Some(proxy.endpoint()), ..bucket.config() };
        for times in 1..4 {
            proxy.fault("PUT", part, times, Fault::LoseAnswer);
            let found = examined(&bucket, &config, state.path()).await;
            assert!(found.values().all(|answer| *answer != Answer::Lacks), "{part}, {times} lost: {found:?}");
        }
        proxy.fault("PUT", part, 1_000, Fault::Refuse(403, "AccessDenied"));
        let found = examined(&bucket, &config, state.path()).await;
        assert!(found.values().any(|answer| *answer == Answer::CannotTell), "{part}: {found:?}");
    }
}

/// Mode and end of an object's retention, in seconds.
async fn retention(bucket: &Bucket, name: &str) -> Option<(ObjectLockMode, i64)> {
    let head = bucket.owner().head_object().bucket(&bucket.name).key(bucket.key(name)).send().await.unwrap();
    Some((head.object_lock_mode().cloned()?, head.object_lock_retain_until_date()?.secs()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_evidence_is_locked_and_what_is_superseded_is_not() {
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let lock =
        ObjectLock { mode: Some(LockMode::Compliance), retention: Some("400d".parse().unwrap()), legal_hold: true };
    let archive = bucket.archive_with(&S3Config { object_lock: lock, ..bucket.config() }).await;
    let least = SystemClock.now() + TimeDelta::days(400);
    archive.replace_checkpoint(None, b"1").await.unwrap();
    archive.replace_checkpoint(Some(b"1"), b"2").await.unwrap();
    for name in ["append/0", "tile/0/000.p/7", "tile/entries/000.p/7"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
        assert_eq!(retention(&bucket, name).await, None, "{name}");
    }
    assert_eq!(retention(&bucket, "checkpoint").await, None);
    for name in ["tile/0/000", "tile/entries/000", "document/keys/x.json", "seal/x", "bundle/x.zip", "anchor/7/x.tsr"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
        let (mode, until) = retention(&bucket, name).await.unwrap();
        assert_eq!(mode, ObjectLockMode::Compliance, "{name}");
        assert!(until >= least.timestamp() && until <= (least + TimeDelta::days(41)).timestamp(), "{name}: {until}");
        // Nobody can delete the version, its owner neither.
        let versions = bucket.owner().list_object_versions().bucket(&bucket.name).prefix(bucket.key(name));
        let versions = versions.send().await.unwrap();
        let version = versions.versions()[0].version_id().unwrap();
        let delete = bucket.owner().delete_object().bucket(&bucket.name).key(bucket.key(name)).version_id(version);
        assert!(delete.bypass_governance_retention(true).send().await.is_err(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_encrypted_with_the_key_that_is_written_and_bundles_have_their_storage_class() {
    let server = Moto::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let config = S3Config { kms_key: Some(key.into()), storage_class: Some("STANDARD_IA".into()), ..bucket.config() };
    let archive = bucket.archive_with(&config).await;
    archive.replace_checkpoint(None, b"1").await.unwrap();
    for name in ["append/0", "tile/0/000", "seal/x", "bundle/x.zip"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
    }
    for name in ["checkpoint", "append/0", "tile/0/000", "seal/x", "bundle/x.zip"] {
        let head = bucket.owner().head_object().bucket(&bucket.name).key(bucket.key(name)).send().await.unwrap();
        assert_eq!(head.server_side_encryption(), Some(&ServerSideEncryption::AwsKms), "{name}");
        assert_eq!(head.ssekms_key_id(), Some(key), "{name}");
        let class = head.storage_class().map_or("STANDARD", |class| class.as_str());
        assert_eq!(class, if name.starts_with("bundle/") { "STANDARD_IA" } else { "STANDARD" }, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_newer_receipts_need_is_kept_as_long_as_they_are_and_is_looked_at_rarely() {
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    let state = tempfile::tempdir().unwrap();
    let (config, disk) = (
        S3Config {
            object_lock: ObjectLock { retention: Some("100d".parse().unwrap()), ..ObjectLock::default() },
            ..bucket.config()
        },
        Disk::new(),
    );
    let clock = Arc::new(SimClock::new(SystemClock.now()));
    let open = || Open {
        config: &config,
        origin: ORIGIN,
        state_dir: state.path(),
        disk: &disk,
        clock: clock.clone(),
        own: Some(bucket.credentials()),
    };
    let archive = S3Archive::open(open()).await.unwrap();
    for name in ["tile/0/000", "tile/0/001.p/3", "document/keys/x.json", "document/plan/x.json", "bundle/x.zip"] {
        archive.create(name, b"x".to_vec().into()).await.unwrap();
    }
    let first = archive.renew().await.unwrap().unwrap();
    assert_eq!((first.extended + first.enough, first.aborted), (3, 0));
    let bundle = retention(&bucket, "bundle/x.zip").await;
    // Within the slack of ten days nothing is due, after a restart neither.
    clock.jump(TimeDelta::days(8));
    assert_eq!(archive.renew().await.unwrap(), None);
    assert_eq!(S3Archive::open(open()).await.unwrap().renew().await.unwrap(), None);
    clock.jump(TimeDelta::days(1));
    assert_eq!(archive.renew().await.unwrap(), Some(Renewed { extended: 3, enough: 0, aborted: 0 }));
    let needed = (clock.now() + TimeDelta::days(100)).timestamp();
    for name in ["tile/0/000", "document/keys/x.json", "document/plan/x.json"] {
        assert!(retention(&bucket, name).await.unwrap().1 >= needed, "{name}");
    }
    assert_eq!(retention(&bucket, "tile/0/001.p/3").await, None);
    assert_eq!(retention(&bucket, "bundle/x.zip").await, bundle);
    // Shorter settings shorten nothing.
    let before = retention(&bucket, "tile/0/000").await;
    let short = S3Config { object_lock: ObjectLock::default(), ..config.clone() };
    let shorter = S3Archive::open(Open { config: &short, ..open() }).await.unwrap();
    let renewed = shorter.renew().await.unwrap();
    assert_eq!(renewed, Some(Renewed { extended: 0, enough: 3, aborted: 0 }));
    assert_eq!(retention(&bucket, "tile/0/000").await, before);
}
