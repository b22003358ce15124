//! The image of `deploy/Dockerfile`, built and run by podman: the one that is installed, or Debian's, unpacked without being installed.
//!
//! Nothing comes from a registry of images: the build stage is this machine's own compiler and crates, mounted into an empty image. Its
//! storage is a directory below `target/test-tools`, which a process of its own removes when the tests end, however they do; only
//! cargo's cache stays for the next time.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use crate::{
    program::{text, workspace},
    tools,
};

/// The image's name, as in the documents.
pub const IMAGE: &str = "evidenced";

/// What stands in for the official image of Rust.
const STAND_IN: &str = "localhost/rust-of-this-machine";

/// podman with a storage of its own.
pub struct Engine {
    home: PathBuf,
    // podman takes no longer name than 50 characters for it.
    running: PathBuf,
    // Its input is closed by the end of this process, whatever ends it.
    _guard: Child,
}

/// podman with the image in its storage, built once for a test process. `None`, with the reason printed, where it cannot be had.
pub fn image() -> Option<&'static Engine> {
    static IMAGE: OnceLock<Option<Engine>> = OnceLock::new();
    IMAGE
        .get_or_init(|| match Engine::start() {
            Ok(engine) => {
                engine.build();
                Some(engine)
            }
            Err(why) => {
                tools::skipped(&format!("containers cannot be built and run here: {why}"));
                None
            }
        })
        .as_ref()
}

