//! `evidenced export`: the archive as Parquet, after it was verified, in a directory of its own.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use report::{
    Ledger,
    export::{self, Exported, Wanted},
};
use verifier::{dates::Dates, plain::safe, verify::Under};

use super::place::{Asked, Bucket};
use crate::durable::Disk;

/// Writes receipts, results and records as Parquet files by day, for query engines: exit code 0, or 1 where the archive is not
/// intact, or lines of records could not be exported.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive: a directory, or s3://BUCKET/PREFIX
    archive: PathBuf,
    /// The directory to make; it must not be there
    #[arg(long, value_name = "DIRECTORY")]
    parquet: PathBuf,
    /// Records of this kind alone; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    #[command(flatten)]
    days: Dates,
    #[command(flatten)]
    under: Under,
    #[command(flatten)]
    bucket: Bucket,
}

/// Runs the command.
///
/// # Errors
/// An archive that cannot be verified, and a directory that is there already or cannot be written: then none is made.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.parquet.symlink_metadata().is_ok() {
        bail!("{} is there already; name another directory with --parquet", args.parquet.display());
    }
    let wanted = Wanted { part: args.days.part()?, kinds: args.kind.iter().cloned().collect() };
    let (opened, verdict) = args.under.verified(&args.archive, None, &|archive, origin| {
        Asked { origin: origin.map(str::to_owned), bucket: args.bucket.clone() }.open(archive)
    })?;
    let ledger = Ledger::new(&*opened.reader, &verdict)?;
    let made = publish(&args.parquet, &mut |staged| {
        export::parquet(&ledger, &wanted, &mut |name| create(staged, name)).map_err(Into::into)
    })?;
    let mut out = io::stdout().lock();
    tell(&args.parquet, &made, &mut out)?;
    writeln!(out, "{}", safe(&verdict.statement))?;
    Ok(if verdict.intact && made.bad_lines == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn tell(directory: &Path, made: &Exported, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<String> = made.rows.iter().map(|(table, rows)| format!("{table} {rows}")).collect();
    writeln!(out, "{}: {} files; rows: {}", directory.display(), made.files, rows.join(", "))?;
    if made.refused > 0 {
        writeln!(
            out,
            "    {} entries are refused by verification: `receipts.refused` says why; nothing else is there of them",
            made.refused
        )?;
    }
    if made.unread > 0 {
        writeln!(out, "    {} bundles cannot be read: `receipts.unread` says why", made.unread)?;
    }
    if made.bad_lines > 0 {
        writeln!(out, "    {} lines of records are not exported:", made.bad_lines)?;
        for named in &made.bad_lines_named {
            writeln!(out, "        {}", safe(named))?;
        }
    }
    Ok(())
}

/// Fills a directory under a temporary name, and gives it its own when it is whole.
fn publish<T>(directory: &Path, fill: &mut dyn FnMut(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let disk = Disk::new();
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let staged = disk.stage_dir(parent).with_context(|| parent.display().to_string())?;
    let filled = fill(&staged).and_then(|made| {
        disk.move_dir(&staged, directory).with_context(|| directory.display().to_string())?;
        Ok(made)
    });
    if filled.is_err() {
        let _ = disk.remove_dir_all(&staged);
    }
    filled
}

// The staged directory gets its name when it is whole, and each file is synced when it is closed.
#[allow(clippy::disallowed_methods)]
fn create(staged: &Path, name: &str) -> io::Result<Box<dyn Write + Send>> {
    let path = staged.join(name);
    if let Some(parent) = path.parent() {
        Disk::new().make_dirs(parent)?;
    }
    Ok(Box::new(Synced(BufWriter::new(File::create_new(path)?))))
}

/// A file that is on the disk when it is flushed.
struct Synced(BufWriter<File>);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("tables");
        let failed = publish::<()>(&directory, &mut |staged| {
            create(staged, "a/b=c/d.parquet")?.write_all(b"half")?;
            bail!("the archive changed")
        });
        assert_eq!(failed.unwrap_err().to_string(), "the archive changed");
        assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
        publish(&directory, &mut |staged| Ok(create(staged, "a/b=c/d.parquet")?.flush()?)).unwrap();
        assert!(directory.join("a/b=c/d.parquet").is_file());
        assert!(publish(&directory, &mut |_| Ok(())).is_err(), "it is never written over");
        assert_eq!(scratch.path().read_dir().unwrap().count(), 1);
    }
}
