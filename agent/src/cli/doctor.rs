//! `evidenced doctor`: tries what runs will need, seals nothing, and says what to do. It asks the sources as runs do, and writes
//! nothing but what the proof of an archive in S3 takes.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use collectors::{
    aws::{Aws, doctor},
    contract::{Collector, Source},
    finding::{Finding, State},
    host::config::HostConfig,
};
use rustix::fs::{Access, access};
use serde::Serialize;
use signing::{
    errors::chain,
    layout::{CHECKPOINT, origin_directory},
    log::MAX_CHECKPOINT,
};

use super::agent;
use crate::{
    anchor::{self, Ask as _, AskError, Authority},
    archive::{
        Archive as _, S3Archive,
        s3::{Answer, Found},
    },
    clock::{Clock as _, SystemClock},
    config::{ArchivePlace, Config, Loaded, SourceConfig, TimestampsConfig, Wish},
    durable::Disk,
    http::Client,
    keystore,
    witness::config::WitnessConfig,
};

/// How long a witness may take.
const WITNESS: Duration = Duration::from_secs(10);

/// How long a timestamp authority may take.
const AUTHORITY: Duration = Duration::from_secs(30);

/// `evidenced doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// A finding, and the source that it is about; none: the agent itself.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(flatten)]
    finding: Finding,
}

/// Exits 0 when everything is fine, 1 with findings, 2 where something could not be told, or not even begun.
///
/// # Errors
/// A configuration that is refused; printing that fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "error");
    let sources = loaded.config.open_sources();
    let notes = loaded.validate(&sources)?;
    if let Some(name) = &args.source
        && !sources.iter().any(|source| source.name == *name)
    {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        anyhow::bail!("there is no source {name:?}; there are: {}", names.join(", "));
    }
    let mut told = Vec::new();
    if args.source.is_none() {
        let own = |finding| Told { source: None, finding };
        told.extend(configuration(&loaded, notes).into_iter().map(own));
        told.extend(agent_itself(&loaded).into_iter().map(own));
    }
    let runtime = agent::runtime()?;
    if args.source.is_none() {
        let findings = runtime.block_on(bucket(&loaded.config));
        told.extend(findings.into_iter().map(|finding| Told { source: None, finding }));
        let findings = runtime.block_on(witnesses(&loaded.config.signing.witnesses));
        told.extend(findings.into_iter().map(|finding| Told { source: None, finding }));
        let findings = runtime.block_on(authorities(&loaded.config.signing.timestamps));
        told.extend(findings.into_iter().map(|finding| Told { source: None, finding }));
    }
    for (config, source) in loaded.config.sources.iter().zip(&sources) {
        if args.source.as_ref().is_none_or(|name| *name == config.name) {
            let findings = runtime.block_on(examine(&loaded.config, config, source));
            told.extend(findings.into_iter().map(|finding| Told { source: Some(config.name.clone()), finding }));
        }
    }
    print(&told, args.json, &mut io::stdout().lock())?;
    agent::end(runtime, Ok(ExitCode::from(code(&told))))
}

fn code(told: &[Told]) -> u8 {
    match told.iter().map(|told| told.finding.state).max() {
        None | Some(State::Fine) => 0,
        Some(State::Finding) => 1,
        Some(State::Unknown) => 2,
    }
}

fn print(told: &[Told], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, told)?;
        return writeln!(out);
    }
    for Told { source, finding } in told {
        let state = match finding.state {
            State::Fine => "fine",
            State::Unknown => "unknown",
            State::Finding => "FINDING",
        };
        let of = source.as_ref().map(|source| format!("{source}: ")).unwrap_or_default();
        writeln!(out, "{state:8} {of}{}: {}", finding.about, finding.says)?;
        if let Some(to_do) = &finding.to_do {
            writeln!(out, "         -> {to_do}")?;
        }
    }
    let count = |state| told.iter().filter(|told| told.finding.state == state).count();
    match (count(State::Finding), count(State::Unknown)) {
        (0, 0) => writeln!(out, "\nEverything that was tried is fine."),
        (findings, unknown) => {
            let findings = if findings == 1 { "1 finding".to_owned() } else { format!("{findings} findings") };
            writeln!(out, "\n{findings}; {unknown} could not be told.")
        }
    }
}

