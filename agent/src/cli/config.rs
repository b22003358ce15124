//! `evidenced config`: prints the configuration that holds, with where each value comes from, and no secret.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::config::Config;

/// `evidenced config`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Prints YAML and exits 0; or every mistake of the file, on standard error, and exits 2. Whether jobs and schedules make sense is
/// for `evidenced validate`.
///
/// # Errors
/// When printing fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let code = print(args, std::env::vars_os(), &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(ExitCode::from(code))
}

fn print(
    args: &Args,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    match Config::load(args.config.as_deref(), environment) {
        Ok(loaded) => out.write_all(loaded.effective().as_bytes()).map(|()| 0),
        Err(error) => writeln!(err, "{error}").map(|()| 2),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_configuration_that_holds_is_printed_with_its_places() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("c.yaml");
        fs::write(&path, "log:\n  level: debug\n").unwrap();
        let args = Args { config: Some(path.clone()) };
        let environment = [("EVIDENCED_STATE_DIR".into(), "/var/lib/e".into())];
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(print(&args, environment, &mut out, &mut err).unwrap(), 0);
        let out = String::from_utf8(out).unwrap();
        for line in [
            format!("# Read from {}", path.display()),
            "state_dir: /var/lib/e  # EVIDENCED_STATE_DIR".into(),
            format!("  level: debug  # {}:2", path.display()),
            "  format: text  # default".into(),
        ] {
            assert!(out.lines().any(|printed| printed == line), "{line}\n{out}");
        }

        fs::write(&path, "log: {levle: debug}\n").unwrap();
        let mut out = Vec::new();
        assert_eq!(print(&args, [], &mut out, &mut err).unwrap(), 2);
        assert!(out.is_empty());
        assert!(String::from_utf8(err).unwrap().contains("c.yaml:1: log.levle: unknown key; did you mean `level`?"));
    }
}
