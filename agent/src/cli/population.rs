//! `evidenced population`: everything that samples of a control may be drawn from, and its hash into the log before anybody draws.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use chrono::{Days, NaiveDate, NaiveTime};
use report::{
    Ledger,
    population::{self, Collected, Compared, Question},
};
use serde_json::json;
use signing::{
    digest::Digest,
    layout,
    population::{KIND, Of, PopulationDocument},
    time::{Utc, rfc3339},
    verify::Verdict,
};
use verifier::{place::Opened, plain::safe, verify::Under};

use super::{
    agent, collect, pause,
    place::{Asked, Bucket},
};
use crate::{
    config::Loaded,
    control::Ask,
    durable::{Created, Disk},
    freeze,
};

/// The population of a control over a period.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive, or one origin in it: a directory, or s3://BUCKET/PREFIX; without it, the configuration's
    archive: Option<PathBuf>,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    period: Period,
    /// The control, by id; without it, with --freeze, every control
    #[arg(long, value_name = "ID", required_unless_present = "freeze")]
    control: Option<String>,
    #[command(flatten)]
    what: What,
    /// Write the list to this file, and what it is to FILE.header.json
    #[arg(short, long, value_name = "FILE", requires = "control")]
    output: Option<PathBuf>,
    /// Exit with 1 unless the log froze this population, and it follows again from what the log held then
    #[arg(long, requires = "control")]
    check: bool,
    /// Put the hashes of every control's population into the log, through the daemon where one runs; once for each period
    #[arg(long, conflicts_with_all = ["control", "output", "check"])]
    freeze: bool,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Of which days.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Period {
    /// The period's first day, in UTC (2026-07-01); without it, the configuration's
    #[arg(long, value_name = "DAY", requires = "to")]
    from: Option<NaiveDate>,
    /// Its last day
    #[arg(long, value_name = "DAY", requires = "from")]
    to: Option<NaiveDate>,
}

impl Period {
    /// `[from, to)`: what is given, else the configuration's.
    pub fn instants(self, config: Option<&Path>) -> anyhow::Result<(Utc, Utc)> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            return instants(from, to);
        }
        let Some(period) = agent::load(config)?.config.period else {
            bail!("no period is set: give --from and --to, or write `period` into the configuration");
        };
        instants(period.from, period.to)
    }
}

/// The instants of a period by its first and last day: `[from, to)`.
pub(super) fn instants(from: NaiveDate, to: NaiveDate) -> anyhow::Result<(Utc, Utc)> {
    let start = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let end = start(to.checked_add_days(Days::new(1)).context("the period's last day is too late a day")?);
    if start(from) >= end {
        bail!("the period's first day is after its last");
    }
    Ok((start(from), end))
}

/// Of what.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct What {
    /// What its items are: occurrences, items (records at the end of the period) or events; without it, what the control's frequency asks
    #[arg(long, value_name = "WHAT")]
    population: Option<Kind>,
    /// The kind of records, where several are behind the control
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Occurrences,
    Items,
    Events,
}

impl What {
    pub fn question(&self, control: &str, (from, to): (Utc, Utc), verdict: &Verdict) -> Question {
        let of = self.population.map(|kind| match kind {
            Kind::Occurrences => Of::Occurrences,
            Kind::Items => Of::Items,
            Kind::Events => Of::Events,
        });
        let at = verdict.as_of.unwrap_or(to);
        Question { control: control.to_owned(), from, to, at, of, kind: self.kind.clone() }
    }
}

/// Opens and verifies an archive; findings are said.
pub(super) fn verified(archive: &Path, under: &Under, bucket: &Bucket) -> anyhow::Result<(Opened, Verdict)> {
    let open = |archive: &Path, origin: Option<&str>| {
        Asked { origin: origin.map(str::to_owned), bucket: bucket.clone() }.open(archive)
    };
    let (opened, verdict) = under.verified(archive, None, &open)?;
    if !verdict.intact {
        eprintln!("{}: evidence that a finding names is not counted; `evidenced verify` tells more", verdict.statement);
    }
    Ok((opened, verdict))
}

/// Runs the command.
///
/// # Errors
/// An archive that cannot be verified, a control that is not in force, a file that is there with other content.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let period = args.period.instants(args.config.as_deref())?;
    let (archive, bucket) = args.bucket.of(args.archive.as_deref(), args.config.as_deref())?;
    let (opened, verdict) = verified(&archive, &args.under, &bucket)?;
    let ledger = Ledger::new(&*opened.reader, &verdict)?;
    let Some(control) = &args.control else {
        return freeze_all(args, &ledger, &verdict, period);
    };
    let compared = population::compared(&ledger, &args.what.question(control, period, &verdict))?;
    if let Some(output) = &args.output {
        let header = output.with_file_name(format!(
            "{}.header.json",
            output.file_name().context("--output names no file")?.to_string_lossy()
        ));
        for (path, bytes) in [(output, compared.collected.list.to_bytes()), (&header, header_of(&verdict, &compared))] {
            if Disk::new().create_new(path, &bytes).with_context(|| path.display().to_string())? == Created::Other {
                bail!("{} is there already, with other content; name another file with --output", path.display());
            }
        }
    }
    let mut out = io::stdout().lock();
    match args.json {
        true => out.write_all(&header_of(&verdict, &compared))?,
        false => out.write_all(text(&ledger, &compared).as_bytes())?,
    }
    let wrong = !verdict.intact || compared.differs.is_some() || args.check && compared.frozen.is_none();
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What the population is, beside its list.
fn header_of(verdict: &Verdict, compared: &Compared) -> Vec<u8> {
    let Collected { from, to, as_of, population, completeness, .. } = &compared.collected;
    let header = json!({
        "origin": verdict.origin,
        "from": from,
        "to": to,
        "as_of": as_of,
        "population": population,
        "completeness": completeness,
        "frozen": compared.frozen,
        "differs": compared.differs,
    });
    let mut bytes = serde_json::to_vec_pretty(&header).expect("strings and numbers are always JSON");
    bytes.push(b'\n');
    bytes
}

