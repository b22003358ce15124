//! `evidenced pull`: copies an archive, or a part of it by dates, into a directory that verifies offline.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use signing::verify::bytes;
use verifier::{dates::Dates, meter::Meter, plain::safe};

use super::place::Asked;
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

/// Runs the command.
///
/// # Errors
/// What ended it; what was copied stays.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let part = args.days.part()?;
    let opened = args.asked.open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let meter = Meter::on_stderr();
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
