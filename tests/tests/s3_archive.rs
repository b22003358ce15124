//! The program with its archive in a bucket: from the first receipt to a verdict, killed anywhere, and beside a second agent.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Output},
};

use agent::archive::{Archive as _, Body};
use rustix::process::{Pid, Signal, kill_process};
use tests::{
    aws::Ministack,
    program::{Place, text, until},
    s3::{
        Bucket, KEYS, ORIGIN,
        proxy::{Fault, Proxy},
    },
};

/// The job that takes least.
const JOB: &str = "host/time-sync";

struct World {
    place: Place,
    bucket: Bucket,
    proxy: Proxy,
    runtime: tokio::runtime::Runtime,
    _server: Ministack,
}

impl World {
    fn new() -> Self {
        let server = Ministack::start();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bucket = runtime.block_on(Bucket::make(&server.endpoint(), KEYS, true));
        let proxy = Proxy::start(server.port());
        let world = Self { place: Place::new(), bucket, proxy, runtime, _server: server };
        let settings = format!(
            "origin: {ORIGIN}\nappend_every: 1s\narchive:\n  s3: {{bucket: {}, prefix: evidence/prod, region: us-east-1, endpoint: {}, \
             path_style: true, object_lock: {{retention: 30d}}}}\n",
            world.bucket.name,
            world.proxy.endpoint()
        );
        fs::write(world.place.path().join("evidenced.yaml"), settings).unwrap();
        world.place.expect(0, ["keys", "init", "--origin", ORIGIN]);
        world
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_ACCESS_KEY_ID", KEYS.0).env("AWS_SECRET_ACCESS_KEY", KEYS.1);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "standard output:\n{out}\nstandard error:\n{err}");
        out
    }

    fn start(&self, name: &str, state_dir: &str) -> Child {
        let log = fs::File::create(self.place.path().join(format!("{name}.err"))).unwrap();
        self.command(&["run"]).env("EVIDENCED_STATE_DIR", state_dir).stderr(log).spawn().unwrap()
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.place.path().join(format!("{name}.err"))).unwrap_or_default()
    }

    /// Reads everything back into a directory, as an auditor would, and gives the names.
    fn copy(&self, to: &Path) -> BTreeSet<String> {
        let archive = self.runtime.block_on(self.bucket.archive());
        let reader = archive.reader();
        let mut names = BTreeSet::new();
        reader
            .list("", &mut |name| {
                names.insert(name.to_owned());
            })
            .unwrap();
        let _ = fs::remove_dir_all(to);
        for name in &names {
            let path = to.join("localhost+test").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, reader.read(name, 1 << 30).unwrap().unwrap()).unwrap();
        }
        names
    }

    /// The verdict on everything that is in the bucket.
    fn verdict(&self) -> String {
        let copy = self.place.path().join("copy");
        self.copy(&copy);
        self.expect(0, &["verify", "copy", "--trust", &self.place.root(), "--deep"])
    }

    /// No object but the checkpoint was ever written twice.
    fn assert_created_once(&self) {
        let listed = self.bucket.owner().list_object_versions().bucket(&self.bucket.name);
        let listed = self.runtime.block_on(listed.prefix(self.bucket.key("")).send()).unwrap();
        let mut seen = BTreeSet::new();
        for key in listed.versions().iter().filter_map(|version| version.key()) {
            assert!(key.ends_with("/checkpoint") || seen.insert(key.to_owned()), "{key} was written twice");
        }
        assert!(listed.delete_markers().is_empty());
    }
}