fn configuration(loaded: &Loaded, notes: Vec<String>) -> Vec<Finding> {
    let about = "configuration";
    let from = match &loaded.file {
        Some(file) => format!("{} is valid", file.display()),
        None => "the defaults: there is no evidenced.yaml here, and none was named".to_owned(),
    };
    let note = |note: String| Finding::wrong(about, note, "correct it, or take it out");
    [Finding::fine(about, from)].into_iter().chain(notes.into_iter().map(note)).collect()
}

/// Keys, archive, state directory, clock.
fn agent_itself(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let keys = keystore::open(&config.key_paths());
    let origin = keys.as_ref().ok().map(|keys| keys.set.origin.clone());
    let mut findings = Vec::new();
    findings.push(match keys {
        Ok(keys) => match agent::check_origin(config, &keys) {
            Ok(origin) => Finding::fine("keys", format!("those of {origin}; root key {}", keys.set.root.fingerprint())),
            Err(error) => Finding::wrong("keys", error.to_string(), "name the keys of this origin"),
        },
        Err(_) if !agent::is_configured(loaded) => {
            Finding::fine("keys", "none yet: without a configuration, `collect` makes them")
        }
        Err(error) => {
            Finding::wrong("keys", chain(&error), "`evidenced keys init` makes keys for a new log; else put them back")
        }
    });
    if let ArchivePlace::Directory(path) = config.archive.place() {
        findings.push(directory("archive", path, origin.as_deref()));
    }
    findings.push(directory("state_dir", &config.state_dir, None));
    findings.push(match SystemClock.synchronised() {
        Some(true) => Finding::fine("clock", "the kernel says that it is synchronised"),
        Some(false) => {
            Finding::wrong("clock", "the kernel says that it is not synchronised", "run chrony or another NTP client")
        }
        None => Finding::unknown(
            "clock",
            "the kernel does not say whether it is synchronised",
            "see that an NTP client runs",
        ),
    });
    findings
}

/// What the archive's store does, where it is in S3.
async fn bucket(config: &Config) -> Vec<Finding> {
    let ArchivePlace::S3(s3) = config.archive.place() else { return Vec::new() };
    let about = "archive";
    let written = config.origin.clone();
    let Some(origin) = written.or_else(|| keystore::open(&config.key_paths()).ok().map(|keys| keys.set.origin)) else {
        let says = format!("{} is not asked: without keys there is no origin yet", s3.address());
        return vec![Finding::unknown(about, says, "`evidenced keys init` makes keys for a new log")];
    };
    let disk = Disk::new();
    let archive = match S3Archive::connect(agent::bucket(config, s3, &origin, &disk)).await {
        Ok(archive) => archive,
        Err(error) => return vec![Finding::wrong(about, chain(&error), "correct `archive.s3`")],
    };
    let mut findings: Vec<Finding> =
        archive.examine(s3, &config.state_dir).await.into_iter().map(|found| finding(&found)).collect();
    findings.push(match archive.read(CHECKPOINT, MAX_CHECKPOINT).await {
        Ok(Some(_)) => Finding::fine(about, format!("{} holds the log", archive.place())),
        Ok(None) => Finding::fine(about, format!("{} holds no log yet", archive.place())),
        Err(error) => {
            Finding::wrong(about, chain(&error), "give the agent what `evidenced iam-policy --archive` prints")
        }
    });
    findings
}

