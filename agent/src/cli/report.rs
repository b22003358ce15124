//! `evidenced report`: an archive verified and then reported on, for a period or an instant. It reads the archive and writes the report's
//! files; it needs no key, and no network but to a bucket.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use chrono::NaiveDate;
use controls::HipaaRole;
use report::{
    Ledger, LedgerError,
    approvals::Approvals,
    csv, html,
    model::{Report, View},
    oscal,
    period::{Asked as Question, Question as Questions, Wanted, report},
    readiness::{Beside, readiness},
};
use signing::{
    keys::{KeyEntry, KeySet, Use},
    statement::Body,
    time::{Utc, millis, rfc3339},
    verify::{Verdict, span},
};
use verifier::{plain::safe, verify::Under};

use super::{
    agent,
    place::{Asked, Bucket},
    plain::{Align, cut, table},
};
use crate::durable::{Created, Disk};

/// Reports on an archive: controls over a period, or what was last observed at an instant. Verifies it first: exit code 0 intact, 1 not
/// intact, 2 could not verify or report.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive: a directory, or s3://BUCKET/PREFIX; without it, the configuration's
    archive: Option<PathBuf>,
    /// The first day of the period, in UTC (2026-07-01); without it, the configuration's
    #[arg(long, value_name = "DAY", requires = "to")]
    from: Option<NaiveDate>,
    /// The last day of the period
    #[arg(long, value_name = "DAY", requires = "from")]
    to: Option<NaiveDate>,
    /// Up to when is judged: an instant (RFC 3339), or a day with its end, of today up to now. Without --from and --to:
    /// what was last observed by then
    #[arg(long, value_name = "DATE", value_parser = |text: &str| as_of(text, std::time::SystemTime::now().into()))]
    as_of: Option<Utc>,
    /// Only these: soc2, hipaa (hipaa:covered_entity, hipaa:business_associate); without it, those in force
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    framework: Vec<String>,
    /// Where the files are written: a new or empty directory, or one that holds this same report
    #[arg(short, long, value_name = "DIR", required_unless_present = "readiness")]
    output: Option<PathBuf>,
    /// What a period would lack if it began now; writes no file
    #[arg(long, conflicts_with_all = ["from", "to", "as_of", "framework", "output"])]
    readiness: bool,
    /// With --readiness: as JSON
    #[arg(long, requires = "readiness")]
    json: bool,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    bucket: Bucket,
}

/// An instant, or a day's last second; of today, now: what is yet to come would count as not observed.
fn as_of(text: &str, now: Utc) -> Result<Utc, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        let end = day.and_hms_opt(23, 59, 59).ok_or_else(|| "no such day".to_owned())?.and_utc();
        return Ok(if day == now.date_naive() { millis(now) } else { end });
    }
    text.parse().map_err(|_| "write a day, 2026-12-31, or an instant, 2026-12-31T12:00:00Z".to_owned())
}

/// Runs the command.
///
/// # Errors
/// An archive that cannot be verified, and files that cannot be written: nothing is written then.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (archive, bucket) = args.bucket.of(args.archive.as_deref(), args.config.as_deref())?;
    let wanted = wanted(&args.framework)?;
    let asked = if args.readiness { None } else { Some(asked(args)?) };
    let open = |archive: &Path, origin: Option<&str>| {
        Asked { origin: origin.map(str::to_owned), bucket: bucket.clone() }.open(archive)
    };
    let (opened, verdict) = args.under.verified(&archive, args.as_of, &open)?;
    let ledger = Ledger::new(&*opened.reader, &verdict)?;
    let said = match (asked, &args.output) {
        (Some(asked), Some(output)) => write(&ledger, asked, wanted, output)?,
        _ => ready(&ledger, args.json)?,
    };
    match io::stdout().lock().write_all(said.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(code(&verdict))
}

