//! `evidenced pause` and `evidenced resume`: a plan that puts nothing in force, and its end. The reason is in the log, for auditors.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, anyhow, bail};

use super::{agent, collect};
use crate::{
    config::Loaded,
    control::{self, Answer, Ask},
    daemon,
    durable::Disk,
};

/// `evidenced pause`.
#[derive(Debug, Clone, clap::Args)]
pub struct PauseArgs {
    /// Why; auditors read it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `evidenced resume`.
#[derive(Debug, Clone, clap::Args)]
pub struct ResumeArgs {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Puts an empty plan in force, through the daemon where one runs.
///
/// # Errors
/// An empty reason; a daemon that refuses; an archive that cannot be written.
pub fn pause(args: &PauseArgs) -> anyhow::Result<ExitCode> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        bail!("a pause needs a reason: auditors read it");
    }
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "warn");
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let asked = through_daemon(&loaded, &Ask::Pause { reason: reason.to_owned() }).await?;
        if !asked {
            alone(&loaded, reason).await?;
        }
        println!(
            "Paused: no schedule is in force, and the log says why. {}",
            match asked {
                true => "`evidenced resume` ends it.",
                false => "`evidenced run` ends it.",
            }
        );
        Ok(ExitCode::SUCCESS)
    });
    agent::end(runtime, code)
}

/// Has the daemon put its schedules in force again.
///
/// # Errors
/// No daemon; one that refuses.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "warn");
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        if !through_daemon(&loaded, &Ask::Resume).await? {
            bail!(
                "no daemon runs with state_dir {}: `evidenced run` puts the schedules in force",
                loaded.config.state_dir.display()
            );
        }
        println!("Resumed: the schedules are in force again.");
        Ok(ExitCode::SUCCESS)
    });
    agent::end(runtime, code)
}

/// Asks the daemon; whether there is one.
pub(super) async fn through_daemon(loaded: &Loaded, ask: &Ask) -> anyhow::Result<bool> {
    let answers =
        control::ask(&loaded.config.state_dir, ask).await.with_context(|| agent::not_asked(&loaded.config))?;
    let Some(mut answers) = answers else { return Ok(false) };
    while let Some(answer) = answers.next().await? {
        match answer {
            Answer::Refused(why) => bail!("the daemon refuses: {why}"),
            Answer::Done { waiting, .. } => {
                if let Some(why) = waiting {
                    let taken = match ask {
                        Ask::Freeze { .. } => "The document was taken, but is",
                        _ => "The plan is in force, but",
                    };
                    eprintln!("{taken} not in the log yet; the daemon goes on trying: {why}");
                }
                return Ok(true);
            }
            Answer::Ran(_) | Answer::Status(_) => {}
        }
    }
    Err(anyhow!("the daemon ended before it had answered; `evidenced status` shows what is in force"))
}

/// Without a daemon: writes the plan here.
async fn alone(loaded: &Loaded, reason: &str) -> anyhow::Result<()> {
    let config = &loaded.config;
    let disk = Disk::new();
    let jobs = agent::jobs(loaded)?;
    let keys = collect::open_keys(&config.key_paths())?;
    let instance = agent::take(config, &disk)?;
    let pipeline = agent::pipeline(config, keys, &instance, &disk, false).await?;
    let terms = (config.schedule.settle.get(), config.archive.retention_days());
    daemon::pause(&pipeline, &jobs, reason, terms).await?;
    Ok(())
}
