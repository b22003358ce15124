//! Runs `evidenced` as a user does: by its command line, in a directory of its own.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program, built once for a test run with the profile of the tests.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| built("evidenced"))
}

/// `evidenced-verify`, built likewise.
pub fn verifier() -> &'static Path {
    static VERIFIER: OnceLock<PathBuf> = OnceLock::new();
    VERIFIER.get_or_init(|| built("evidenced-verify"))
}

/// The program of the package of this name. `cargo test -p tests` alone does not build another package's program.
fn built(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", name, "--bin", name])
        .current_dir(workspace())
        .status()
        .expect("cargo starts");
    assert!(built.success(), "{name} does not build");
    let test = std::env::current_exe().expect("a test knows its own file");
    // target/debug/deps/<test> → target/debug/<name>
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    profile.join(name)
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// A scratch directory in which the program runs.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a scratch directory can be made") }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The program with `arguments`, in this directory, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env_remove("EVIDENCED_CONFIG");
        command
    }

    /// Runs it to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Runs it and expects `code`; both its outputs are in the message when it differs.
    pub fn expect<A: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "standard output:\n{out}\nstandard error:\n{err}");
        out
    }

    /// Starts it with its outputs in `<name>.out` and `<name>.err`.
    pub fn start<A: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = A>) -> Child {
        let file = |suffix| {
            std::fs::File::options()
                .create(true)
                .append(true)
                .open(self.path().join(format!("{name}.{suffix}")))
                .expect("an output file opens")
        };
        self.command(arguments).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts")
    }

    /// Whether this very process answers as the daemon: a killed one leaves its socket behind.
    pub fn answers(&self, daemon: &Child) -> bool {
        let said = self.run(["status", "--json"]);
        serde_json::from_slice::<Value>(&said.stdout).is_ok_and(|status| status["pid"] == daemon.id())
    }

    /// Starts the daemon and waits until it answers.
    pub fn daemon(&self) -> Child {
        self.answering(self.start("daemon", ["run"]))
    }

    /// Waits until this daemon answers, and says what it told where it ended instead.
    pub fn answering(&self, mut daemon: Child) -> Child {
        until("the daemon to answer", || {
            let ended = daemon.try_wait().expect("it is ours");
            assert_eq!(ended, None, "{}", self.said());
            self.answers(&daemon)
        });
        daemon
    }

    /// What daemons of this place told so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path().join("daemon.err")).expect("a daemon was started")
    }

    /// The only origin's directory in `./evidence`.
    pub fn origin(&self) -> PathBuf {
        let mut origins = std::fs::read_dir(self.path().join("evidence"))
            .expect("there is an archive")
            .map(|entry| entry.expect("an archive lists").path())
            .filter(|path| path.is_dir());
        let origin = origins.next().expect("the archive has an origin");
        assert_eq!(origins.next(), None, "the archive has one origin");
        origin
    }

    /// The root key's fingerprint, as `evidenced keys list --json` says it.
    pub fn root(&self) -> String {
        let keys: Value = serde_json::from_str(&self.expect(0, ["keys", "list", "--json"])).expect("keys list is JSON");
        keys["root"].as_str().expect("it names the root").to_owned()
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends a program as a supervisor does, by SIGTERM; it must end well.
pub fn stop(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let code = child.wait().expect("it ends").code();
    assert_eq!(code, Some(0));
}

/// Waits until `done`, or says what was waited for.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(90), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every file below `directory`, sorted.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory lists") {
            let path = entry.expect("a directory lists").path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
