//! `evidenced collect`: reads once and seals what was read. Without a configuration it reads this host, and makes its keys on first use.
//! Beside a running daemon it asks that one.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use signing::{
    errors::chain,
    layout::{CHECKPOINT, Job, origin_directory},
    plan::NotRun,
    statement::Outcome,
    time::rfc3339,
};
use tokio::sync::mpsc;

use super::{agent, table};
use crate::{
    anchor::Anchoring,
    clock::{Clock as _, SystemClock},
    config::{ArchivePlace, Config, Loaded},
    control::{self, Anchor, Answer, Ask, Asked, Line, Witness},
    daemon::Exit,
    durable::Disk,
    jobs::Jobs,
    keystore::{self, Keys, KeystoreError},
    promise,
    witness::client::Witnessing,
};

/// `evidenced collect`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only these jobs (host/accounts@this) or collectors (host/accounts)
    #[arg(value_name = "JOB")]
    pub only: Vec<String>,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml, else this host into ./evidence
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Exit with 1 when a check failed, when one is unknown, or when a run was not collected whole
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--fail-on` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// A check failed
    Fail,
    /// A check could not be answered
    Unknown,
    /// A run was partial or failed
    Partial,
}

/// What was done, for a person or as JSON.
#[derive(Debug, Default, Serialize)]
struct Report {
    origin: Option<String>,
    root: Option<String>,
    archive: String,
    jobs: Vec<Line>,
    not_run: Vec<NotRun>,
    logged: u64,
    /// What the timestamp authorities anchored; through a daemon that is its to do.
    anchors: Vec<Anchor>,
    /// What the witnesses signed; through a daemon that is its to have done.
    witnesses: Vec<Witness>,
    /// Why what was read is not all in the log.
    waiting: Option<String>,
    /// Whether a running daemon did it.
    through_daemon: bool,
    /// What `verify` needs besides the archive's address.
    #[serde(skip)]
    options: String,
    #[serde(skip)]
    first: bool,
    #[serde(skip)]
    planned: bool,
    #[serde(skip)]
    promised: bool,
}

/// Exits 0 when evidence was sealed, whatever the checks say; 1 where `--fail-on` says so; 2 when nothing could be collected or logged.
///
/// # Errors
/// What kept it from collecting at all, with what to do.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "warn");
    if !args.json && !agent::is_configured(&loaded) {
        println!("No configuration: reading this host into {}", loaded.config.archive.address());
    }
    let jobs = agent::jobs(&loaded)?;
    jobs.named(&args.only)?;
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let report = collect(args, &loaded, jobs).await?;
        let mut out = io::stdout().lock();
        if args.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            report.print(&mut out)?;
        }
        Ok(ExitCode::from(report.code(&args.fail_on)))
    });
    agent::end(runtime, code)
}

async fn collect(args: &Args, loaded: &Loaded, jobs: Jobs) -> anyhow::Result<Report> {
    let config = &loaded.config;
    let ask = Ask::Collect { only: args.only.clone() };
    let mut report = Report {
        archive: config.archive.address(),
        options: config.archive.options(),
        not_run: jobs.not_run().to_vec(),
        ..Report::default()
    };
    let expected: Vec<Job> = jobs.named(&args.only)?.into_iter().collect();
    let mut progress = Progress::new(&expected);
    if let Some(mut answers) = control::ask(&config.state_dir, &ask).await.with_context(|| agent::not_asked(config))? {
        report.through_daemon = true;
        let answered = async {
            let mut done = false;
            while let Some(answer) = answers.next().await? {
                done |= report.take(answer, &mut progress)?;
            }
            anyhow::ensure!(
                done,
                "the daemon ended before it had answered; what it read is in its spool or in its log"
            );
            anyhow::Ok(())
        };
        answered.await?;
        if let Ok(keys) = keystore::open(&config.key_paths()) {
            report.name(&keys);
        }
        return Ok(report);
    }
    let disk = Disk::new();
    let instance = agent::take(config, &disk)?;
    let keys = keys(loaded, &disk, args.json)?;
    report.name(&keys);
    let pipeline = agent::pipeline(config, keys, &instance, &disk, false).await?;
    report.first = pipeline.checkpoint().is_none();
    let before = pipeline.plan().map(|(digest, _)| digest);
    let anchoring = Anchoring::open(pipeline.clone(), &config.signing.timestamps).await?;
    let promised = promise::controls(loaded, &jobs, &pipeline.options().origin);
    let mut daemon = agent::daemon(config, jobs, pipeline.clone(), disk, false)?;
    daemon.promise(promised);
    let (send, mut answers) = mpsc::unbounded_channel();
    let working = tokio::spawn(daemon.once(Asked { ask, answers: send }, agent::signals()?));
    while let Some(answer) = answers.recv().await {
        report.take(answer, &mut progress)?;
    }
    progress.clear();
    match working.await.context("the agent failed")? {
        Exit::Done { .. } => {}
        Exit::Quit => bail!("ended by a second signal; what is in the spool is logged by the next start"),
    }
    if let Some(anchoring) = anchoring {
        report.anchors = anchoring.finish().await;
    }
    if let Some(witnessing) = Witnessing::open(pipeline.clone(), &config.signing.witnesses)? {
        report.witnesses = witnessing.finish().await;
    }
    if let Err(error) = pipeline.options().archive.upkeep().await {
        tracing::warn!("the archive's upkeep failed, and is tried again by the next run: {}", chain(&error));
    }
    report.planned = pipeline.plan().map(|(digest, _)| digest) != before;
    report.promised = pipeline.spooled_controls();
    Ok(report)
}

/// The keys to sign with. They are made only where nothing was configured.
fn keys(loaded: &Loaded, disk: &Disk, quiet: bool) -> anyhow::Result<Keys> {
    let config = &loaded.config;
    let paths = config.key_paths();
    if agent::is_configured(loaded) {
        return open_keys(&paths);
    }
    let dir = paths.keys.parent().unwrap_or(Path::new("."));
    let origin = match keystore::origin(dir)? {
        Some(origin) => origin,
        None => new_origin(),
    };
    check_not_lost(&loaded.config, &paths.keys, &origin)?;
    let made = keystore::make(disk, dir, &origin, SystemClock.now())?;
    if made.new && !quiet {
        println!(
            "Keys made in {}. Root key {}: keep its file elsewhere in production; its fingerprint is what an auditor trusts.",
            dir.display(),
            made.keys.set.root.fingerprint()
        );
    }
    Ok(made.keys)
}

/// A `keys.json` is not made anew for a log that has one: the new one would say of older entries that their keys were not valid yet.
pub fn check_not_lost(config: &Config, keys: &Path, origin: &str) -> anyhow::Result<()> {
    // A bucket is asked by whoever logs: there another `keys.json` of no later revision is refused.
    let ArchivePlace::Directory(directory) = config.archive.place() else { return Ok(()) };
    let log = directory.join(origin_directory(origin));
    if keys.exists() || !log.join(CHECKPOINT).exists() {
        return Ok(());
    }
    bail!(
        "{} is missing, but the log of {origin} in {} was signed under it: put it back, from a backup or from the newest file in {} (the \
         same bytes, under the name keys.json). A new one is not made: it would contradict what is logged",
        keys.display(),
        directory.display(),
        log.join("document/keys").display()
    )
}

/// Opens the configured keys; where there are none, says how to make them.
pub fn open_keys(paths: &keystore::Paths) -> anyhow::Result<Keys> {
    keystore::open(paths).map_err(|error| match &error {
        KeystoreError::Io { source, path, .. } if source.kind() == io::ErrorKind::NotFound && *path == paths.keys => anyhow!(error).context(
            "there are no keys to sign with: make them with `evidenced keys init` (or, to try it without a configuration, `evidenced collect`)",
        ),
        KeystoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => anyhow!(error).context(format!(
            "{} names a key whose file is gone: put it back from a backup, or have the root's custodian sign a revision of keys.json with a \
             new key",
            paths.keys.display()
        )),
        KeystoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            anyhow!(error).context("the keys cannot be used by this user: run as the user to whom they belong")
        }
        _ => error.into(),
    })
}

/// A name for the log of a machine that has none.
pub fn new_origin() -> String {
    let mut random = [0; 8];
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut random);
    format!("localhost/{}", hex::encode(random))
}

impl Report {
    fn name(&mut self, keys: &Keys) {
        self.origin = Some(keys.set.origin.clone());
        self.root = Some(keys.set.root.fingerprint());
    }

    /// Takes an answer; whether it was the last.
    fn take(&mut self, answer: Answer, progress: &mut Progress) -> anyhow::Result<bool> {
        match answer {
            Answer::Ran(line) => {
                progress.ran(&line.job);
                self.jobs.push(line);
                Ok(false)
            }
            Answer::Done { logged, waiting } => {
                progress.clear();
                (self.logged, self.waiting) = (logged, waiting);
                Ok(true)
            }
            Answer::Refused(why) => {
                progress.clear();
                Err(anyhow!("refused: {why}"))
            }
            Answer::Status(_) => Ok(false),
        }
    }

    fn code(&self, fail_on: &[FailOn]) -> u8 {
        let any = |what: fn(&Line) -> bool| self.jobs.iter().any(what);
        let fails = |what: &FailOn| match what {
            FailOn::Fail => any(|line| line.totals.fail > 0),
            FailOn::Unknown => any(|line| line.totals.unknown > 0),
            FailOn::Partial => any(|line| line.outcome != Some(Outcome::Collected)),
        };
        if !any(|line| line.outcome.is_some()) || self.waiting.is_some() {
            2
        } else {
            u8::from(fail_on.iter().any(fails))
        }
    }

    fn print(&self, out: &mut dyn io::Write) -> io::Result<()> {
        if self.jobs.is_empty() {
            writeln!(out, "\nNothing was collected: no job can run here.")?;
        } else {
            writeln!(out, "\n{}", table::render(&self.jobs, table::width()).trim_end())?;
        }
        let mut reasons: Vec<&str> = self.not_run.iter().map(|off| off.reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let jobs = self.not_run.iter().filter(|off| off.reason == reason).map(|off| off.job.as_str());
            writeln!(out, "\nNot run: {}\n  {reason}", jobs.collect::<Vec<_>>().join(", "))?;
        }
        writeln!(out)?;
        if let Some(why) = &self.waiting {
            writeln!(
                out,
                "Not everything is in the log yet; it waits in the spool, and {} goes on with it:\n  {why}",
                if self.through_daemon { "the daemon" } else { "the next start" }
            )?;
        }
        for anchor in &self.anchors {
            writeln!(out, "{}", anchored(anchor))?;
        }
        for witness in &self.witnesses {
            writeln!(out, "{}", witnessed(witness))?;
        }
        let (Some(root), true) = (&self.root, self.logged > 0) else { return Ok(()) };
        let entries = if self.logged == 1 { "1 entry".to_owned() } else { format!("{} entries", self.logged) };
        writeln!(
            out,
            "{entries} logged{}. Verify them, on any machine:\n  evidenced verify {} --trust {root}{}",
            self.parts(),
            self.archive,
            self.options
        )
    }

    /// `(keys, plan, controls, 5 receipts)`, where that is all.
    fn parts(&self) -> String {
        let receipts = self.jobs.iter().filter(|line| line.outcome.is_some()).count() as u64;
        let mut parts = Vec::new();
        parts.extend(self.first.then(|| "keys".to_owned()));
        parts.extend(self.planned.then(|| "plan".to_owned()));
        parts.extend(self.promised.then(|| "controls".to_owned()));
        parts.extend(match receipts {
            0 => None,
            1 => Some("1 receipt".to_owned()),
            more => Some(format!("{more} receipts")),
        });
        let all = u64::from(self.first) + u64::from(self.planned) + u64::from(self.promised) + receipts;
        if self.through_daemon || all != self.logged { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

/// `Anchored at 2026-11-22T04:00:12Z by http://tsa.example (6 entries)`.
fn anchored(anchor: &Anchor) -> String {
    let Anchor { authority, size, at, error, .. } = anchor;
    match (error, size, at) {
        (Some(why), _, _) => format!("Not anchored by {authority}: {why}"),
        (None, Some(size), Some(at)) => format!("Anchored at {} by {authority} ({size} entries)", rfc3339(*at)),
        (None, _, _) => format!("Not anchored by {authority}: the log is empty"),
    }
}

/// `Cosigned at 2026-11-22T04:00:12Z by witness.example/acme (6 entries)`.
fn witnessed(witness: &Witness) -> String {
    let Witness { name, size, at, error } = witness;
    match (error, size, at) {
        (Some(why), _, _) => format!("Not cosigned by {name}: {why}"),
        (None, Some(size), Some(at)) => format!("Cosigned at {} by {name} ({size} entries)", rfc3339(*at)),
        (None, _, _) => format!("Not cosigned by {name}: the log is empty"),
    }
}

/// Says on a terminal what is still waited for.
struct Progress {
    waiting: Vec<Job>,
    shown: bool,
}

impl Progress {
    fn new(jobs: &[Job]) -> Self {
        let progress = Self { waiting: jobs.to_vec(), shown: io::stderr().is_terminal() && !jobs.is_empty() };
        progress.show();
        progress
    }

    fn ran(&mut self, job: &Job) {
        self.waiting.retain(|other| other != job);
        self.show();
    }

    fn show(&self) {
        if self.shown {
            let next = self.waiting.first().map_or("the log", Job::as_str);
            eprint!("\r\x1b[K{} to go: {next} …", self.waiting.len());
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
