//! `evidenced status`: how the agent is, from the daemon where one answers, else from what lies in `state_dir` and archive. It changes
//! nothing, and needs no key.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use signing::{
    layout::CHECKPOINT,
    log::{Checkpoint, MAX_CHECKPOINT, entries},
    statement::{Body, Known, Statement},
    store::Reader,
    time::{Utc, rfc3339},
};

use super::{agent, table};
use crate::{
    anchor,
    blocking::blocking,
    config::Loaded,
    control::{self, Anchor, Answer, Ask, Away, Ended, Line, Status, Witness},
    instance::Instance,
    keystore, pipeline,
    room::{self, Level},
};

mod health;
mod metrics;

/// Receipts that are shown.
const SHOWN: u64 = 10;

/// `evidenced status`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// The numbers, in Prometheus' text format; exit 0 whatever they are
    #[arg(long, conflicts_with_all = ["json", "health"])]
    pub prometheus: bool,
    /// Only whether the daemon is alive, in one line: exit 0 when it answers, starts, stops or waits for its archive; else 1
    #[arg(long, conflicts_with = "json")]
    pub health: bool,
}

/// Exits 0 when all is well, and when no daemon runs; 3 when there is little room left for what waits, 4 when there is none, 5 when the
/// archive is away: of several 4, then 5. With `--health` it says whether the agent is alive.
///
/// # Errors
/// What cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "warn");
    let runtime = agent::runtime()?;
    if args.health {
        let (code, said) = runtime.block_on(health::told(&loaded.config.state_dir));
        return agent::end(runtime, writeln!(io::stdout(), "{said}").map(|()| code).map_err(Into::into));
    }
    let code = runtime.block_on(async {
        let asked = control::ask(&loaded.config.state_dir, &Ask::Status)
            .await
            .with_context(|| agent::not_asked(&loaded.config))?;
        let status = match asked {
            Some(mut answers) => match answers.next().await? {
                Some(Answer::Status(status)) => *status,
                Some(Answer::Refused(why)) => bail!("the daemon refuses: {why}"),
                _ => bail!("the daemon does not answer; it may be stopping: try again"),
            },
            None => at_rest(&loaded).await?,
        };
        let mut out = io::stdout().lock();
        if args.prometheus {
            metrics::print(&status, &mut out)?;
            return Ok(ExitCode::SUCCESS);
        }
        if args.json {
            serde_json::to_writer_pretty(&mut out, &status)?;
            writeln!(out)?;
        } else {
            print(&status, &mut out)?;
        }
        Ok(ExitCode::from(code(&status)))
    });
    agent::end(runtime, code)
}

fn code(status: &Status) -> u8 {
    match (status.room.level, &status.away) {
        (Level::Full, _) => 4,
        (_, Some(_)) => 5,
        (Level::Near, None) => 3,
        (Level::Ok, None) => 0,
    }
}

/// What can be seen without a daemon.
async fn at_rest(loaded: &Loaded) -> anyhow::Result<Status> {
    let config = &loaded.config;
    let keys = config.key_paths().keys;
    let origin = match &config.origin {
        Some(origin) => Some(origin.clone()),
        None => keys.parent().and_then(|dir| keystore::origin(dir).ok().flatten()),
    };
    let origin = match origin {
        Some(origin) => origin,
        None => {
            let bytes = std::fs::read(&keys)
                .with_context(|| format!("nothing was collected here yet: there is no {}", keys.display()))?;
            signing::keys::KeySet::open_untrusted(&bytes)?.origin
        }
    };
    let waiting = pipeline::waiting(&config.state_dir)?;
    let mut status = Status {
        origin: origin.clone(),
        spooled: waiting.entries,
        oldest: waiting.oldest,
        anchors: anchor::remembered(&config.state_dir, &origin),
        room: room::look(&config.state_dir, waiting.bytes, config.max_spool_bytes),
        ..Status::default()
    };
    if let Some(pid) = Instance::holder(&config.state_dir) {
        let pid = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
        status.held = Some(format!(
            "an agent{pid} holds {} and does not answer: it starts, stops, or waits for its archive; its log says why",
            config.state_dir.display()
        ));
    }
    let known = pipeline::known_size(&config.state_dir, &origin);
    let (archive, place) = match agent::reader(config, &origin).await {
        Ok(found) => found,
        Err(error) => {
            status.away = Some(Away { since: None, why: format!("{error:#}") });
            return Ok(status);
        }
    };
    blocking(move || look(&*archive, &place, known, status)).await
}

