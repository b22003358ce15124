//! `evidenced verify`: the verifier, with archives in buckets and the collectors to derive records again. Needs no configuration and
//! no key, and no network but to a bucket.

use std::{path::PathBuf, process::ExitCode};

use signing::verify::Rederive;
use verifier::verify::{self, How};

use super::place::{Asked, Bucket};
use crate::rederive::Collectors;

/// Verifies an archive, or what `prove` or `sample` packed, offline: exit code 0 intact, 1 not intact, 2 could not verify.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive, or one origin in it: a directory, or s3://BUCKET/PREFIX; or a package: a ZIP
    archive: PathBuf,
    /// Open every bundle, and derive its records and results again
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    bucket: Bucket,
}

/// Runs the command.
///
/// # Errors
/// As [`verify::run`].
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let collectors = args.deep.then(Collectors::built_in);
    let deep = collectors.as_ref().map(|collectors| collectors as &dyn Rederive);
    verify::run(&args.archive, &args.how, deep, &|archive, origin| {
        Asked { origin: origin.map(str::to_owned), bucket: args.bucket.clone() }.open(archive)
    })
}
