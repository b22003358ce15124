//! AWS as far as it can be had without AWS: simulators that others wrote, what they lack from a server of ours, and faults on demand.
//!
//! Every server listens on 127.0.0.1 on a port that was free. It ends when its `Server` is dropped, and when the test process ends
//! otherwise: its standard input is a pipe that nobody else holds.

pub mod estate;
pub mod verdict;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{program::text, tools};

/// Python with the simulators and boto3.
pub fn python() -> Command {
    let mut command = Command::new(tools::aws().join("bin/python"));
    // Nothing of the caller's own AWS may play a part.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("AWS_EC2_METADATA_DISABLED", "true").current_dir(tools::scripts());
    command
}

/// A server that a script of `tests/tools/` runs, and prints where.
pub struct Server {
    child: Child,
    // Closed before the child is waited for: that is what ends it.
    input: Option<ChildStdin>,
    said: Value,
    log: tempfile::NamedTempFile,
}

impl Server {
    /// Starts it and waits until it says that it listens.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a log file can be made");
        let mut child = python()
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the log file opens"))
            .spawn()
            .expect("the server starts");
        let input = child.stdin.take();
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("its output can be read");
        let mut server = Self { child, input, said: Value::Null, log };
        server.said =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{script} did not start:\n{}", server.log()));
        server
    }

    /// What it wrote to its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.said["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a server says its port")
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request to the server's own interface, and its JSON.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, body) = request(self.port(), method, path, body.to_string().as_bytes());
        assert_eq!(status, 200, "{method} {path}: {}", text(&body));
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        for _ in 0..100 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A plain HTTP request to 127.0.0.1: the status and the body.
pub fn request(port: u16, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let status =
        text(&answer[..end]).split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a status");
    (status, answer.split_off(end + 4))
}

/// AWS KMS with Ed25519 keys, which no simulator has.
pub struct Kms {
    server: Server,
    directory: tempfile::TempDir,
}

impl Kms {
    /// Starts it without a key.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory can be made");
        let server = Server::start("aws_kms.py", &["serve", &directory.path().display().to_string()]);
        Self { server, directory }
    }

    /// Makes the key `alias/<alias>`, of the kind `ed25519` or `p256`.
    pub fn make(&self, alias: &str, kind: &str) {
        let made = python().args(["aws_kms.py", "key"]).arg(self.directory.path()).args([alias, kind]).status();
        assert!(made.expect("Python starts").success(), "{alias}");
    }

    /// Whether from now on it is `away`, answers `throttle` or `denied`, or signs something `wrong`.
    pub fn is(&self, fault: &str, now: bool) {
        let file = self.directory.path().join(fault);
        match now {
            true => std::fs::write(file, "").expect("a file can be written"),
            false => std::fs::remove_file(file).expect("the file was there"),
        }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }
}

/// moto alone, without images that nobody made and without permissions.
pub struct Moto(Server);

impl Moto {
    /// Starts it.
    pub fn start() -> Self {
        Self(Server::start("aws_world.py", &["--plain"]))
    }

    /// From now on it checks signatures and policies itself, as far as it can.
    pub fn enforcing(&self) {
        self.0.control("POST", "/moto-api/reset-auth", &json!(0));
    }

    /// Nothing was ever made.
    pub fn reset(&self) {
        self.0.control("POST", "/moto-api/reset", &Value::Null);
    }
}

impl std::ops::Deref for Moto {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// ministack: S3 with checksums and conditional writes.
pub struct Ministack(Server);

impl Ministack {
    /// Starts it.
    pub fn start() -> Self {
        Self(Server::start("aws_ministack.py", &[]))
    }
}

impl std::ops::Deref for Ministack {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// Whom nobody knows: HTTPS under an authority of its own, whose certificate is put into a file, and a refusal for every request.
pub struct Stranger(Server);

impl Stranger {
    /// Starts it; `certificate` is written.
    pub fn start(certificate: &Path) -> Self {
        Self(Server::start("tls_refuser.py", &[&certificate.display().to_string()]))
    }
}

impl std::ops::Deref for Stranger {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// moto, answers for what it lacks, faults, and a log of every call: `tests/tools/aws_world.py`.
pub struct AwsWorld(Server);

impl std::ops::Deref for AwsWorld {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl AwsWorld {
    /// Starts it, empty.
    pub fn start() -> Self {
        Self(Server::start("aws_world.py", &[]))
    }

