//! `evidenced pull`: copies an archive, or a part of it by dates, into a directory that verifies offline.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use chrono::{Days, NaiveDate, NaiveTime};
use signing::verify::{Part, bytes};

use super::{meter::Meter, place::Asked, plain::safe};
use crate::pull::pull;

/// Copies an archive, or a part of it, into a directory that verifies offline. A copy that broke off is gone on with by the same command.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive: s3://BUCKET/PREFIX[/ORIGIN], or a directory
    archive: PathBuf,
    /// The directory that is copied into; the log gets a directory of its own in it
    directory: PathBuf,
    #[command(flatten)]
    days: Dates,
    #[command(flatten)]
    asked: Asked,
}

/// The part of an archive that is meant.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Dates {
    /// The first day, in UTC, of runs whose seals and bundles are meant (2026-01-31); without it, from the first on
    #[arg(long, value_name = "DAY")]
    pub from: Option<NaiveDate>,
    /// The last day, in UTC; without it, up to the last
    #[arg(long, value_name = "DAY")]
    pub to: Option<NaiveDate>,
}

impl Dates {
    /// As instants; `None`: all.
    pub fn part(self) -> anyhow::Result<Option<Part>> {
        if self.from.is_none() && self.to.is_none() {
            return Ok(None);
        }
        let start = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let from = self.from.map_or(chrono::DateTime::UNIX_EPOCH, start);
        let to = match self.to {
            None => start(NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX)),
            Some(day) => start(day.checked_add_days(Days::new(1)).context("--to is too late a day")?),
        };
        if from >= to {
            bail!("--from is after --to: no day is meant");
        }
        Ok(Some(Part { from, to }))
    }

    /// As arguments again.
    fn arguments(self) -> String {
        let named = [("--from", self.from), ("--to", self.to)];
        named.iter().filter_map(|(name, day)| day.map(|day| format!(" {name} {day}"))).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// What ended it; what was copied stays.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let part = args.days.part()?;
    let opened = args.asked.open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let meter = Meter::new();
    let threads = opened.threads.unwrap_or(4);
    let pulled =
        pull(&*opened.reader, &args.directory, part, threads, &|done, total| meter.show("copying", done, total));
    meter.clear();
    let pulled = pulled
        .with_context(|| format!("copying {} ended early; the same command goes on with it", args.archive.display()))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} entries; copied {} objects, {}{}",
        safe(&pulled.origin),
        pulled.size,
        pulled.copied,
        bytes(pulled.bytes),
        if pulled.already > 0 { format!("; {} were there already", pulled.already) } else { String::new() }
    )?;
    let (missing, first) = &pulled.missing;
    if *missing > 0 {
        writeln!(out, "{missing} objects that the log names are not in the archive; `verify` tells what that means:")?;
        for name in first {
            writeln!(out, "    {}", safe(name))?;
        }
    }
    opened.reader.covered(&mut |name, by| {
        let _ = writeln!(out, "{}: {}; the original was copied", safe(name), safe(by));
    });
    writeln!(
        out,
        "Nothing was checked on the way: evidenced verify {} --trust SHA256:…{}",
        pulled.directory.display(),
        args.days.arguments()
    )?;
    Ok(ExitCode::SUCCESS)
}
