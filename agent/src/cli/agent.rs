//! What `collect`, `run`, `pause` and `status` share: from the configuration to an agent at work.

use std::{io, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use signing::{layout::origin_directory, store::Dir};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    archive::{
        Archive, ArchiveError, DirArchive, Later, S3Archive, SharedReader,
        s3::{self, S3Config},
    },
    blocking::blocking,
    clock::{Clock, SystemClock},
    config::{ArchivePlace, Config, Loaded, LogFormat},
    daemon::{self, Daemon},
    durable::Disk,
    instance::{Instance, InstanceError},
    jobs::Jobs,
    keystore::{Keys, SharedKeys},
    pipeline::{self, Options, Pipeline},
    run::Place,
};

/// An archive that is away is asked again after this, then after twice as long, and so on …
const AGAIN: Duration = Duration::from_secs(1);

/// … up to this.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// How often the archive's upkeep is done …
const UPKEEP: Duration = Duration::from_secs(86_400);

/// … and how soon again where it failed.
const UPKEEP_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Reads the configuration.
pub fn load(path: Option<&Path>) -> anyhow::Result<Loaded> {
    Ok(Config::load(path, std::env::vars_os())?)
}

/// Whether anything at all was configured.
pub fn is_configured(loaded: &Loaded) -> bool {
    loaded.file.is_some() || !loaded.places.is_empty()
}

/// Opens the sources and makes the jobs, after all checks of the configuration.
pub fn jobs(loaded: &Loaded) -> anyhow::Result<Jobs> {
    let config = &loaded.config;
    let sources = config.open_sources();
    for note in loaded.validate(&sources)? {
        tracing::warn!("{note}");
    }
    Jobs::new(sources, &config.parameters(), |job, spec| {
        config.wish(job.collector(), job.source(), &spec.schedule, spec.deadline)
    })
}

/// Sends log lines to standard error: at the configured level, else at `least`.
pub fn log(loaded: &Loaded, least: &str) {
    let written = loaded.places.contains_key("log.level");
    let level = if written { loaded.config.log.level.as_str() } else { least };
    let filter = EnvFilter::new(filter(level));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // Whoever reads them may go away: that ends nothing.
    let lines = lines.log_internal_errors(false);
    // A second call in one process changes nothing.
    let _ = match loaded.config.log.format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

/// What is said at a level. The crates that sign requests say at `debug` and `trace` what they sign, with session tokens: of them no more
/// than `info` is taken.
fn filter(level: &str) -> String {
    let mut filter = level.to_owned();
    if matches!(level, "debug" | "trace") {
        for crate_name in SECRETIVE {
            filter.push_str(&format!(",{crate_name}=info"));
        }
    }
    filter
}

/// Crates that handle credentials.
const SECRETIVE: [&str; 11] = [
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_s3",
    "aws_sdk_sts",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
];

/// The runtime that everything but collectors runs on.
pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("evidenced")
        .build()
        .context("no thread could be started")
}

