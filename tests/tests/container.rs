//! The agent as a container: what the image holds, and what it does where it may be killed at any moment. Where containers cannot be built
//! and run, each of these tests says so and why.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use signing::layout::origin_directory;
use tests::{
    aws::{Ministack, Stranger},
    container::{Engine, IMAGE, image},
    program::{Place, text, until, workspace},
    s3::{Bucket, KEYS},
    tools,
};

/// As in deploy/evidenced.yaml.
const ORIGIN: &str = "evidence.acme.example/prod";

/// The image's user.
const USER: u32 = 65532;

/// As compose.yaml starts a container.
const CONFINED: [&str; 9] = [
    "run",
    "--network",
    "none",
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "all",
    "--security-opt=no-new-privileges",
];

/// A directory beside compose.yaml, as docs/OPERATIONS.md makes it, with jobs each minute.
struct Deployed {
    engine: &'static Engine,
    place: Place,
    project: String,
    root: String,
}

impl Deployed {
    /// With an archive in a directory, or in a bucket of a server on this machine.
    fn new(engine: &'static Engine, project: &str, bucket: Option<&Bucket>) -> Self {
        let place = Place::new();
        let at = |name: &str| place.path().join(name);
        // The container's user must come to it.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["archive", "keys"] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).unwrap();
            chown(at(name), Some(USER), Some(USER)).unwrap();
        }
        fs::copy(workspace().join("deploy/compose.yaml"), at("compose.yaml")).unwrap();
        let mut settings = fs::read_to_string(workspace().join("deploy/evidenced.yaml")).unwrap();
        let mut changes = json!({"network_mode": "none"});
        if let Some(bucket) = bucket {
            let s3 = json!({
                "bucket": bucket.name, "endpoint": bucket.endpoint, "path_style": true, "region": "us-east-1", "prefix": "prod",
            });
            let directory = "archive: {directory: /srv/evidence}";
            assert!(settings.contains(directory));
            settings = settings.replace(directory, &format!("archive: {}", json!({"s3": s3})));
            let credentials = json!({"AWS_ACCESS_KEY_ID": KEYS.0, "AWS_SECRET_ACCESS_KEY": KEYS.1});
            changes = json!({"network_mode": "host", "environment": credentials});
        }
        let jobs = "append_every: 1s\njobs:\n  - {collector: host/mfa, schedule: \"* * * * *\"}\n  \
                    - {collector: host/accounts, schedule: \"* * * * *\"}\n";
        fs::write(at("evidenced.yaml"), settings + jobs).unwrap();
        fs::write(at("test.yaml"), json!({"services": {"agent": changes}}).to_string()).unwrap();
        let keys = format!("{}:/keys", at("keys").display());
        let init = ["keys", "init", "--dir", "/keys", "--origin", ORIGIN];
        let said = engine.expect(0, [&CONFINED[..], &["--rm", "--volume", &keys, IMAGE], &init].concat());
        let root = said.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
        let root = root.trim_end_matches([':', '.', ',']).to_owned();
        fs::rename(at("keys/root.pem"), at("root.pem")).unwrap();
        Self { engine, place, project: project.to_owned(), root }
    }

    fn compose(&self, arguments: &[&str]) {
        let output = Command::new(tools::compose().join("bin/podman-compose"))
            .arg("--podman-path")
            .arg(self.engine.podman())
            .args(["--in-pod", "false", "--project-name", &self.project])
            .args(["--file", "compose.yaml", "--file", "test.yaml"])
            .args(arguments)
            .current_dir(self.place.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }

    fn container(&self) -> String {
        format!("{}_agent_1", self.project)
    }

    fn archive(&self) -> PathBuf {
        self.place.path().join("archive")
    }

    /// What the container said.
    fn log(&self) -> String {
        let output = self.engine.run(["logs", &self.container()]);
        text(&output.stdout) + &text(&output.stderr)
    }

    /// A field of what the engine says of the container.
    fn inspect(&self, field: &str) -> String {
        self.engine.expect(0, ["inspect", "--format", field, &self.container()]).trim().to_owned()
    }

    fn health(&self) -> Option<i32> {
        self.engine.run(["healthcheck", "run", &self.container()]).status.code()
    }

    fn status(&self) -> Option<Value> {
        let output = self.engine.run(["exec", &self.container(), "evidenced", "status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn is_answering(&self) -> bool {
        self.status().is_some_and(|status| status["pid"].is_u64())
    }

    /// Until the daemon has run both jobs for a slot since it was started.
    fn wait_for_slots(&self) {
        until("slots to be run", || {
            assert_eq!(self.inspect("{{.State.Running}}"), "true", "{}", self.log());
            let status = self.status().unwrap_or_default();
            let ended = status["last"].as_array().into_iter().flatten().filter(|ended| ended["slot"].is_string());
            ended.map(|ended| ended["line"]["job"].to_string()).collect::<BTreeSet<_>>().len() == 2
        });
    }

    /// The slots of each job that have a receipt, in the log's order.
    fn slots(&self) -> BTreeMap<String, Vec<String>> {
        let shown = self.place.expect(0, ["show", "archive", "--json", "--limit", "100000"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let mut slots: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in shown["entries"].as_array().unwrap() {
            let predicate = &entry["statement"]["predicate"];
            for (of, at) in [(&predicate["receipt"], "slot"), (&predicate["missed"], "first")] {
                if let (Some(job), Some(slot)) = (of["job"].as_str(), of[at].as_str()) {
                    assert!(of["count"].as_u64().is_none_or(|count| count == 1), "{of}");
                    slots.entry(job.to_owned()).or_default().push(slot.to_owned());
                }
            }
        }
        slots
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        self.engine.run(["rm", "--force", "--time", "0", "--volumes", &self.container()]);
    }
}

/// `2026-11-22T04:05:00Z` as minutes of its day.
fn minute(slot: &str) -> u32 {
    let number = |from: usize| slot[from..from + 2].parse::<u32>().unwrap();
    assert_eq!(&slot[16..], ":00Z", "{slot}");
    number(11) * 60 + number(14)
}

/// Starts, kills, restarts and stops a container, and looks from outside at what it leaves in the archive.
fn live_through_a_kill_and_a_stop(engine: &'static Engine, project: &str, bucket: Option<&Bucket>) {
    let deployed = Deployed::new(engine, project, bucket);
    deployed.compose(&["up", "--detach"]);
    let container = deployed.container();
    until("the daemon to answer", || deployed.is_answering());
    assert_eq!(deployed.health(), Some(0));
    deployed.wait_for_slots();

    engine.expect(0, ["kill", "--signal", "KILL", &container]);
    assert_eq!(engine.expect(0, ["wait", &container]).trim(), "137");
    engine.expect(0, ["start", &container]);
    until("the daemon to answer again", || deployed.is_answering());
    deployed.wait_for_slots();

    let begun = Instant::now();
    engine.expect(0, ["stop", "--time", "90", &container]);
    assert!(begun.elapsed() < Duration::from_secs(75), "stopped after {:?}", begun.elapsed());
    assert_eq!(deployed.inspect("{{.State.ExitCode}}"), "0", "{}", deployed.log());

    if let Some(bucket) = bucket {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        assert!(fs::read_dir(deployed.archive()).unwrap().next().is_none(), "the bucket alone holds it");
        let origin = origin_directory(ORIGIN);
        runtime.block_on(bucket.copy_to(&format!("prod/{origin}/"), &deployed.archive().join(origin)));
    }
    let slots = deployed.slots();
    for job in ["host/mfa@this", "host/accounts@this"] {
        assert!(slots[job].len() >= 2, "{slots:?}");
        for pair in slots[job].windows(2) {
            assert_eq!((minute(&pair[0]) + 1) % 1440, minute(&pair[1]), "{slots:?}");
        }
    }
    let verdict = deployed.place.expect(0, ["verify", "archive", "--trust", &deployed.root, "--deep"]);
    assert!(verdict.contains("ARCHIVE INTACT"), "{verdict}");
    // The same in a container without network, which has nothing but the archive.
    let archive = format!("{}:/archive:ro", deployed.archive().display());
    let verify = ["--rm", "--volume", &archive, IMAGE, "verify", "/archive", "--deep", "--trust", &deployed.root];
    assert!(engine.expect(0, [&CONFINED[..], &verify].concat()).contains("ARCHIVE INTACT"));
}

#[test]
fn receipts_in_a_directory_go_on_without_a_gap_across_a_kill_a_restart_and_a_stop() {
    let Some(engine) = image() else { return };
    live_through_a_kill_and_a_stop(engine, "kill", None);
}

#[test]
fn receipts_in_a_bucket_go_on_without_a_gap_across_a_kill_a_restart_and_a_stop() {
    let Some(engine) = image() else { return };
    let server = Ministack::start();
    let bucket = tokio::runtime::Runtime::new().unwrap().block_on(Bucket::make(&server.endpoint(), KEYS, true));
    live_through_a_kill_and_a_stop(engine, "bucket", Some(&bucket));
}

#[test]
fn it_runs_as_an_ordinary_user_without_capabilities_on_a_root_file_system_that_it_cannot_write_and_has_no_shell() {
    let Some(engine) = image() else { return };
    let deployed = Deployed::new(engine, "confined", None);
    deployed.compose(&["up", "--detach"]);
    until("the daemon to answer", || deployed.is_answering());
    let process = PathBuf::from("/proc").join(deployed.inspect("{{.State.Pid}}"));
    let status = fs::read_to_string(process.join("status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(value("Uid:"), ["65532"; 4]);
    assert_eq!(value("Gid:"), ["65532"; 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(value("NoNewPrivs:"), ["1"]);
    assert_eq!(value("NSpid:").last().unwrap(), "1", "signals come to the program itself");

    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap();
    let mounts: BTreeMap<&str, bool> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|mount| (mount[4], mount[5].split(',').any(|option| option == "rw")))
        .collect();
    for (place, writable) in
        [("/", false), ("/host", false), ("/srv/evidence", true), ("/tmp", true), ("/var/lib/evidenced", true)]
    {
        assert_eq!(mounts[place], writable, "{place}");
    }
    for secret in ["/run/secrets/receipts.pem", "/run/secrets/checkpoint.pem", "/etc/evidenced/evidenced.yaml"] {
        assert!(mounts.contains_key(secret), "{mounts:?}");
    }

    for shell in ["sh", "/bin/sh", "bash", "busybox"] {
        let output = engine.run(["exec", &deployed.container(), shell, "-c", "true"]);
        assert_eq!(output.status.code(), Some(127), "{shell}: {}", text(&output.stderr));
    }
}

#[test]
fn health_is_the_daemons_and_not_its_archives() {
    let Some(engine) = image() else { return };
    let deployed = Deployed::new(engine, "health", None);
    let away = |is: bool| chown(deployed.archive(), Some(if is { 0 } else { USER }), None).unwrap();
    away(true);
    deployed.compose(&["up", "--detach"]);
    until("the daemon to say that it waits", || ["WAITING", "AWAY"].iter().any(|word| deployed.log().contains(word)));
    assert_eq!(deployed.health(), Some(0), "one that waits for its archive");
    away(false);
    until("the daemon to answer", || deployed.is_answering());
    away(true);
    let container = deployed.container();
    let collected = engine.run(["exec", &container, "evidenced", "collect", "host/mfa"]);
    assert!(text(&collected.stdout).contains("waits in the spool"), "{}", text(&collected.stderr));
    assert_eq!(deployed.health(), Some(0), "one whose evidence waits");
    away(false);

    engine.expect(0, ["kill", "--signal", "STOP", &container]);
    assert_eq!(deployed.health(), Some(1), "one that hangs");
    engine.expect(0, ["kill", "--signal", "CONT", &container]);
    assert_eq!(deployed.health(), Some(0), "one that goes on");
}

#[test]
fn the_image_is_the_program_with_certificates_and_licence_and_under_40_megabytes() {
    let Some(engine) = image() else { return };
    let told: Value = serde_json::from_str(&engine.expect(0, ["image", "inspect", IMAGE])).unwrap();
    let size = told[0]["Size"].as_u64().unwrap();
    assert!(size < 40_000_000, "{size} bytes");
    let config = &told[0]["Config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["StopSignal"], "SIGTERM");
    assert_eq!(config["Volumes"], json!({"/var/lib/evidenced": {}}));
    assert_eq!(told[0]["Healthcheck"]["Test"], json!(["CMD", "/usr/bin/evidenced", "status", "--health"]));
    for label in ["title", "description", "licenses"] {
        assert!(config["Labels"][format!("org.opencontainers.image.{label}")].is_string(), "{config}");
    }

    let container = engine.expect(0, ["create", IMAGE]);
    let place = Place::new();
    let tar = place.path().join("image.tar");
    engine.expect(0, ["export", "--output", &tar.display().to_string(), container.trim()]);
    engine.expect(0, ["rm", container.trim()]);
    let listed = Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
    let listed = text(&listed.stdout);
    let held: BTreeSet<&str> = listed.lines().filter(|name| !name.ends_with('/')).collect();
    let program = "usr/bin/evidenced";
    let expected = ["etc/ssl/certs/ca-certificates.crt", program, "usr/share/doc/evidenced/LICENSE"];
    assert_eq!(held, BTreeSet::from(expected));
    let unpacked = Command::new("tar").arg("-C").arg(place.path()).arg("-xf").arg(&tar).status().unwrap();
    assert!(unpacked.success());
    let certificates = fs::read_to_string(place.path().join(expected[0])).unwrap();
    assert!(certificates.matches("BEGIN CERTIFICATE").count() > 50);
    assert_eq!(fs::metadata(place.path().join(program)).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn without_keys_it_says_what_to_do_and_ends() {
    let Some(engine) = image() else { return };
    let output = engine.run([&CONFINED[..], &["--rm", IMAGE]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("keys init"), "{}", text(&output.stderr));
}

/// What the doctor in a container says of credentials that a stranger refuses, with `mount` besides.
fn diagnosed(engine: &Engine, port: u16, mount: &str) -> String {
    let source = format!(
        "EVIDENCED_SOURCES=[{{name: cloud, aws: {{endpoint: 'https://localhost:{port}', retry: {{attempts: 1}}}}}}]"
    );
    let mut command = engine.command(CONFINED.iter().map(|word| if *word == "none" { "host" } else { word }));
    for variable in [
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY=none",
        "AWS_EC2_METADATA_DISABLED=true",
        &source,
    ] {
        command.args(["--env", variable]);
    }
    command.args(["--rm", "--volume", mount, IMAGE, "doctor", "--source", "cloud", "--json"]);
    let output = command.output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let of_credentials = findings.as_array().unwrap().iter().find(|finding| finding["about"] == "credentials");
    of_credentials.unwrap()["says"].as_str().unwrap().to_owned()
}

#[test]
fn aws_is_believed_under_the_images_certificates_and_under_no_others() {
    let Some(engine) = image() else { return };
    let place = Place::new();
    let certificate = place.path().join("stranger.pem");
    let stranger = Stranger::start(&certificate);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |inside: &str| format!("{}:{inside}:ro", certificate.display());
    let unknown = diagnosed(engine, stranger.port(), &at("/elsewhere.pem"));
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let known = diagnosed(engine, stranger.port(), &at("/etc/ssl/certs/ca-certificates.crt"));
    assert!(known.contains("InvalidClientTokenId"), "{known}");
}

#[test]
fn the_compose_file_is_one_by_the_specifications_schema() {
    let output = Command::new(tools::compose().join("bin/check-jsonschema"))
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(workspace().join("deploy/compose.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