fn code(verdict: &Verdict) -> ExitCode {
    if verdict.intact { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What is asked.
fn asked(args: &Args) -> anyhow::Result<Question> {
    match (args.from, args.to, args.as_of) {
        (Some(from), Some(to), as_of) => Ok(Question::Period { from, to, as_of }),
        (_, _, Some(at)) => Ok(Question::At(at)),
        (_, _, None) => {
            let loaded = agent::load(args.config.as_deref())?;
            let Some(period) = loaded.config.period else {
                bail!(
                    "no period is set: give --from and --to, or --as-of for an instant, or write `period` into the configuration"
                );
            };
            Ok(Question::Period { from: period.from, to: period.to, as_of: None })
        }
    }
}

fn wanted(names: &[String]) -> anyhow::Result<Option<Wanted>> {
    let mut wanted = Wanted::default();
    for name in names {
        match name.as_str() {
            "soc2" => wanted.soc2 = true,
            "hipaa" => wanted.hipaa = true,
            "hipaa:covered_entity" => (wanted.hipaa, wanted.role) = (true, Some(HipaaRole::CoveredEntity)),
            "hipaa:business_associate" => (wanted.hipaa, wanted.role) = (true, Some(HipaaRole::BusinessAssociate)),
            _ => bail!(
                "there is no framework {name:?}; there are: soc2, hipaa, hipaa:covered_entity, hipaa:business_associate"
            ),
        }
    }
    Ok((!names.is_empty()).then_some(wanted))
}

/// What a period would lack.
fn ready(ledger: &Ledger<'_>, json: bool) -> anyhow::Result<String> {
    let decisions = Approvals::read(ledger)?.decisions().into_keys().collect();
    let found = readiness(ledger, &Beside { decisions: &decisions, approvers: approvers(ledger)? })?;
    Ok(if json { serde_json::to_string_pretty(&found)? + "\n" } else { found.text() })
}

/// Approvers' keys that the newest keys document names and that are not withdrawn.
fn approvers(ledger: &Ledger<'_>) -> anyhow::Result<u64> {
    let mut newest = None;
    ledger.entries::<LedgerError>(|entry| {
        if matches!(&entry.statement.body, Body::Document(document) if document.kind == "keys") {
            newest = Some(entry.statement);
        }
        Ok(())
    })?;
    let Some(statement) = newest else { return Ok(0) };
    let Ok(bytes) = ledger.document(&statement)? else { return Ok(0) };
    let set = KeySet::open(&bytes, &ledger.verdict().trust)?;
    let open =
        |key: &&KeyEntry| key.use_ == Use::Approvals && key.valid.until.is_none() && key.compromised_since.is_none();
    Ok(set.keys.iter().filter(open).count() as u64)
}

/// The report's files, beside one for each table.
const JSON: &str = "report.json";
const HTML: &str = "report.html";
const OSCAL: &str = "oscal-assessment-results.json";
const VERIFY: &str = "verify.html";

/// The tables that are written as the report is made: it lists the first rows alone.
const STREAMED: [&str; 2] = [csv::DRIFT.name, csv::OCCURRENCES.name];

/// Makes the report and its files, all of them or none.
fn write(ledger: &Ledger<'_>, asked: Question, wanted: Option<Wanted>, output: &Path) -> anyhow::Result<String> {
    check(output)?;
    let scratch = tempfile::tempdir().context("no room for the report's files; set TMPDIR")?;
    let at = |name: &str| scratch.path().join(name);
    let question = Questions { asked, frameworks: wanted, program: env!("CARGO_PKG_VERSION").to_owned() };
    let streamed = |table: &csv::Table| scratch_file(&at(&sheet(table.name)));
    let (mut drift, mut occurrences) = (streamed(&csv::DRIFT)?, streamed(&csv::OCCURRENCES)?);
    let report = {
        let mut sheets = csv::Sheets::new(&mut drift, &mut occurrences)?;
        let report = report(ledger, &question, &mut sheets)?;
        sheets.finish()?;
        report
    };
    drift.flush()?;
    occurrences.flush()?;
    let made = |name: &str, fill: &dyn Fn(&mut dyn Write) -> io::Result<()>| -> anyhow::Result<()> {
        let mut out = scratch_file(&at(name))?;
        fill(&mut out).and_then(|()| out.flush()).with_context(|| name.to_owned())
    };
    for table in csv::TABLES.iter().filter(|table| !STREAMED.contains(&table.name)) {
        made(&sheet(table.name), &|out| csv::write(&report, table, out))?;
    }
    made(OSCAL, &|out| oscal::write(&report, out))?;
    made(VERIFY, &|out| out.write_all(html::VERIFY_PAGE.as_bytes()))?;
    made(HTML, &|out| html::write(&report, out))?;
    made(JSON, &|mut out| {
        serde_json::to_writer(&mut out, &report)?;
        out.write_all(b"\n")
    })?;
    publish(scratch.path(), output)?;
    Ok(text(&report, output))
}

// Scratch: what is in it becomes a file elsewhere.
#[allow(clippy::disallowed_methods)]
fn scratch_file(path: &Path) -> io::Result<BufWriter<File>> {
    File::create_new(path).map(BufWriter::new)
}

fn sheet(table: &str) -> String {
    format!("{table}.csv")
}

/// The names of all files, in the order in which they are written.
fn names() -> Vec<String> {
    let sheets = csv::TABLES.iter().map(|table| sheet(table.name));
    let mut names: Vec<String> = sheets.chain([OSCAL, VERIFY, HTML, JSON].map(str::to_owned)).collect();
    names.sort();
    names
}

/// Whether a report may be written there.
fn check(output: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(output) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| output.display().to_string()),
    };
    let names = names();
    for entry in entries {
        let name = entry?.file_name();
        if !names.iter().any(|other| name == other.as_str()) {
            bail!("{} holds {name:?}, which is no part of a report: name a new directory", output.display());
        }
    }
    Ok(())
}