/// Adds what the archive shows.
fn look(archive: &dyn Reader, place: &str, known: Option<u64>, mut status: Status) -> anyhow::Result<Status> {
    let bytes = match archive.read(CHECKPOINT, MAX_CHECKPOINT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let lost = known.map(|size| {
                format!(
                    "{place} holds no log, but state_dir knows one of {size} entries: is it the right place, and mounted?"
                )
            });
            status.away = lost.map(|why| Away { since: None, why });
            return Ok(status);
        }
        Err(error) => {
            let why = format!("{place}: its checkpoint cannot be read: {error}");
            status.away = Some(Away { since: None, why });
            return Ok(status);
        }
    };
    let checkpoint = Checkpoint::parse_unverified(&bytes)?;
    status.checkpoint = Some(Known { size: checkpoint.size, root: checkpoint.root });
    entries(archive, checkpoint.size.saturating_sub(SHOWN), checkpoint.size, &mut |_, leaf| {
        // A leaf that this version cannot read is for `verify` to name.
        if let Ok(statement) = Statement::from_bytes(leaf) {
            status.last_sealed = status.last_sealed.max(Some(statement.entry.sealed_at));
            match statement.body {
                Body::Receipt(receipt) => {
                    let line = Line {
                        job: receipt.job,
                        outcome: Some(receipt.outcome),
                        records: receipt.records,
                        totals: receipt.totals,
                        note: receipt.reason,
                    };
                    status.last.push(Ended { at: receipt.ended_at, slot: receipt.slot, line });
                }
                Body::Document(document) if document.kind == "plan" => {
                    status.paused = document.reason.strip_prefix(crate::daemon::PAUSED).map(str::to_owned);
                }
                Body::Document(_) | Body::Missed(_) => {}
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(status)
}

/// `2026-11-22T04:00:12Z  6 entries  http://tsa.example`, and what is wrong.
fn anchored(anchor: &Anchor) -> String {
    let last = match (anchor.at, anchor.size) {
        (Some(at), Some(size)) => format!("{}  {size} entries", rfc3339(at)),
        _ => "not yet".to_owned(),
    };
    let apart = anchor.apart_seconds.map_or_else(String::new, |seconds| {
        format!("; its clock was {} s {}", seconds.abs(), if seconds > 0 { "ahead" } else { "behind" })
    });
    let error = anchor.error.as_ref().map_or_else(String::new, |why| format!("; since then: {why}"));
    format!("{last}  {}{apart}{error}", anchor.authority)
}

/// `2026-11-22T04:00:12Z  6 entries  witness.example/acme`, and what is wrong.
fn cosigned(witness: &Witness) -> String {
    let last = match (witness.at, witness.size) {
        (Some(at), Some(size)) => format!("{}  {size} entries", rfc3339(at)),
        _ => "not yet".to_owned(),
    };
    let error = witness.error.as_ref().map_or_else(String::new, |why| format!("; since then: {why}"));
    format!("{last}  {}{error}", witness.name)
}

fn print(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let instant = |at: &Utc| rfc3339(*at);
    writeln!(out, "origin     {}", status.origin)?;
    match status.pid {
        Some(pid) => writeln!(out, "daemon     answers (process {pid})")?,
        None => writeln!(out, "daemon     none answers: no slot is run until `evidenced run`")?,
    }
    if let Some(why) = &status.held {
        writeln!(out, "HELD       {why}")?;
    }
    if let Some(why) = &status.paused {
        writeln!(out, "paused     {why}")?;
    }
    match &status.checkpoint {
        Some(known) => writeln!(out, "log        {} entries, root {}", known.size, known.root)?,
        None if status.away.is_some() => writeln!(out, "log        not known: the archive is away")?,
        None => writeln!(out, "log        empty, or not there")?,
    }
    if let Some(at) = &status.last_sealed {
        writeln!(out, "sealed     last at {}", instant(at))?;
    }
    for anchor in &status.anchors {
        writeln!(out, "anchored   {}", anchored(anchor))?;
    }
    for witness in &status.witnesses {
        writeln!(out, "cosigned   {}", cosigned(witness))?;
    }
    let room = &status.room;
    let limit = room.limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let oldest = status.oldest.as_ref().map_or_else(String::new, |at| format!(", the oldest since {}", instant(at)));
    writeln!(out, "spool      {} waiting, {}{limit} bytes{oldest}", status.spooled, room.bytes)?;
    if let Some(why) = &room.why {
        writeln!(out, "{}       {why}", if room.level == Level::Full { "FULL" } else { "NEAR" })?;
    }
    if let Some(away) = &status.away {
        let since = away.since.as_ref().map_or_else(String::new, |at| format!("since {}: ", instant(at)));
        writeln!(out, "AWAY       {since}{}", away.why)?;
    }
    if let Some(why) = status.trouble.as_ref().filter(|_| status.away.is_none()) {
        writeln!(out, "trouble    {why}")?;
    }
    for running in &status.running {
        writeln!(out, "running    {}  {}", running.job, running.slot.as_ref().map_or("by hand".into(), instant))?;
    }
    for next in &status.next {
        writeln!(out, "next       {}  {}", instant(&next.slot), next.job)?;
    }
    for ended in &status.last {
        let (at, by_hand) = match &ended.slot {
            Some(slot) => (instant(slot), ""),
            None => (instant(&ended.at), ", by hand"),
        };
        writeln!(out, "last       {at}  {}  {}{by_hand}", ended.line.job, table::outcome(ended.line.outcome))?;
    }
    Ok(())
}
