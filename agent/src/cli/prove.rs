//! `evidenced prove`: one entry with what proves it, in a file that is verified alone.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use signing::{
    bundle,
    package::{self, Made},
    store::Reader,
};
use verifier::plain::safe;

use super::place::Asked;
use crate::durable::{Created, Disk};

/// Makes a package of one entry with what proves it, to be verified alone.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The entry, by its number in the log
    entry: u64,
    /// The archive: a directory, or s3://BUCKET/PREFIX
    archive: PathBuf,
    /// The file to make; without it, ./entry-N.zip
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
}

/// Runs the command.
///
/// # Errors
/// An entry that cannot be proved from the archive, and a file that is there already with other bytes.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let opened = args.asked.open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let output = args.output.clone().unwrap_or_else(|| format!("entry-{}.zip", args.entry).into());
    let made = prove(&*opened.reader, args.entry, &output)?;
    let mut out = io::stdout().lock();
    let file = output.display();
    writeln!(out, "{file}: entry {} of {} of {}: {}", args.entry, made.size, safe(&made.origin), safe(&made.subject))?;
    for left_out in &made.left_out {
        writeln!(out, "    {}", safe(left_out))?;
    }
    writeln!(out, "Nothing but its place in the log was checked on the way: evidenced verify {file} --trust SHA256:…")?;
    Ok(ExitCode::SUCCESS)
}

fn prove(reader: &dyn Reader, index: u64, output: &Path) -> anyhow::Result<Made> {
    let scratch = tempfile::tempdir().context("no room for a copy; set TMPDIR")?;
    let objects = scratch.path().join("package");
    let made = package::make(reader, index, &mut |name, content| copy(&objects, name, content))?;
    let zip = scratch.path().join("package.zip");
    let mut file = File::options().read(true).write(true).create_new(true).open(&zip)?;
    bundle::write(&objects, &mut file)?;
    match Disk::new().create_new_from(output, &zip).with_context(|| output.display().to_string())? {
        Created::Other => {
            bail!("{} is there already, with other content; name another file with --output", output.display())
        }
        _ => Ok(made),
    }
}

// Scratch: what is in it becomes a file elsewhere.
#[allow(clippy::disallowed_methods)]
pub(super) fn copy(directory: &Path, name: &str, content: &mut dyn io::Read) -> io::Result<()> {
    let path = directory.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    io::copy(content, &mut File::create_new(path)?).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use signing::{
        package::Zipped,
        store::Dir,
        verify::{Options, entry},
    };

    use super::*;

    #[test]
    fn a_package_is_made_once_the_same_twice_and_never_over_another_file() {
        let scratch = tempfile::tempdir().unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive");
        let output = scratch.path().join("entry.zip");
        let made = prove(&Dir::new(&archive), 2, &output).unwrap();
        assert!(made.subject.starts_with("bundle/"), "{made:?}");
        let another = format!("SHA256:{}", "A".repeat(43));
        let refused = entry(&Zipped::open(&output).unwrap(), &Options::trusting(another)).unwrap_err();
        assert!(refused.object.starts_with("document/keys/"), "{refused}");

        prove(&Dir::new(&archive), 2, &output).unwrap();
        let other = prove(&Dir::new(&archive), 3, &output).unwrap_err();
        assert!(other.to_string().contains("--output"), "{other:#}");
        assert!(prove(&Dir::new(scratch.path()), 0, &scratch.path().join("none.zip")).is_err());
        assert!(!scratch.path().join("none.zip").exists());
    }
}
