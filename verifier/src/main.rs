//! `evidenced-verify`: the verifier by itself, for who wants to read and build no more than that.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::Parser;
use signing::verify::Rederive;
use verifier::{
    derive::NoCollectors,
    failure,
    place::{self, Opened},
    verify::{self, How},
};

/// Verifies an archive of evidenced, or what `prove` or `sample` packed, offline: exit code 0 intact, 1 not intact, 2 could not verify.
#[derive(Debug, Parser)]
#[command(name = "evidenced-verify", version, max_term_width = 120)]
struct Cli {
    /// The archive, or one origin in it: a directory; or a package: a ZIP
    archive: PathBuf,
    /// Open every bundle and compare it with its receipt; records are derived again by `evidenced verify` only
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    how: How,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let deep: Option<&dyn Rederive> = if cli.deep { Some(&NoCollectors) } else { None };
    verify::run(&cli.archive, &cli.how, deep, &open).unwrap_or_else(|error| failure::end(&error))
}

fn open(archive: &Path, origin: Option<&str>) -> anyhow::Result<Opened> {
    if archive.as_os_str().as_encoded_bytes().starts_with(b"s3://") {
        bail!("this program has no network: copy the archive with `evidenced pull`, or use `evidenced verify`");
    }
    place::directory(archive, origin)
}
