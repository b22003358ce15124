//! Archives in a bucket, read as an auditor reads them: with rights to read alone, at the address, and in a copy that verifies offline.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{path::Path, process::Output};

use aws_sdk_s3::{Client, primitives::ByteStream};
use serde_json::{Value, json};
use tests::{
    aws::{AwsWorld, Ministack, Moto},
    program::{Place, files, text},
    s3::{Bucket, KEYS},
};

/// An agent that has collected into a bucket once.
struct Collected {
    place: Place,
    bucket: Bucket,
    // The bucket's connections live on it.
    runtime: tokio::runtime::Runtime,
    keys: (String, String),
}

impl Collected {
    fn into_bucket(endpoint: &str, keys: (&str, &str)) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bucket = runtime.block_on(Bucket::make(endpoint, keys, true));
        let place = Place::new();
        let s3 = serde_json::to_value(bucket.config()).unwrap();
        let config = json!({"origin": "localhost/test", "state_dir": "state", "archive": {"s3": s3}});
        std::fs::write(place.path().join("evidenced.yaml"), config.to_string()).unwrap();
        let collected = Self { place, bucket, runtime, keys: (keys.0.into(), keys.1.into()) };
        collected.expect(0, &["keys", "init", "--origin", "localhost/test"]);
        collected.expect(0, &["collect", "host/accounts", "host/sshd"]);
        collected
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.command(arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_ACCESS_KEY_ID", &self.keys.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.keys.1)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .output()
            .unwrap()
    }

    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        out
    }

    /// A command on the archive in the bucket.
    fn at(&self, code: i32, command: &str, more: &[&str]) -> String {
        let address = format!("s3://{}/evidence/prod", self.bucket.name);
        let mut arguments = vec![command, &address];
        arguments.extend(more);
        arguments.extend(["--endpoint", &self.bucket.endpoint]);
        self.expect(code, &arguments)
    }

    fn verdict(&self, code: i32, more: &[&str]) -> Value {
        let root = self.place.root();
        serde_json::from_str(&self.at(code, "verify", &[&["--trust", &root, "--json"], more].concat())).unwrap()
    }

    /// As the bucket's owner.
    fn as_owner<T>(&self, work: impl AsyncFnOnce(&Client, &str) -> T) -> T {
        self.runtime.block_on(work(self.bucket.owner(), &self.bucket.name))
    }

    fn delete(&self, name: &str) {
        let key = self.bucket.key(name);
        self.as_owner(async |client, bucket| client.delete_object().bucket(bucket).key(key).send().await).unwrap();
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let (key, body) = (self.bucket.key(name), ByteStream::from(bytes.to_vec()));
        // A locked bucket takes nothing without a checksum.
        let put = self.as_owner(async |client, bucket| {
            let put = client.put_object().bucket(bucket).key(key).body(body);
            put.checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Sha256).send().await
        });
        put.unwrap();
    }

    /// The names of a copy's objects.
    fn copied(&self, directory: &str) -> Vec<String> {
        let origin = self.place.path().join(directory).join("localhost+test");
        let name = |path: &Path| path.strip_prefix(&origin).unwrap().to_string_lossy().into_owned();
        files(&origin).iter().map(|path| name(path)).collect()
    }
}

fn reads_like_a_directory(endpoint: &str) {
    let collected = Collected::into_bucket(endpoint, KEYS);
    let verdict = collected.verdict(0, &["--deep"]);
    let limits: Vec<&str> =
        verdict["limits"].as_array().unwrap().iter().map(|limit| limit["code"].as_str().unwrap()).collect();
    // Nothing written is a trial: governance mode.
    assert!(limits.contains(&"WEAK-OBJECT-LOCK") && !limits.contains(&"NO-OBJECT-LOCK"), "{verdict:#}");
    assert!(verdict["numbers"]["bundles"].as_u64() >= Some(2));

    let said = collected.expect(0, &["collect", "host/sshd"]);
    let printed = said.lines().last().unwrap().trim().strip_prefix("evidenced ").unwrap();
    assert!(collected.expect(0, &printed.split(' ').collect::<Vec<_>>()).contains("ARCHIVE INTACT"), "{printed}");

    let entries = collected.at(0, "show", &[]);
    assert!(entries.contains("host/accounts@"), "{entries}");
    let newest = verdict["numbers"]["entries"].as_u64().unwrap();
    let shown = collected.at(0, "show", &[&newest.to_string()]);
    assert!(shown.contains("What was asked and answered"), "{shown}");

    let pulled = collected.at(0, "pull", &["copy"]);
    assert!(pulled.contains("Nothing was checked on the way: evidenced verify copy/localhost+test"), "{pulled}");
    let copied = collected.copied("copy");
    assert!(copied.contains(&"checkpoint".to_owned()) && !copied.iter().any(|name| name.contains(".tmp-")));
    let root = collected.place.root();
    let said = collected.expect(0, &["verify", "copy", "--trust", &root, "--deep"]);
    assert!(said.contains("ARCHIVE INTACT"), "{said}");
    let again = collected.at(0, "pull", &["copy"]);
    assert!(again.contains("copied 0 objects, 0 bytes; "), "{again}");
}

