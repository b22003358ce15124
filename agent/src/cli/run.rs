//! `evidenced run`: the daemon. It never makes keys, and ends only when it is told to, or when it cannot begin.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use collectors::aws::{Aws, doctor};
use tokio::sync::mpsc;

use super::{agent, collect, population};
use crate::{
    anchor::Anchoring,
    clock::{Clock as _, SystemClock},
    config::Config,
    control::Server,
    daemon::Exit,
    durable::Disk,
    freeze, promise,
    witness::client::Witnessing,
};

/// `evidenced run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml, else this host into ./evidence
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Believe the clock at this start, although it is more than a day ahead of what the archive holds
    #[arg(long)]
    pub accept_clock: bool,
}

/// Exits 0 after a stop, 1 after a second signal.
///
/// # Errors
/// What kept it from beginning: the configuration, missing keys, another agent.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    agent::log(&loaded, "info");
    let config = &loaded.config;
    let keys = collect::open_keys(&config.key_paths())?;
    let jobs = agent::jobs(&loaded)?;
    for off in jobs.not_run() {
        tracing::warn!(job = %off.job, "does not run: {}", off.reason);
    }
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let mut signals = agent::signals()?;
        let disk = Disk::new();
        let instance = agent::take(config, &disk)?;
        let pipeline = tokio::select! {
            pipeline = agent::pipeline(config, keys, &instance, &disk, true) => pipeline?,
            _ = signals.recv() => return Ok(ExitCode::SUCCESS),
        };
        let (send, asked) = mpsc::channel(16);
        let server = match Server::listen(&config.state_dir, send) {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::warn!(%error, "no control socket in state_dir: `collect`, `pause` and `status` cannot reach this daemon");
                None
            }
        };
        tracing::info!(
            origin = pipeline.options().origin,
            archive = pipeline.options().archive.place(),
            state_dir = %config.state_dir.display(),
            "evidenced {} runs",
            crate::run::AGENT
        );
        say_what_may_do_far_more(config);
        let upkeep = tokio::spawn(agent::keep_up(pipeline.options().archive.clone()));
        let period = config.period.and_then(|period| population::instants(period.from, period.to).ok());
        let freezing = period.map(|period| tokio::spawn(freeze::keep(pipeline.clone(), period)));
        let mut anchoring = Anchoring::open(pipeline.clone(), &config.signing.timestamps).await?;
        let mut witnessing = Witnessing::open(pipeline.clone(), &config.signing.witnesses)?;
        let promised = promise::controls(&loaded, &jobs, &pipeline.options().origin);
        let mut daemon = agent::daemon(config, jobs, pipeline, disk, args.accept_clock)?;
        if let Some(witnessing) = &mut witnessing {
            daemon.show_witnesses(witnessing.status());
            witnessing.start();
        }
        if let Some(anchoring) = &mut anchoring {
            daemon.show_anchors(anchoring.status());
            anchoring.start();
        }
        daemon.promise(promised);
        let exit = daemon.run(asked, signals).await;
        upkeep.abort();
        if let Some(freezing) = freezing {
            freezing.abort();
        }
        if let Exit::Done { .. } = &exit {
            let anchored = async {
                if let Some(anchoring) = anchoring {
                    anchoring.finish().await;
                }
            };
            let witnessed = async {
                if let Some(witnessing) = witnessing {
                    witnessing.finish().await;
                }
            };
            tokio::join!(anchored, witnessed);
        }
        drop(server);
        match exit {
            Exit::Done { late } if late.is_empty() => tracing::info!("stopped"),
            Exit::Done { .. } => tracing::warn!("stopped, and left runs behind"),
            Exit::Quit => {
                tracing::warn!("quit at once; what is in the spool is logged at the next start");
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    });
    agent::end(runtime, code)
}

/// Says, beside everything else, which roles may do far more than reading needs, where AWS tells.
fn say_what_may_do_far_more(config: &Config) {
    for source in &config.sources {
        let Some(aws) = source.aws.clone() else { continue };
        let name = source.name.clone();
        tokio::spawn(async move {
            for line in doctor::far_more(&Aws::new(aws), Arc::new(|| SystemClock.now())).await {
                tracing::warn!(source = name, "{line}. `evidenced doctor` says what to do");
            }
        });
    }
}
