//! `evidenced witness`: a witness for the logs of others. It needs no configuration, no archive, and nobody's keys but its own.

use std::{
    future,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use signing::{log::witness::Log, time::rfc3339};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, fmt};

use super::agent;
use crate::{
    clock::SystemClock,
    durable::Disk,
    witness::{
        server,
        store::{self, Store},
    },
};

/// `evidenced witness`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<Serve>,
}

/// What the command does besides.
#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Make a witness: its key, and the directory in which it remembers what it signed
    Init(Init),
    /// Print the newest checkpoint that the witness signed: a note for an auditor to keep
    Show(Show),
}

/// Its work.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// What `evidenced witness init` made. It is never put back from a backup: that would let the witness sign a second history
    #[arg(long, value_name = "DIRECTORY")]
    state: PathBuf,
    /// The witness's private key, of mode 0600
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where it listens, without TLS: a proxy adds that
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// The verifier key of a log (`evidenced keys list --json`); several of one origin where its key is rotated
    #[arg(long, value_name = "VKEY", required = true)]
    log: Vec<String>,
}

/// `evidenced witness init`.
#[derive(Debug, Clone, clap::Args)]
pub struct Init {
    /// The directory to make
    #[arg(long, value_name = "DIRECTORY")]
    state: PathBuf,
    /// The private key to make
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its name for ever: an URL without scheme, such as witness.auditor.example/acme
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// `evidenced witness show`.
#[derive(Debug, Clone, clap::Args)]
pub struct Show {
    /// What `evidenced witness init` made
    #[arg(long, value_name = "DIRECTORY")]
    state: PathBuf,
    /// The log; needed where there are several
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

/// Runs until a signal, then exits 0. `show` exits 1 where the witness refused what a log had signed.
///
/// # Errors
/// A key or a state that does not fit, or cannot be read or written; an address that cannot be had.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match (&args.command, &args.serve) {
        (Some(Command::Init(args)), _) => init(args),
        (Some(Command::Show(args)), _) => show(args),
        (None, Some(args)) => serve(args),
        (None, None) => bail!("say what to do: `evidenced witness --help`"),
    }
}

fn init(args: &Init) -> anyhow::Result<ExitCode> {
    let made = store::init(&Disk::new(), &args.state, &args.key, &args.name)?;
    let mut out = io::stdout().lock();
    let were = if made.new { "Made" } else { "There already:" };
    writeln!(out, "{were} {} and {}.", args.key.display(), args.state.display())?;
    writeln!(out, "Its verifier key, for the agents and the auditors who rely on it:\n{}", made.witness.vkey())?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Show) -> anyhow::Result<ExitCode> {
    let (witness, mut kept) = store::look(&args.state)?;
    let origins: Vec<String> = kept.iter().map(|kept| kept.checkpoint.origin.clone()).collect();
    if let Some(origin) = &args.origin {
        kept.retain(|kept| kept.checkpoint.origin == *origin);
    }
    let newest = match &kept[..] {
        [newest] => newest,
        [] if origins.is_empty() => bail!("{} has signed nothing yet", witness.name()),
        [] => bail!("{} has signed no checkpoint of that log, but of: {}", witness.name(), origins.join(", ")),
        _ => bail!("{} knows several logs: say --origin with one of: {}", witness.name(), origins.join(", ")),
    };
    io::stdout().lock().write_all(&newest.note)?;
    eprintln!("{} signed it at {}", witness.name(), rfc3339(newest.at));
    if newest.refused.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("REFUSED: the log also signed what does not continue this, or came without a proof that it does:");
    newest.refused.iter().for_each(|path| eprintln!("  {}", path.display()));
    Ok(ExitCode::FAILURE)
}

fn serve(args: &Serve) -> anyhow::Result<ExitCode> {
    let lines = fmt().with_env_filter(EnvFilter::new("info")).with_writer(io::stderr).with_target(false);
    let _ = lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).log_internal_errors(false).try_init();
    let logs = Log::from_vkeys(&args.log).map_err(|(text, error)| anyhow!(error).context(format!("--log {text}")))?;
    for log in &logs {
        tracing::info!(origin = log.origin, keys = log.keys.len(), "witnesses");
    }
    let store = Arc::new(Store::open(&Disk::new(), &args.state, &args.key, logs)?);
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let mut signals = agent::signals()?;
        let listener = TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("cannot listen on {}: name another address with --listen", args.listen))?;
        println!("{} listens on http://{}", store.witness().name(), listener.local_addr()?);
        let stop = async {
            if signals.recv().await.is_none() {
                future::pending::<()>().await;
            }
        };
        server::serve(listener, store.clone(), Arc::new(SystemClock), stop).await;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    });
    agent::end(runtime, code)
}