    /// Fills it as `tests/tools/aws_seed.py` does, and gives what was made. `sizes`: `users=20`.
    pub fn seed(&self, sizes: &[&str], regions: &[&str]) -> Seeded {
        let output = python()
            .args(["aws_seed.py", "--endpoint", &self.endpoint()])
            .args(["--access-key", self.said("access_key"), "--secret-key", self.said("secret_key")])
            .arg("--size")
            .args(sizes)
            .arg("--regions")
            .args(regions)
            .output()
            .expect("the seed starts");
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.log());
        Seeded(serde_json::from_slice(&output.stdout).expect("the seed prints JSON"))
    }

    fn said(&self, name: &str) -> &str {
        self.0.said[name].as_str().expect("the server says its keys")
    }

    /// The variables with which a program asks as the account's administrator.
    pub fn administrator(&self) -> Vec<(&'static str, String)> {
        environment(self.said("access_key"), self.said("secret_key"))
    }

    /// Nothing was ever made, asked or faulted.
    pub fn reset(&self) {
        self.control("POST", "/_reset", &Value::Null);
    }

    /// Has a promise of `tests/tools/aws_check.py` checked.
    pub fn check(&self, promise: &str) {
        check("aws_check.py", &[promise, &self.endpoint(), self.said("access_key"), self.said("secret_key")]);
    }

    /// Takes a rule, or a list of them: `tests/tools/aws_faults.py` says which there are.
    pub fn fault(&self, rules: Value) {
        self.control("POST", "/_faults", &rules);
    }

    /// The rules, each with how many calls it saw (`seen`) and faulted (`hit`).
    pub fn faults(&self) -> Vec<Value> {
        list(self.control("GET", "/_faults", &Value::Null))
    }

    /// No more faults.
    pub fn sound(&self) {
        self.control("DELETE", "/_faults", &Value::Null);
    }

    /// The calls made since the start, or since [`AwsWorld::forget`].
    pub fn calls(&self) -> Vec<Value> {
        list(self.control("GET", "/_calls", &Value::Null))
    }

    /// Forgets the calls made.
    pub fn forget(&self) {
        self.control("DELETE", "/_calls", &Value::Null);
    }

    /// Takes rows for the stand-in: `tests/tools/aws_standin.py`.
    pub fn answer(&self, rows: Value) {
        self.control("POST", "/_answers", &rows);
    }

    /// Gives a role this policy instead of those attached to it.
    pub fn grant(&self, account: &str, role: &str, policy: &Value) {
        self.control("POST", "/_grant", &json!({"account": account, "role": role, "document": policy}));
    }

    /// Whether the policies of users and roles are enforced, and the trust of roles.
    pub fn enforce(&self, permissions: bool, trust: bool) {
        self.control("POST", "/_enforce", &json!({"permissions": permissions, "trust": trust}));
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(rows) => rows,
        other => panic!("no list: {other}"),
    }
}

fn environment(key: &str, secret: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID", key.into()),
        ("AWS_SECRET_ACCESS_KEY", secret.into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
    ]
}

/// What a seed made, as it says itself.
pub struct Seeded(pub Value);

impl Seeded {
    /// A text at a place.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("the seed says nothing at {pointer}"))
    }

    /// The accounts that are active, the management account first.
    pub fn accounts(&self) -> Vec<String> {
        texts(&self.0["accounts"])
    }

    /// The regions that were filled.
    pub fn regions(&self) -> Vec<String> {
        texts(&self.0["regions"])
    }

    /// What was made of a kind.
    pub fn made(&self, kind: &str) -> &[Value] {
        self.0[kind].as_array().map_or(&[], Vec::as_slice)
    }

    /// The variables with which the program asks: a user that may only assume the readers.
    pub fn collector(&self) -> Vec<(&'static str, String)> {
        environment(self.text("/collector/access_key"), self.text("/collector/secret_key"))
    }

    /// The settings of a source `aws` that reads these accounts as the seeded readers.
    pub fn source(&self, world: &AwsWorld) -> Value {
        json!({
            "endpoint": world.endpoint(),
            "accounts": self.accounts(),
            "regions": self.regions(),
            "role": format!("arn:aws:iam::{{account}}:role/{}", self.text("/collector/role")),
            "external_id": self.text("/collector/external_id"),
        })
    }

    /// Every text that must be in no archive.
    pub fn secrets(&self) -> Vec<String> {
        let planted = self.0["secrets"].as_object().expect("the seed names its secrets").values();
        planted.filter_map(Value::as_str).map(str::to_owned).chain(texts(&self.0["mfa_seeds"])).collect()
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Runs a script of `tests/tools/` and expects it to be content; what it says else is the message.
pub fn check(script: &str, arguments: &[&str]) {
    let output = python().arg(script).args(arguments).output().expect("python starts");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