#[test]
fn collect_to_a_bucket_gives_receipts_that_verify_and_a_plan_that_states_the_retention() {
    let world = World::new();
    let said = world.expect(0, &["validate"]);
    assert!(said.contains("Valid"), "{said}");
    let said = world.expect(0, &["collect", JOB]);
    assert!(said.contains(&format!("evidenced verify s3://{}/evidence/prod", world.bucket.name)), "{said}");
    world.expect(0, &["collect", JOB]);
    let verdict = world.verdict();
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
    let copy = world.place.path().join("copy");
    let plans = copy.join("localhost+test/document/plan");
    for plan in fs::read_dir(plans).unwrap() {
        let plan: serde_json::Value = serde_json::from_slice(&fs::read(plan.unwrap().path()).unwrap()).unwrap();
        assert_eq!(plan["retention_days"], 30);
    }
    let status = world.expect(0, &["status"]);
    assert!(status.contains("spool      0 waiting") && status.contains(" entries, root "), "{status}");
    world.assert_created_once();

    // As `collect` said, with an auditor's rights: what the agent tried the store with is no part of the archive.
    let address = format!("s3://{}/evidence/prod", world.bucket.name);
    world.proxy.asked();
    let mut command = world.command(&["verify", &address, "--trust", &world.place.root(), "--deep"]);
    command.env("AWS_ENDPOINT_URL_S3", world.proxy.endpoint()).env("AWS_REGION", "us-east-1");
    let output = command.output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("ARCHIVE INTACT"), "{said}");
    assert!(said.contains("not part of this archive, and not looked at: .evidenced-probe"), "{said}");
    let policy: serde_json::Value =
        serde_json::from_str(&world.expect(0, &["iam-policy", "--archive", "--auditor"])).unwrap();
    let allowed = policy.to_string();
    for asked in world.proxy.asked() {
        for right in rights(&asked.method, &asked.path) {
            assert!(allowed.contains(&format!("\"{right}\"")), "{} {} needs {right}", asked.method, asked.path);
        }
    }
}

#[test]
fn the_doctor_says_of_a_bucket_what_holds() {
    let world = World::new();
    let said = text(&world.run(&["doctor"]).stdout);
    for property in ["versioning", "Object Lock", "create-only writes", "compare and swap", "checksums", "clock"] {
        assert!(said.contains(&format!("fine     archive: {property}: holds: ")), "{property}: {said}");
    }
    assert!(said.contains("holds no log yet"), "{said}");
}

#[test]
fn missing_credentials_are_said_with_every_place_that_was_looked_in() {
    let world = World::new();
    let mut command = world.command(&["collect", JOB]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("they are in none of these places"), "{}", text(&output.stderr));
}

#[test]
fn what_the_store_refuses_waits_in_the_spool_and_is_logged_when_it_may_be() {
    let world = World::new();
    world.expect(0, &["collect", JOB]);
    for (status, code) in [(403, "AccessDenied"), (400, "ExpiredToken"), (503, "SlowDown")] {
        world.proxy.fault("PUT", "", 1_000, Fault::Refuse(status, code));
        let output = world.run(&["collect", JOB]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("waits in the spool") && said.contains(code), "{code}: {said}");
        world.proxy.sound();
    }
    world.expect(0, &["collect", JOB]);
    let status = world.expect(0, &["status"]);
    assert!(status.contains("spool      0 waiting"), "{status}");
    // Keys, plan, controls and five runs.
    let verdict = world.verdict();
    assert!(verdict.contains("ARCHIVE INTACT") && verdict.contains("8 entries"), "{verdict}");
    world.assert_created_once();
}

