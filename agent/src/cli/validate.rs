//! `evidenced validate`: checks the configuration and shows what would run, without running, writing or asking anything.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use chrono::Months;
use signing::time::Utc;

use crate::{
    clock::{Clock, SystemClock},
    config::{Config, Loaded, Wish},
    schedule,
};

/// `evidenced validate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Prints what would run, each job with its next three instants, and exits 0; or every mistake, on standard error, and exits 2.
///
/// # Errors
/// When printing fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let code = validate(args, std::env::vars_os(), now, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(ExitCode::from(code))
}

fn validate(
    args: &Args,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    now: Utc,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let checked = Config::load(args.config.as_deref(), environment).and_then(|loaded| {
        let sources = loaded.config.open_sources();
        loaded.validate(&sources).map(|notes| (loaded, sources, notes))
    });
    let (loaded, sources, notes) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(2);
        }
    };
    writeln!(out, "{}\n", read_from(&loaded))?;
    let (mut rows, mut off) = (Vec::new(), Vec::new());
    for source in &sources {
        for spec in source.collectors.iter().map(|collector| collector.spec()) {
            let job = format!("{}@{}", spec.id, source.name);
            match (loaded.config.wish(&spec.id, &source.name, &spec.schedule, spec.deadline), &source.not_run) {
                (Wish::Off(reason), _) => off.push((job, reason)),
                (Wish::Run(_), Some(reason)) => off.push((job, reason.clone())),
                (Wish::Run(settings), None) => {
                    let next = next_instants(&settings.schedule, &settings.zone, now).with_context(|| job.clone())?;
                    let schedule = match settings.zone.as_str() {
                        "UTC" => settings.schedule,
                        zone => format!("{} ({zone})", settings.schedule),
                    };
                    rows.push((job, schedule, next));
                }
            }
        }
    }
    let width = |head: &str, of: &dyn Fn(&(String, String, String)) -> usize| {
        rows.iter().map(of).max().unwrap_or(0).max(head.len())
    };
    let (job_width, schedule_width) = (width("JOB", &|row| row.0.len()), width("SCHEDULE", &|row| row.1.len()));
    if !rows.is_empty() {
        writeln!(out, "{:job_width$}  {:schedule_width$}  NEXT, IN UTC", "JOB", "SCHEDULE")?;
    }
    for (job, schedule, next) in &rows {
        writeln!(out, "{job:job_width$}  {schedule:schedule_width$}  {next}")?;
    }
    if !off.is_empty() {
        writeln!(out, "{}Not run:", if rows.is_empty() { "" } else { "\n" })?;
    }
    for (job, reason) in &off {
        writeln!(out, "  {job}: {reason}")?;
    }
    for note in &notes {
        writeln!(out, "Note: {note}")?;
    }
    let jobs = |count: usize| if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
    let not = if off.is_empty() { String::new() } else { format!(", {} would not", jobs(off.len())) };
    writeln!(out, "\nValid: {} would run{not}.", jobs(rows.len()))?;
    Ok(0)
}

/// One line on where the configuration comes from.
fn read_from(loaded: &Loaded) -> String {
    let variables = loaded.places.values().filter(|place| place.starts_with("EVIDENCED_"));
    let variables = variables.collect::<std::collections::BTreeSet<_>>().len();
    let variables = match variables {
        0 => String::new(),
        1 => " and 1 environment variable".to_owned(),
        more => format!(" and {more} environment variables"),
    };
    match &loaded.file {
        Some(file) => format!("Configuration: {}{variables}", file.display()),
        None => format!("Configuration: the defaults{variables}; there is no evidenced.yaml here, and none was named"),
    }
}

/// The next three instants. A schedule may wait for a 29 February, so several years are looked at.
fn next_instants(text: &str, zone: &str, now: Utc) -> anyhow::Result<String> {
    let parsed = schedule::parse(text, zone)?;
    let offsets = schedule::offsets(zone, now, 9)?;
    let until = now.checked_add_months(Months::new(12 * 9)).context("the clock is at the end of time")?;
    let mut day = None;
    let mut next = Vec::new();
    for at in parsed.slots(&offsets, now, until).take(3) {
        let date = at.date_naive();
        let spelling = if day == Some(date) { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        next.push(at.format(spelling).to_string());
        day = Some(date);
    }
    Ok(next.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn run(yaml: &str) -> (u8, String, String) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("c.yaml");
        fs::create_dir_all(dir.path().join("host/etc")).unwrap();
        fs::write(dir.path().join("host/etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let here = format!("{}/", dir.path().display());
        fs::write(&path, yaml.replace("HERE/", &here)).unwrap();
        let now = "2026-11-22T04:00:30Z".parse().unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = validate(&Args { config: Some(path) }, [], now, &mut out, &mut err).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&here, "");
        (code, text(out), text(err))
    }

    #[test]
    fn what_would_run_is_shown_with_its_next_instants() {
        let (code, out, err) = run("sources: [{name: box, host: {root: HERE/host}}]\n\
             jobs:\n- {collector: host/accounts, schedule: '15 */12 * * *', zone: Europe/Berlin}\n\
             - {collector: host/sshd, enabled: false, reason: nobody logs in}\n");
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("Configuration: c.yaml\n\nJOB "), "{out}");
        let line = out.lines().find(|line| line.starts_with("host/accounts@box")).unwrap();
        assert!(line.ends_with("15 */12 * * * (Europe/Berlin)  2026-11-22 11:15, 23:15, 2026-11-23 11:15"), "{line}");
        assert!(out.contains("\nNot run:\n  host/sshd@box: nobody logs in\n"), "{out}");
        assert!(out.trim_end().ends_with(", 1 job would not."), "{out}");
    }

    #[test]
    fn a_source_that_cannot_be_read_here_is_shown_as_not_run() {
        let (code, out, _) = run("sources: [{name: box, host: {root: /nowhere/at/all}}]\n");
        assert_eq!(code, 0);
        assert!(out.contains("Not run:\n  host/accounts@box: /nowhere/at/all is no host's root file system"), "{out}");
        assert!(out.contains("\nValid: 0 jobs would run, "), "{out}");
    }

    #[test]
    fn mistakes_exit_with_two() {
        let (code, out, err) = run("parallel_jobs: no\n");
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(
            err,
            "the configuration is refused\n  c.yaml:1: parallel_jobs: expected a whole number, found the text \"no\"\n"
        );
        let (code, _, err) = run("jobs: [{collector: host/accounts, schedule: '* * *'}]\n");
        assert_eq!(code, 2);
        assert!(err.contains("c.yaml:1: jobs[0].schedule: schedule \"* * *\" has 3 fields; it takes five"), "{err}");
    }
}