/// Gives the files their place: each is created, or is there with the same bytes.
fn publish(from: &Path, to: &Path) -> anyhow::Result<()> {
    let disk = Disk::new();
    disk.make_dirs(to).with_context(|| to.display().to_string())?;
    let other = |name: &str| anyhow::anyhow!("{} holds another report ({name}): name a new directory", to.display());
    for name in names() {
        let (made, there) = (from.join(&name), to.join(&name));
        if there.symlink_metadata().is_ok() && fs::read(&made)? != fs::read(&there)? {
            return Err(other(&name));
        }
    }
    for name in names() {
        let path = to.join(&name);
        let created = disk.create_new_from(&path, &from.join(&name));
        if created.with_context(|| path.display().to_string())? == Created::Other {
            return Err(other(&name));
        }
    }
    Ok(())
}

/// The widest title in the table.
const TITLE: usize = 60;

fn text(report: &Report, output: &Path) -> String {
    let mut said = match &report.view {
        View::Period { from, to } => {
            let last = to.date_naive().pred_opt().unwrap_or_default();
            format!("{}, {} to {last}, as of {}\n\n", safe(&report.origin), from.date_naive(), rfc3339(report.as_of))
        }
        View::PointInTime { at } => {
            format!("{}, last observed at or before {}\n\n", safe(&report.origin), rfc3339(*at))
        }
    };
    said += &match &report.view {
        View::Period { .. } => occurrences(report),
        View::PointInTime { at } => observations(report, *at),
    };
    said += "\n";
    for line in &report.notice {
        said += &format!("{}\n", safe(line));
    }
    said += &format!("\n{}\n{}\n", safe(&report.integrity.statement), output.join(HTML).display());
    said += &format!("Beside it: {JSON}, {OSCAL}, {} tables (CSV), {VERIFY}\n", csv::TABLES.len());
    said
}

fn occurrences(report: &Report) -> String {
    let (left, right) = (Align::Left, Align::Right);
    let head = [
        ("CONTROL", left),
        ("REQUIRED", right),
        ("OPERATED", right),
        ("DEVIATION", right),
        ("NOT OBSERVED", right),
        ("OPEN", right),
        ("TITLE", left),
    ];
    let rows = report.controls.iter().map(|control| {
        let counts = &control.counts;
        let numbers = [counts.required, counts.operated, counts.deviation, counts.not_observed, counts.open];
        let mut row = vec![safe(&control.id)];
        row.extend(numbers.iter().map(ToString::to_string));
        row.push(match counts.is_evidenced() {
            true => cut(&control.title, TITLE),
            false => format!("not evidenced: {}", cut(&control.title, TITLE)),
        });
        row
    });
    table(&head, &rows.collect::<Vec<_>>())
}

fn observations(report: &Report, at: Utc) -> String {
    let left = Align::Left;
    let head = [("CONTROL", left), ("LAST COMPLETE", left), ("AGE", left), ("TITLE", left)];
    let rows = report.controls.iter().map(|control| {
        let (last, age) = match control.last_complete {
            Some(last) => (rfc3339(last), span((at - last).num_seconds())),
            None => ("none".to_owned(), String::new()),
        };
        vec![safe(&control.id), last, age, cut(&control.title, TITLE)]
    });
    table(&head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    #[test]
    fn a_day_is_meant_with_its_end_and_nonsense_is_refused() {
        let now: Utc = "2027-01-01T04:30:12.0005Z".parse().unwrap();
        let read = |text: &str| as_of(text, now);
        assert_eq!(rfc3339(read("2026-12-31").unwrap()), "2026-12-31T23:59:59Z");
        assert_eq!(rfc3339(read("2026-12-31T12:00:00+01:00").unwrap()), "2026-12-31T11:00:00Z");
        assert!(read("yesterday").unwrap_err().contains("2026-12-31"));
        // Today is not over: its rest is not judged.
        assert_eq!(rfc3339(read("2027-01-01").unwrap()), "2027-01-01T04:30:12Z");
    }

    #[test]
    fn frameworks_are_named_and_others_refused_with_those_that_there_are() {
        assert_eq!(wanted(&[]).unwrap(), None);
        let both = wanted(&["soc2".into(), "hipaa:business_associate".into()]).unwrap();
        assert_eq!(both, Some(Wanted { soc2: true, hipaa: true, role: Some(HipaaRole::BusinessAssociate) }));
        assert!(wanted(&["iso".into()]).unwrap_err().to_string().contains("there are: soc2, hipaa"));
    }

    #[test]
    fn a_report_is_written_into_a_new_place_or_over_the_same_one_and_never_over_another() {
        let root = tempfile::tempdir().unwrap();
        let (made, to) = (root.path().join("made"), root.path().join("to"));
        fs::create_dir(&made).unwrap();
        names().iter().for_each(|name| fs::write(made.join(name), name).unwrap());
        publish(&made, &to).unwrap();
        publish(&made, &to).unwrap();
        fs::write(made.join(HTML), "another").unwrap();
        fs::remove_file(to.join("controls.csv")).unwrap();
        let refused = publish(&made, &to).unwrap_err().to_string();
        assert!(refused.contains("holds another report (report.html)"), "{refused}");
        assert!(!to.join("controls.csv").exists(), "nothing was written");
        check(&to).unwrap();
        fs::write(to.join("notes.txt"), "").unwrap();
        assert!(check(&to).unwrap_err().to_string().contains("notes.txt"));
    }
}