/// Asks each timestamp authority for one token, over bytes that mean nothing.
async fn authorities(config: &TimestampsConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    for authority in &config.authorities {
        let about = format!("timestamps: {}", authority.url);
        let opened = Client::new().map_err(|error| chain(&error));
        let opened = opened.and_then(|http| Authority::open(authority, http).map_err(|error| chain(&error)));
        let opened = match opened {
            Ok(opened) => opened,
            Err(why) => {
                findings.push(Finding::wrong(about, why, "name a file with the authority's root certificate"));
                continue;
            }
        };
        let mut message = [0; 32];
        rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut message);
        findings.push(match opened.ask(&message, AUTHORITY).await {
            Ok(token) => {
                let stamp = token.stamp;
                let says = format!("a token by {}, under {}", stamp.authority, stamp.root_name);
                match anchor::apart(stamp.earliest, stamp.latest, SystemClock.now()) {
                    None => Finding::fine(about, says),
                    Some(seconds) => Finding::wrong(
                        about,
                        format!("{says}; its clock and this one are {} s apart", seconds.abs()),
                        "set this machine's clock right, or name another authority",
                    ),
                }
            }
            Err(AskError::Token(error)) if error.is_untrusted() => Finding::wrong(
                about,
                chain(&AskError::Token(error)),
                "write its root certificate as `ca`, once you know that it is right: auditors must be given it too",
            ),
            Err(error @ AskError::Http(_)) => {
                Finding::wrong(about, chain(&error), "see that the address is right and this machine may reach it")
            }
            Err(error) => {
                Finding::wrong(about, chain(&error), "see that the address is right, or name another authority")
            }
        });
    }
    findings
}

/// Asks each witness for nothing: it refuses that, and so is there.
async fn witnesses(configured: &[WitnessConfig]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for config in configured {
        let about = format!("witness: {}", config.url);
        let to_do = "see that the address is right and this machine may reach it";
        let asked = async {
            let http = Client::new()?;
            http.post(&config.add_checkpoint(), "text/plain; charset=utf-8", "", Vec::new(), 64 * 1024, WITNESS).await
        };
        findings.push(match asked.await {
            // Our own says 400; the specification leaves open what others say to a request that is none.
            Ok(answer) if (400..500).contains(&answer.status) && answer.status != 404 => {
                Finding::fine(about, format!("it answers (with status {} to an empty request)", answer.status))
            }
            Ok(answer) => {
                let says = format!("it answers an empty request with status {}, as no witness does", answer.status);
                Finding::wrong(about, says, to_do)
            }
            Err(error) => Finding::wrong(about, chain(&error), to_do),
        });
    }
    findings
}

fn finding(found: &Found) -> Finding {
    let about = format!("archive: {}", found.property);
    match found.answer {
        Answer::Holds => Finding::fine(about, format!("holds: {}", found.says)),
        Answer::Lacks => Finding::wrong(about, format!("lacks: {}", found.says), found.property.without()),
        Answer::CannotTell => Finding::unknown(about, format!("cannot tell: {}", found.says), found.property.without()),
    }
}

/// A directory that the agent writes: whether it can, or can make it; of the archive, whether its log can be read.
fn directory(about: &str, path: &Path, origin: Option<&str>) -> Finding {
    let shown = path.display();
    let to_do = "let the agent's user read and write it, and mount what belongs there";
    let nearest = path.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let nearest = nearest.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = access(nearest, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return Finding::wrong(about, format!("{}: {error}", nearest.display()), to_do);
    }
    if nearest != path {
        return Finding::fine(about, format!("{shown} is not there yet; it can be made"));
    }
    let checkpoint = origin.map(|origin| path.join(origin_directory(origin)).join(CHECKPOINT));
    match checkpoint.map(File::open) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            Finding::wrong(about, format!("the log in {shown} cannot be read: {error}"), to_do)
        }
        Some(Ok(_)) => Finding::fine(about, format!("{shown} holds the log, and can be written")),
        _ => Finding::fine(about, format!("{shown} can be written")),
    }
}