#[test]
fn an_archive_in_a_bucket_of_moto_is_verified_shown_and_copied_as_one_in_a_directory_is() {
    let server = Moto::start();
    reads_like_a_directory(&server.endpoint());
}

#[test]
fn an_archive_in_a_bucket_of_ministack_is_verified_shown_and_copied_as_one_in_a_directory_is() {
    let server = Ministack::start();
    reads_like_a_directory(&server.endpoint());
}

#[test]
fn what_was_deleted_or_written_over_is_read_as_it_was_and_named() {
    let server = Moto::start();
    let collected = Collected::into_bucket(&server.endpoint(), KEYS);
    collected.at(0, "pull", &["before"]);
    let names = collected.copied("before");
    let named = |prefix: &str| names.iter().find(|name| name.starts_with(prefix)).unwrap().clone();
    let (bundle, seal, document) = (named("bundle/"), named("seal/"), named("document/keys/"));
    collected.delete(&bundle);
    collected.put(&seal, b"something else");
    collected.put(&document, b"{}");
    collected.delete(&document);
    collected.delete("checkpoint");

    let verdict = collected.verdict(1, &["--deep"]);
    let findings: Vec<(&str, &str)> = verdict["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap(), finding["object"].as_str().unwrap()))
        .collect();
    let mut expected = ["checkpoint", &bundle, &document, &seal].map(|object| ("OBJECT-COVERED", object)).to_vec();
    expected.sort();
    let mut found = findings.clone();
    found.sort();
    assert_eq!(found, expected, "{verdict:#}");

    let pulled = collected.at(0, "pull", &["after"]);
    assert!(pulled.contains(&format!("{bundle}: it was deleted at ")), "{pulled}");
    assert_eq!(collected.copied("after"), names);
    let root = collected.place.root();
    assert!(collected.expect(0, &["verify", "after", "--trust", &root, "--deep"]).contains("ARCHIVE INTACT"));
}

#[test]
fn a_version_that_is_gone_for_good_is_missing() {
    let server = Moto::start();
    let collected = Collected::into_bucket(&server.endpoint(), KEYS);
    collected.at(0, "pull", &["copy"]);
    let bundle = collected.copied("copy").into_iter().find(|name| name.starts_with("bundle/")).unwrap();
    let key = collected.bucket.key(&bundle);
    collected.as_owner(async |client, bucket| {
        let versions = client.list_object_versions().bucket(bucket).prefix(&key).send().await.unwrap();
        let version = versions.versions()[0].version_id().unwrap();
        let delete = client.delete_object().bucket(bucket).key(&key).version_id(version);
        // Governance mode is lifted by who has the right to.
        delete.bypass_governance_retention(true).send().await.unwrap();
    });
    let verdict = collected.verdict(1, &[]);
    assert_eq!(verdict["findings"].as_array().unwrap().len(), 1, "{verdict:#}");
    assert_eq!(verdict["findings"][0]["code"], "BUNDLE-MISSING");
    let pulled = collected.at(0, "pull", &["other"]);
    assert!(pulled.contains("1 objects that the log names are not in the archive"), "{pulled}");
}

#[test]
fn versions_that_may_not_be_listed_are_said_not_to_have_been_looked_at() {
    let world = AwsWorld::start();
    let keys = world.administrator();
    let keys = (keys[0].1.as_str(), keys[1].1.as_str());
    let collected = Collected::into_bucket(&world.endpoint(), keys);
    world.fault(json!({"call": "s3.ListObjectVersions", "do": "deny"}));
    let verdict = collected.verdict(0, &[]);
    let limit = verdict["limits"].as_array().unwrap().iter().find(|limit| limit["code"] == "WEAK-OBJECT-LOCK");
    let says = limit.unwrap()["says"].as_str().unwrap();
    assert!(says.contains("was not looked at") && says.contains("s3:ListBucketVersions"), "{says}");
    world.sound();
    world.fault(json!({"call": "s3.GetObject", "do": "deny"}));
    let refused = collected.verdict(2, &[]);
    assert!(refused["statement"].as_str().unwrap().starts_with("CANNOT VERIFY: checkpoint: "), "{refused:#}");
}

#[test]
fn a_copy_of_some_days_verifies_as_that_and_no_more() {
    let server = Moto::start();
    let collected = Collected::into_bucket(&server.endpoint(), KEYS);
    let root = collected.place.root();
    let none = ["--from", "2020-01-01", "--to", "2020-01-31"];
    let pulled = collected.at(0, "pull", &[&["copy"], &none[..]].concat());
    assert!(pulled.contains("--from 2020-01-01 --to 2020-01-31"), "{pulled}");
    assert!(!collected.copied("copy").iter().any(|name| name.starts_with("bundle/")));
    let said = collected.expect(0, &[&["verify", "copy", "--trust", &root], &none[..]].concat());
    assert!(said.contains("LOG INTACT, and the archive from 2020-01-01T00:00:00Z to 2020-02-01T00:00:00Z"), "{said}");
    // Without the dates what is not there is missing.
    assert!(collected.expect(1, &["verify", "copy", "--trust", &root]).contains("BUNDLE-MISSING"));
}
