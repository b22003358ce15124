//! `evidenced diff`: two runs of a job side by side. Each bundle's bytes are held against its entry; with `--trust` the archive is verified
//! first, and what a finding names is not compared.

use std::{collections::BTreeSet, io::Write as _, ops::ControlFlow, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, anyhow, bail};
use report::{
    Ledger,
    diff::{CheckChange, Compared, Numbers, Side, diff},
    model::{DriftEvent, DriftKind},
};
use serde_json::Value;
use signing::{
    bundle::Population,
    layout::{CHECKPOINT, Job},
    log::{self, Checkpoint, MAX_CHECKPOINT},
    statement::{Body, Outcome, Statement},
    store::Reader,
    time::{Utc, rfc3339},
    verify::{Options, Verdict, verify},
};

use super::{
    place::Asked,
    plain::{cut, safe},
};

/// How wide a value or a sentence may be, in characters.
const WIDTH: usize = 160;

/// Compares two runs of a job: records that came, went and changed, and what its checks found.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive: a directory, or s3://BUCKET/PREFIX
    archive: PathBuf,
    /// The job, as COLLECTOR@SOURCE
    job: Job,
    /// The run to start from, by its place in the log or its slot (RFC 3339); without it, the one before the other
    #[arg(long, value_name = "ENTRY|SLOT")]
    from: Option<String>,
    /// The run to compare with it; without it, the newest
    #[arg(long, value_name = "ENTRY|SLOT")]
    to: Option<String>,
    /// Verify the whole archive first, under the owner's root key (SHA256:…); entries that a finding names are passed over
    #[arg(long, value_name = "FINGERPRINT")]
    trust: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Runs the command. Exit code 1: with `--trust`, the archive is not intact.