/// Tries a source, for those of its jobs that are not switched off.
async fn examine(config: &Config, source: &SourceConfig, opened: &Source) -> Vec<Finding> {
    let on = |collector: &&Arc<dyn Collector>| {
        let spec = collector.spec();
        matches!(config.wish(&spec.id, &source.name, &spec.schedule, spec.deadline), Wish::Run(_))
    };
    let collectors: Vec<Arc<dyn Collector>> = opened.collectors.iter().filter(on).cloned().collect();
    match (&source.aws, &source.host) {
        (Some(aws), _) => {
            let aws = Aws::new(aws.clone());
            aws.limit_sessions(&collectors);
            doctor::examine(&aws, &collectors, Arc::new(|| SystemClock.now())).await
        }
        (None, host) => host_findings(host.as_ref(), opened),
    }
}

fn host_findings(config: Option<&HostConfig>, opened: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &opened.not_run {
        Some(why) => Finding::wrong(
            "host",
            format!("its jobs do not run: {why}"),
            "`docs/OPERATIONS.md`, section 3, says how to mount it",
        ),
        None => Finding::fine(
            "host",
            format!("its root file system is at {}", config.map_or("/".into(), |c| c.root.display().to_string())),
        ),
    });
    if !rustix::process::geteuid().is_root() {
        let says = "this user may not read passwords, sudoers and audit rules: what follows from them is unknown";
        findings.push(Finding::wrong(
            "rights",
            says,
            "run as root, or accept it; `evidenced collectors` lists each right",
        ));
    }
    for repository in config.into_iter().flat_map(|config| &config.restic) {
        let files = [&repository.password_file].into_iter().chain(repository.env_files.values());
        for path in files {
            if let Err(error) = File::open(path) {
                let about = format!("restic repository {}", repository.name);
                findings.push(Finding::wrong(
                    about,
                    format!("{}: {error}", path.display()),
                    "put the file there, readable by the agent",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use tempfile::TempDir;

    use super::*;

    fn told(findings: Vec<Finding>) -> Vec<Told> {
        findings.into_iter().map(|finding| Told { source: Some("box".into()), finding }).collect()
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let (fine, wrong) = (|| Finding::fine("a", "b"), || Finding::wrong("a", "b", "c"));
        let unknown = || Finding::unknown("a", "b", "c");
        assert_eq!(code(&told(vec![])), 0);
        assert_eq!(code(&told(vec![fine()])), 0);
        assert_eq!(code(&told(vec![fine(), unknown()])), 2);
        assert_eq!(code(&told(vec![unknown(), wrong(), fine()])), 1);
    }

    #[test]
    fn every_finding_is_printed_with_what_to_do() {
        let mut out = Vec::new();
        print(
            &told(vec![Finding::fine("host", "here"), Finding::wrong("rights", "few", "run as root")]),
            false,
            &mut out,
        )
        .unwrap();
        let expected = "fine     box: host: here\nFINDING  box: rights: few\n         -> run as root\n\n1 finding; 0 could not be told.\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn directories_are_looked_at_and_not_made() {
        let dir = TempDir::new().unwrap();
        let deep = dir.path().join("a/b");
        assert!(directory("archive", &deep, None).says.ends_with("is not there yet; it can be made"));
        assert!(!deep.exists());
        let origin = "evidence.acme.example/prod";
        assert!(directory("archive", dir.path(), Some(origin)).says.ends_with("can be written"));
        let log = dir.path().join(origin_directory(origin));
        fs::create_dir_all(&log).unwrap();
        fs::write(log.join(CHECKPOINT), "").unwrap();
        assert!(directory("archive", dir.path(), Some(origin)).says.contains("holds the log"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(directory("archive", &file.join("x"), None).state, State::Finding);
    }

    #[test]
    fn a_host_that_is_not_read_is_a_finding_with_the_reason() {
        let config: HostConfig = serde_json::from_str(r#"{"root": "/nowhere/at/all"}"#).unwrap();
        let opened = collectors::host::open(&config, "box", "/proc/self/exe".into());
        let findings = host_findings(Some(&config), &opened);
        assert_eq!(findings[0].state, State::Finding);
        assert!(findings[0].says.contains("/nowhere/at/all"), "{findings:?}");
    }
}