impl Engine {
    /// podman that can run a container, or why there is none.
    fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can without more being installed".into());
        }
        let tools = tools::containers()?;
        let directory = |parent: &Path| tempfile::Builder::new().prefix("run-").tempdir_in(parent);
        let home = directory(&tools.cache).map_err(|e| e.to_string())?.keep();
        let running = directory("/tmp".as_ref()).map_err(|e| e.to_string())?.keep();
        let engine = Self { _guard: guard(&home, &running), home, running };
        engine.configure(&tools);
        engine.import_stand_in()?;
        let tried =
            engine.command(["run", "--rm", "--network", "none", "--volume", "/usr:/usr:ro", STAND_IN, "true"]).output();
        match tried.map_err(|e| e.to_string())? {
            output if output.status.success() => Ok(engine),
            output => Err(text(&output.stderr)),
        }
    }

    fn configure(&self, tools: &tools::Containers) {
        let at = |name: &str| self.home.join(name);
        let write = |name: &str, content: &str| fs::write(at(name), content).expect("a configuration can be written");
        fs::create_dir_all(at("home/.config/containers")).expect("a directory can be made");
        // Nothing is fetched, so nothing is checked where it comes from.
        write("home/.config/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        write("registries.conf", "");
        let storage = (at("storage"), &self.running);
        write(
            "storage.conf",
            &format!("[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n", storage.0, storage.1),
        );
        let mut engine = String::from(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\nlock_type = \"file\"\nruntime = \"runc\"\n",
        );
        if let Some(root) = &tools.unpacked {
            let usr = root.join("usr");
            engine.push_str(&format!(
                "conmon_path = [{:?}]\n[engine.runtimes]\nrunc = [{:?}]\n",
                at("conmon"),
                usr.join("sbin/runc")
            ));
            // It calls podman when a container ends, which finds its libraries by what conmon was given.
            write_script(
                &at("conmon"),
                &format!("{}exec {} \"$@\"\n", self.environment(tools), usr.join("bin/conmon").display()),
            );
        }
        engine.push_str(&format!("[network]\nnetwork_config_dir = {:?}\n", at("networks")));
        write("containers.conf", &engine);
        let (home, running, podman) = (self.home.display(), self.running.display(), tools.podman.display());
        let call = format!("exec {podman} --root {home}/storage --runroot {running} --tmpdir {running}/tmp \"$@\"\n");
        write_script(&self.podman(), &(self.environment(tools) + &call));
    }

    /// The variables that podman needs here, for a shell.
    fn environment(&self, tools: &tools::Containers) -> String {
        let (home, running, cache) = (self.home.display(), self.running.display(), tools.cache.display());
        let mut lines = format!(
            "export HOME={home}/home CONTAINERS_CONF={home}/containers.conf CONTAINERS_STORAGE_CONF={home}/storage.conf\n\
             export CONTAINERS_REGISTRIES_CONF={home}/registries.conf XDG_RUNTIME_DIR={running} TMPDIR={cache}\n"
        );
        if let Some(root) = &tools.unpacked {
            let libraries: Vec<String> = fs::read_dir(root.join("usr/lib"))
                .expect("unpacked packages list")
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
                .map(|path| path.display().to_string())
                .collect();
            lines.push_str(&format!("export LD_LIBRARY_PATH={}\n", libraries.join(":")));
        }
        lines
    }

    /// An image with the names that this machine's compiler and certificates are found by, and nothing else.
    fn import_stand_in(&self) -> Result<(), String> {
        let root = self.home.join("stand-in");
        for directory in
            ["cargo/registry", "etc/alternatives", "etc/ssl/certs", "root", "rust", "tmp", "usr", "var/tmp"]
        {
            fs::create_dir_all(root.join(directory)).expect("a directory can be made");
        }
        for directory in ["bin", "lib", "lib64", "sbin"] {
            symlink(Path::new("usr").join(directory), root.join(directory)).expect("a link can be made");
        }
        let certificates = "etc/ssl/certs/ca-certificates.crt";
        fs::copy(Path::new("/").join(certificates), root.join(certificates))
            .expect("this machine has public certificates");
        let tar = self.home.join("stand-in.tar");
        let packed =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().expect("tar starts");
        assert!(packed.success());
        let tar = tar.display().to_string();
        let mut import = vec!["import", "--quiet"];
        for change in ["PATH=/rust/bin:/usr/bin:/bin", "HOME=/root", "CARGO_HOME=/cargo", "CARGO_NET_OFFLINE=true"] {
            import.extend(["--change", change]);
        }
        let mut import: Vec<String> = import.into_iter().map(str::to_owned).collect();
        for change in import.iter_mut().filter(|word| word.contains('=')) {
            change.insert_str(0, "ENV ");
        }
        let output = self.run(import.iter().map(String::as_str).chain([tar.as_str(), STAND_IN]));
        output.status.success().then_some(()).ok_or_else(|| text(&output.stderr))
    }

    fn build(&self) {
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc starts");
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").expect("a user has a home")).join(".cargo"),
            PathBuf::from,
        );
        let file = workspace().join("deploy/Dockerfile");
        let mut command = self.command(["build", "--quiet", "--format", "docker", "--network", "none"]);
        command.arg("--build-arg").arg(format!("BUILD_IMAGE={STAND_IN}"));
        for (from, to) in [
            ("/usr", "/usr:ro"),
            ("/etc/alternatives", "/etc/alternatives:ro"),
            (text(&sysroot.stdout).trim(), "/rust:ro"),
            (&cargo.join("registry").display().to_string(), "/cargo/registry"),
        ] {
            command.arg("--volume").arg(format!("{from}:{to}"));
        }
        let output =
            command.arg("--file").arg(file).args(["--tag", IMAGE]).arg(workspace()).output().expect("podman starts");
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }

    /// The command by which it is called, for what calls it by itself.
    pub fn podman(&self) -> PathBuf {
        self.home.join("podman")
    }

    /// podman with `arguments`, not yet started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(self.podman());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command(arguments).output().expect("podman starts")
    }

    /// Runs it and expects `code`; both its outputs are in the message when it differs.
    pub fn expect<A: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "standard output:\n{out}\nstandard error:\n{err}");
        out
    }
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}")).expect("a script can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
}

/// Starts what removes the containers and both directories once this process is gone, by whatever end.
fn guard(home: &Path, running: &Path) -> Child {
    let script = "trap '' HUP INT TERM; cat; \"$1/podman\" rm --all --force --time 0; \
                  umount \"$1/storage/overlay\"; rm -rf --one-file-system \"$1\" \"$2\"";
    let mut guard = Command::new("sh");
    guard
        .args(["-c", script, "sh"])
        .args([home, running])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // A process group of its own: what ends the tests from a terminal must not end it.
    guard.process_group(0).spawn().expect("sh starts")
}