///
/// # Errors
/// Runs that are not there, bundles that are gone or altered, and with `--trust` an archive that cannot be verified.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let opened = args.asked.open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let reader = &*opened.reader;
    let verdict = match &args.trust {
        None => None,
        Some(root) => {
            let options = Options {
                origin: args.asked.origin.clone(),
                directory: opened.named.clone(),
                threads: opened.threads,
                ..Options::trusting(root)
            };
            Some(verify(reader, &options, &|_| {})?)
        }
    };
    let compared = compare(reader, verdict.as_ref(), args)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &compared)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&compared).as_bytes())?;
        match &verdict {
            None => writeln!(
                out,
                "Both bundles are those that their entries name; nothing else was verified: --trust SHA256:… does that first."
            )?,
            Some(verdict) => writeln!(out, "{}", safe(&verdict.statement))?,
        }
    }
    Ok(if verdict.is_none_or(|verdict| verdict.intact) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A run of the job: its place, and its slot.
type Placed = (u64, Option<Utc>);

fn compare(reader: &dyn Reader, verdict: Option<&Verdict>, args: &Args) -> anyhow::Result<Compared> {
    let ledger = verdict.map(|verdict| Ledger::new(reader, verdict)).transpose()?;
    let size = match &ledger {
        Some(ledger) => ledger.size(),
        None => {
            let bytes = reader.read(CHECKPOINT, MAX_CHECKPOINT)?.ok_or_else(|| anyhow!("{CHECKPOINT} is not there"))?;
            Checkpoint::parse_unverified(&bytes).context(CHECKPOINT)?.size
        }
    };
    let runs = runs(reader, ledger.as_ref(), size, &args.job)?;
    let to = match &args.to {
        Some(wanted) => find(&runs, wanted, args)?,
        None => runs.len() - 1,
    };
    let from = match &args.from {
        Some(wanted) => find(&runs, wanted, args)?,
        None => to.checked_sub(1).ok_or_else(|| {
            anyhow!("entry {} is the first run of {}: there is none before it to compare with", runs[to].0, args.job)
        })?,
    };
    let [one, other] = [from, to].map(|place| statement(reader, size, runs[place].0).map(|s| (runs[place].0, s)));
    let (one, other) = (one?, other?);
    Ok(diff(reader, &args.job, (one.0, &one.1), (other.0, &other.1))?)
}

/// Every run of the job that no finding names.
fn runs(reader: &dyn Reader, ledger: Option<&Ledger<'_>>, size: u64, job: &Job) -> anyhow::Result<Vec<Placed>> {
    let (mut runs, mut jobs, mut refused) = (Vec::new(), BTreeSet::new(), 0);
    log::entries(reader, 0, size, &mut |index, leaf| {
        if let Ok(Statement { body: Body::Receipt(receipt), .. }) = Statement::from_bytes(leaf) {
            if receipt.job != *job {
                jobs.insert(receipt.job);
            } else if ledger.is_some_and(|ledger| ledger.refused(index).is_some()) {
                refused += 1;
            } else {
                runs.push((index, receipt.slot));
            }
        }
        ControlFlow::Continue(())
    })?;
    match runs.len() {
        0 if refused > 0 => bail!("verification refuses every run of {job} in the log"),
        0 if jobs.is_empty() => bail!("the log has no run of {job}, nor of any other job"),
        0 => {
            let jobs: Vec<&str> = jobs.iter().map(Job::as_str).collect();
            bail!("the log has no run of {job}; it has runs of: {}", cut(&jobs.join(", "), 400))
        }
        _ => Ok(runs),
    }
}

/// The place of a run among those of the job.
fn find(runs: &[Placed], wanted: &str, args: &Args) -> anyhow::Result<usize> {
    let found = match (wanted.parse::<u64>(), wanted.parse::<Utc>()) {
        (Ok(entry), _) => runs.iter().position(|(index, _)| *index == entry),
        (_, Ok(slot)) => runs.iter().position(|(_, of)| *of == Some(slot)),
        _ => bail!("{wanted:?} is neither an entry's place in the log nor a slot such as 2026-11-22T04:00:00Z"),
    };
    found.ok_or_else(|| {
        anyhow!(
            "{wanted} is no run of {} that can be used; `evidenced show {}` lists entries",
            args.job,
            args.archive.display()
        )
    })
}

fn statement(reader: &dyn Reader, size: u64, wanted: u64) -> anyhow::Result<Statement> {
    let mut found = None;
    log::entries(reader, wanted, size, &mut |_, leaf| {
        found = Some(Statement::from_bytes(leaf));
        ControlFlow::Break(())
    })?;
    Ok(found.ok_or_else(|| anyhow!("entry {wanted} is not in the log"))??)
}

/// For a person: the runs, the numbers, then each record and check of which something differs.
fn text(compared: &Compared) -> String {
    let mut text = format!("{}\n", safe(compared.job.as_str()));
    for (name, side) in [("from", &compared.from), ("to  ", &compared.to)] {
        text += &format!("{name} {}\n", run_text(side));
    }
    let width = compared.kinds.iter().map(|kind| kind.kind.len()).max().unwrap_or(0);
    for kind in &compared.kinds {
        let list = |list: &Option<report::diff::List>| match list {
            None => "none".to_owned(),
            Some(list) => format!("{}{}", list.records, population(&list.population)),
        };
        let [added, removed, changed] = compared.counts(&kind.kind);
        let counts = [(added, "added"), (removed, "removed"), (changed, "changed")];
        let counts: Vec<String> =
            counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let numbers = format!("{} -> {}", list(&kind.from), list(&kind.to));
        text += format!("{:<width$}  {numbers}  {}", safe(&kind.kind), counts.join(", ")).trim_end();
        text.push('\n');
    }
    for event in &compared.records {
        text += &record(event);
    }
    for check in &compared.checks {
        text += &check_text(check);
    }
    if compared.records.is_empty() && compared.checks.is_empty() {
        text += "no difference was seen\n";
    }
    for line in &compared.not_told {
        text += &format!("not told: {}\n", safe(line));
    }
    text
}

fn run_text(side: &Side) -> String {
    let how = match side.outcome {
        Outcome::Collected => "collected",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
    };
    let by_hand = if side.by_hand { " by hand" } else { "" };
    let why = if side.reason.is_empty() { String::new() } else { format!(": {}", cut(&side.reason, WIDTH)) };
    format!("{}{by_hand}, entry {}, {how}{why}", rfc3339(side.at), side.entry)
}

fn population(population: &Population) -> &'static str {
    match population {
        Population::Whole => "",
        Population::Cut(_) => " of more",
        Population::Unread(_) => " (not read)",
        Population::Absent(_) => " (absent)",
    }
}

fn record(event: &DriftEvent) -> String {
    let sign = match event.change {
        DriftKind::Added => '+',
        DriftKind::Removed => '-',
        DriftKind::Changed => '~',
    };
    let mut text = format!("{sign} {} {}\n", safe(&event.kind), safe(&event.record));
    for field in &event.fields {
        text += &format!("    {}: {} -> {}\n", safe(&field.field), value(&field.before), value(&field.after));
    }
    if let Some(notable) = &event.notable {
        text += &format!("    ! {}: {}\n", safe(&notable.rule), cut(&notable.says, WIDTH));
    }
    text
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text, WIDTH),
        other => cut(&other.to_string(), WIDTH),
    }
}

fn check_text(check: &CheckChange) -> String {
    let numbers = |numbers: Option<Numbers>| match numbers {
        None => "not asked".to_owned(),
        Some(n) => format!("{} pass, {} fail, {} unknown", n.pass, n.fail, n.unknown),
    };
    let mut text = format!("check {}: {} -> {}\n", safe(&check.check), numbers(check.from), numbers(check.to));
    for (id, says) in &check.begins {
        text += &format!("    fails: {} ({})\n", safe(id), cut(says, WIDTH));
    }
    for (id, how) in &check.ends {
        let how = match *how {
            "gone" => "the record is gone",
            "not_in_population" => "the check no longer asks of it",
            how => how,
        };
        text += &format!("    fails no longer: {} ({how})\n", safe(id));
    }
    text
}
