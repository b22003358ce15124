//! `evidenced host-exec`, hidden: changes the root and becomes a program there. Collectors start it to run a mounted host's own programs.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use collectors::host::access::{host_exec, host_exec_failed};

/// `evidenced host-exec ROOT -- PROGRAM ARGUMENTS…`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    root: PathBuf,
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// Returns only when it failed.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let code = host_exec_failed(&host_exec(&args.root, &args.argv));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(2)))
}