/// The population for a person: what was not observed is never left out.
pub(super) fn text(ledger: &Ledger<'_>, compared: &Compared) -> String {
    let Collected { from, to, as_of, population, list, completeness, .. } = &compared.collected;
    let mut of = population.of.as_str();
    if population.count == 1 {
        of = of.strip_suffix('s').unwrap_or(of);
    }
    let of = match &population.kind {
        Some(kind) => format!("{of} of the kind {}", safe(kind)),
        None => of.to_owned(),
    };
    let mut text = format!(
        "population {}: {} {of}, {} to {}\nsha256     {}\nread from  {} entries, judged up to {}\n",
        safe(&population.control),
        population.count,
        rfc3339(*from),
        rfc3339(*to),
        population.sha256,
        as_of.size,
        rfc3339(as_of.at)
    );
    for (job, count) in population::by_job(list) {
        text += &format!("of         {count} of {job}\n");
    }
    text += &format!("complete   {}\n", safe(completeness));
    for gap in &population.not_observed {
        let (from, to) = (rfc3339(gap.from), rfc3339(gap.to));
        text += &format!("unobserved {}, {from} to {to}: {}\n", gap.job_name(), safe(&gap.reason));
    }
    match (&compared.frozen, &compared.differs) {
        (_, Some(differs)) => text += &format!("DIFFERS    {differs}\n"),
        (Some(frozen), None) => {
            let by = match ledger.not_after(frozen.entry) {
                Some(by) => format!("not after {} (trusted time)", rfc3339(by)),
                None => "at no trusted time".to_owned(),
            };
            text += &format!("frozen     entry {} of the log, {by}; it follows again\n", frozen.entry);
        }
        (None, None) => text += "frozen     no: the log does not hold this hash; `evidenced population --freeze`\n",
    }
    text
}

/// Logs the populations of every control.
fn freeze_all(args: &Args, ledger: &Ledger<'_>, verdict: &Verdict, (from, to): (Utc, Utc)) -> anyhow::Result<ExitCode> {
    let at = verdict.as_of.unwrap_or(to);
    if at < to {
        bail!("the archive is verified up to {}: the period is not over", rfc3339(at));
    }
    if !verdict.intact {
        bail!("the archive is not intact: nothing is frozen; `evidenced verify` tells more");
    }
    let same = |logged: &population::Logged| (logged.document.from, logged.document.to) == (from, to);
    if let Some(known) = population::logged(ledger)?.iter().find(|logged| same(logged)) {
        return frozen(&known.document, &format!("was frozen before, in entry {}", known.frozen.entry));
    }
    let settled = population::settled(ledger, from, to)?;
    if at < settled {
        let (at, settled) = (rfc3339(at), rfc3339(settled));
        eprintln!(
            "records of the period may come until {settled}, and the log is judged up to {at}: what comes later is not in what is frozen"
        );
    }
    let all = population::all(ledger, from, to, at)?;
    let Some(document) = population::document(ledger, &all) else {
        bail!("no control with a population was in force within the period");
    };
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "warn");
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let text = String::from_utf8(document.to_bytes()).context("JSON is UTF-8")?;
        if !pause::through_daemon(&loaded, &Ask::Freeze { document: text }).await? {
            alone(&loaded, &document).await?;
        }
        frozen(&document, "is frozen")
    });
    agent::end(runtime, code)
}

fn frozen(document: &PopulationDocument, how: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let (from, to) = (rfc3339(document.from), rfc3339(document.to));
    writeln!(out, "The period {from} to {to} {how}:")?;
    for population in &document.populations {
        let (control, of) = (safe(&population.control), population.of.as_str());
        let unseen = match population.not_observed.len() {
            0 => String::new(),
            1 => ", 1 stretch not observed".to_owned(),
            n => format!(", {n} stretches not observed"),
        };
        writeln!(out, "  {control}: {} {of}, SHA-256 {}{unseen}", population.count, population.sha256)?;
    }
    let name = layout::document(KIND, Digest::of(&document.to_bytes()));
    writeln!(out, "{name}: the next token over the log's checkpoint shows by when these were fixed.")?;
    Ok(ExitCode::SUCCESS)
}

/// Without a daemon: logs it here.
async fn alone(loaded: &Loaded, document: &PopulationDocument) -> anyhow::Result<()> {
    let config = &loaded.config;
    let disk = Disk::new();
    let keys = collect::open_keys(&config.key_paths())?;
    let instance = agent::take(config, &disk)?;
    let pipeline = agent::pipeline(config, keys, &instance, &disk, false).await?;
    freeze::log(&pipeline, document.to_bytes()).await?;
    pipeline.drain().await?;
    Ok(())
}