#[test]
fn a_role_is_assumed_for_the_archive_where_one_is_written() {
    let world = World::new();
    let mut command = world.command(&["collect", JOB]);
    command.env("EVIDENCED_ARCHIVE__S3__ROLE", "arn:aws:iam::000000000000:role/evidenced-archive");
    command.env("EVIDENCED_ARCHIVE__S3__EXTERNAL_ID", "acme-1");
    let output = command.env("AWS_ENDPOINT_URL_STS", world.proxy.endpoint()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let asked = world.proxy.asked();
    let sts = asked.iter().position(|asked| asked.method == "POST" && asked.path == "/");
    assert_eq!(sts, Some(0), "{asked:?}");
    assert!(world.verdict().contains("ARCHIVE INTACT"));
}

#[test]
fn a_collect_that_is_killed_at_any_request_is_finished_by_the_next() {
    let world = World::new();
    world.expect(0, &["collect", JOB]);
    world.proxy.asked();
    world.expect(0, &["collect", JOB]);
    let requests = world.proxy.asked().len();
    assert!(requests > 8, "{requests}");
    for at in 1..=requests {
        let mut child = world.command(&["collect", JOB]).stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut seen = 0;
        // Ended by itself, where this run made fewer.
        while child.try_wait().unwrap().is_none() && seen < at {
            seen += world.proxy.asked().len();
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    world.expect(0, &["collect", JOB]);
    let verdict = world.verdict();
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
    world.assert_created_once();
}

#[test]
fn a_second_agent_on_the_same_origin_is_told_so_and_the_log_is_not_forked() {
    let world = World::new();
    let first = world.start("first", "./first.state");
    until("the first agent", || world.said("first").contains("a plan is in force"));
    let second = world.start("second", "./second.state");
    let told = |name: &str| world.said(name).contains("second agent");
    // Both go on until one of them finds the other's decision.
    until("one of them to be told", || {
        for state in ["./first.state", "./second.state"] {
            let _ = world.command(&["collect", JOB]).env("EVIDENCED_STATE_DIR", state).output().unwrap();
        }
        told("first") || told("second")
    });
    // One of them may have ended by itself, with an error.
    for mut child in [first, second] {
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap();
    }
    let verdict = world.verdict();
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
    world.assert_created_once();
}

/// The rights that a request needs, by AWS's service authorization reference for S3.
fn rights(method: &str, path: &str) -> Vec<&'static str> {
    let (_, query) = path.split_once('?').unwrap_or((path, ""));
    let is = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    match method {
        "GET" if is("versioning") => vec!["s3:GetBucketVersioning"],
        "GET" if is("object-lock") => vec!["s3:GetBucketObjectLockConfiguration"],
        "GET" if is("uploads") => vec!["s3:ListBucketMultipartUploads"],
        "GET" if is("list-type") => vec!["s3:ListBucket"],
        "GET" if is("versions") => vec!["s3:ListBucketVersions"],
        "GET" if is("retention") => vec!["s3:GetObjectRetention"],
        "GET" if is("legal-hold") => vec!["s3:GetObjectLegalHold"],
        "GET" | "HEAD" if is("versionId") => vec!["s3:GetObjectVersion"],
        "GET" => vec!["s3:GetObject"],
        // Its answer is read for the object's retention.
        "HEAD" => vec!["s3:GetObject", "s3:GetObjectRetention"],
        "PUT" if is("retention") => vec!["s3:PutObjectRetention"],
        "PUT" | "POST" => vec!["s3:PutObject"],
        "DELETE" if is("uploadId") => vec!["s3:AbortMultipartUpload"],
        _ => panic!("{method} {path} is nothing that the agent may do"),
    }
}

#[test]
fn the_printed_policy_has_every_right_that_the_agent_uses_and_none_that_it_does_not() {
    let world = World::new();
    world.expect(0, &["collect", JOB]);
    let large = world.place.path().join("large");
    fs::write(&large, vec![7; (16 << 20) + 1]).unwrap();
    let archive = world.runtime.block_on(world.bucket.archive_through(&world.proxy));
    world.runtime.block_on(async {
        world.proxy.fault("PUT", "partNumber=2", 1_000, Fault::Refuse(403, "AccessDenied"));
        archive.create("bundle/large.zip", Body::File(large.clone())).await.unwrap_err();
        world.proxy.sound();
        archive.create("bundle/large.zip", Body::File(large)).await.unwrap();
        archive.list("").await.unwrap();
        archive.renew().await.unwrap();
    });
    let used: BTreeSet<&str> =
        world.proxy.asked().iter().flat_map(|asked| rights(&asked.method, &asked.path)).collect();
    let policy: serde_json::Value = serde_json::from_str(&world.expect(0, &["iam-policy", "--archive"])).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    let allowed: BTreeSet<&str> = actions.map(|action| action.as_str().unwrap()).collect();
    assert_eq!(used, allowed);

    let bucket: serde_json::Value =
        serde_json::from_str(&world.expect(0, &["iam-policy", "--archive", "--format", "bucket-policy"])).unwrap();
    let text = bucket.to_string();
    for part in ["s3:if-none-match", "s3:if-match", "s3:ObjectCreationOperation", "s3:DeleteObjectVersion"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_bundle_costs_few_requests_and_is_sent_once() {
    let world = World::new();
    world.expect(0, &["collect", JOB]);
    world.proxy.asked();
    world.expect(0, &["collect", JOB]);
    let asked = world.proxy.asked();
    let puts: Vec<_> = asked.iter().filter(|asked| asked.method == "PUT").collect();
    let of = |part: &str| puts.iter().filter(|asked| asked.path.contains(part)).count();
    let sent: usize = puts.iter().map(|asked| asked.bytes).sum();
    eprintln!("{} requests for a run of one job, {} of them writes, {sent} bytes sent", asked.len(), puts.len());
    assert_eq!((of("/bundle/"), of("/seal/"), of("/append/"), of("/checkpoint")), (1, 1, 1, 1));
    let path = |part: &str| puts.iter().position(|asked| asked.path.contains(part));
    assert!(path("/bundle/") < path("/seal/") && path("/seal/") < path("/append/"), "{puts:?}");
    assert!(path("/append/") < path("/checkpoint"), "{puts:?}");
}