/// One message for each SIGTERM or SIGINT, and for each SIGHUP (a terminal that closes), unless it is ignored, as under nohup(1).
pub fn signals() -> anyhow::Result<mpsc::Receiver<()>> {
    let (send, receive) = mpsc::channel(4);
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut hang_up = match is_hang_up_ignored() {
        true => None,
        false => Some(signal(SignalKind::hangup()).context("SIGHUP cannot be caught")?),
    };
    tokio::spawn(async move {
        loop {
            let hung_up = async {
                match &mut hang_up {
                    Some(hang_up) => hang_up.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = hung_up => {}
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if send.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

/// Whether whoever started the program said that it outlives its terminal (proc_pid_status(5)).
fn is_hang_up_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Takes `state_dir`, making it where it is missing.
pub fn take(config: &Config, disk: &Disk) -> anyhow::Result<Instance> {
    let dir = &config.state_dir;
    disk.make_private_dirs(dir).with_context(|| format!("cannot make state_dir {}", dir.display()))?;
    match Instance::take(dir) {
        Err(error @ InstanceError::Locked { .. }) => Err(anyhow!(
            "{error}. `status`, `collect` and `pause` go through a running daemon; if it does not answer them, it is starting or stopping: \
             try again in a moment. Else stop it, or set another state_dir"
        )),
        other => Ok(other?),
    }
}

/// The origin that configuration and keys agree on.
pub fn check_origin(config: &Config, keys: &Keys) -> anyhow::Result<String> {
    match &config.origin {
        Some(origin) if *origin != keys.set.origin => Err(anyhow!(
            "`origin` is {origin:?}, but {} is for {:?}: an origin has keys of its own, and keys are never used for another one",
            config.signing.keys.display(),
            keys.set.origin
        )),
        _ => Ok(keys.set.origin.clone()),
    }
}

/// What is said when a daemon seems to run and cannot be asked.
pub fn not_asked(config: &Config) -> String {
    format!(
        "cannot ask whether an agent runs with state_dir {}: run as the user to whom it belongs, or set another state_dir",
        config.state_dir.display()
    )
}

/// Opens archive and pipeline. An archive that is away, with nothing in `state_dir` to go by meanwhile, is waited for, if `patient`.
pub async fn pipeline(
    config: &Config,
    keys: Keys,
    instance: &Instance,
    disk: &Disk,
    patient: bool,
) -> anyhow::Result<Arc<Pipeline>> {
    let origin = check_origin(config, &keys)?;
    let options = Options {
        state_dir: config.state_dir.clone(),
        archive: Arc::new(archive(config, &origin, disk)),
        origin,
        keys: SharedKeys::of(keys, config.key_paths()),
        clock: Arc::new(SystemClock),
        disk: disk.clone(),
        instance: instance.id().to_owned(),
    };
    let mut again = AGAIN;
    loop {
        let error = match Pipeline::open(options.clone()).await {
            Ok(pipeline) => {
                say_where_it_begins(&pipeline, patient);
                return Ok(Arc::new(pipeline));
            }
            Err(error) => error,
        };
        if !patient || !error.may_pass() {
            return Err(error.into());
        }
        let wait = pipeline::jitter(again);
        tracing::error!(
            "WAITING: nothing is collected, since without the archive it is not known what is due; trying again in {:.1} s: {}",
            wait.as_secs_f64(),
            signing::errors::chain(&error)
        );
        tokio::time::sleep(wait).await;
        again = (again * 2).min(AGAIN_AT_MOST);
    }
}

fn say_where_it_begins(pipeline: &Pipeline, patient: bool) {
    let Some(away) = pipeline.status().borrow().away.clone() else { return };
    let then = if patient { "the archive is asked again" } else { "the next start asks again" };
    tracing::error!(
        "AWAY: the archive does not answer. What is collected goes by what state_dir remembers, and waits in the spool; {then}: {}",
        away.why
    );
}

/// The archive that is configured, opened when it is first asked and there.
fn archive(config: &Config, origin: &str, disk: &Disk) -> Later {
    let (config, origin, disk) = (config.clone(), origin.to_owned(), disk.clone());
    let place = format!("{} of {origin}", config.archive.address());
    Later::new(
        place,
        Box::new(move || {
            let (config, origin, disk) = (config.clone(), origin.clone(), disk.clone());
            Box::pin(async move {
                Ok(match config.archive.place() {
                    ArchivePlace::Directory(directory) => {
                        let (directory, state_dir) = (directory.to_owned(), config.state_dir.clone());
                        let opened = blocking(move || open_directory(&directory, &state_dir, &origin, &disk));
                        Arc::new(opened.await?) as Arc<dyn Archive>
                    }
                    ArchivePlace::S3(s3) => Arc::new(S3Archive::open(bucket(&config, s3, &origin, &disk)).await?),
                })
            })
        }),
    )
}

/// What an archive in S3 is opened with.
pub fn bucket<'a>(config: &'a Config, s3: &'a S3Config, origin: &'a str, disk: &'a Disk) -> s3::Open<'a> {
    s3::Open { config: s3, origin, state_dir: &config.state_dir, disk, clock: Arc::new(SystemClock), own: None }
}

/// Does what the archive needs at a start and once a day, such as extending retention. It never ends; what fails is tried again.
pub async fn keep_up(archive: Arc<dyn Archive>) {
    loop {
        let wait = match archive.upkeep().await {
            Ok(()) => UPKEEP,
            Err(error) => {
                tracing::error!(
                    "the archive's upkeep failed, and is tried again in {} min: {}",
                    UPKEEP_AGAIN.as_secs() / 60,
                    signing::errors::chain(&error)
                );
                UPKEEP_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn open_directory(directory: &Path, state_dir: &Path, origin: &str, disk: &Disk) -> Result<DirArchive, ArchiveError> {
    // A log that was there once is looked for, and never begun again: its file system may not be mounted yet.
    let known = pipeline::known_size(state_dir, origin);
    let archive = match known {
        Some(_) => DirArchive::reopen(directory, origin, disk),
        None => DirArchive::open(directory, origin, disk),
    };
    archive.map_err(|error| match (error, known) {
        (ArchiveError::Io { place, action, name, source }, Some(size)) if source.kind() == io::ErrorKind::NotFound => {
            let text = format!(
                "it is not there, but {} knows a log of {size} entries in it. Is its file system mounted, and `archive.directory` right? A \
                 new log is not begun, for it would contradict the old one",
                state_dir.display()
            );
            ArchiveError::Io { place, action, name, source: io::Error::new(source.kind(), text) }
        }
        (error, _) => error,
    })
}

/// The origin's archive for reading, for code that blocks, and where it is.
pub async fn reader(config: &Config, origin: &str) -> anyhow::Result<(SharedReader, String)> {
    Ok(match config.archive.place() {
        ArchivePlace::Directory(directory) => {
            let path = directory.join(origin_directory(origin));
            let place = path.display().to_string();
            (Arc::new(Dir::new(path)), place)
        }
        ArchivePlace::S3(s3) => {
            let archive = S3Archive::connect(bucket(config, s3, origin, &Disk::new())).await?;
            (archive.reader(), archive.place())
        }
    })
}

/// The agent at work, with what the configuration says.
pub fn daemon(
    config: &Config,
    jobs: Jobs,
    pipeline: Arc<Pipeline>,
    disk: Disk,
    accept_clock: bool,
) -> anyhow::Result<Daemon> {
    let settings = daemon::Settings {
        state_dir: config.state_dir.clone(),
        parallel: usize::from(config.parallel_jobs),
        append_every: config.append_every.get(),
        max_spool_bytes: config.max_spool_bytes,
        stop_within: config.stop_within.get(),
        settle: config.schedule.settle.get(),
        retention_days: config.archive.retention_days(),
        accept_clock,
        place: Place::Own,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Daemon::new(settings, jobs, pipeline, clock, disk)
        .with_context(|| format!("state_dir {} cannot be used", config.state_dir.display()))
}

/// Ends the runtime without waiting for what hangs in it.
pub fn end(runtime: Runtime, code: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_requests_is_never_asked_for_more_than_info() {
        assert_eq!(filter("warn"), "warn");
        for level in ["debug", "trace"] {
            let filter = filter(level);
            assert!(filter.starts_with(level) && filter.contains(",aws_sigv4=info"), "{filter}");
        }
    }
}
