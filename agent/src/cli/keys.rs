//! `evidenced keys`: makes the keys that `run` needs, draws up, signs and takes revisions of `keys.json`, and shows what it says. No private
//! key is ever printed.

mod change;
mod show;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use signing::keys::PublicKey;

use super::{agent, collect};
use crate::{
    clock::{Clock as _, SystemClock},
    config::is_origin,
    durable::Disk,
    keystore::{self, Begun, Paths},
};

/// `evidenced keys`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make a root key, a key for receipts, one for checkpoints, and keys.json; what is there is never replaced
    Init(InitArgs),
    /// Have keys followed by new ones, in a revision that the old ones and the root sign
    Rotate(change::RotateArgs),
    /// Say since when somebody else may have a key, in a revision that the root signs
    Revoke(change::RevokeArgs),
    /// Name a person who may sign waivers, responses and decisions, in a revision that the root signs
    Approver(change::ApproverArgs),
    /// On the custodian's machine: show a request in words, and sign it with the root key
    Sign(change::SignArgs),
    /// Take a keys.json that the root signed: a running agent uses it from then on
    Install(change::InstallArgs),
    /// Show the keys of keys.json, and the root's fingerprint
    List(ListArgs),
    /// Print what an auditor needs: the root's fingerprint, keys.json, verifier keys and public keys
    Export(show::ExportArgs),
}

/// `evidenced keys init`.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArgs {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where; without it, the directory of the configuration's signing.keys
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// The log that they are for; without it the configuration's, else a random one on localhost
    #[arg(long, value_name = "NAME")]
    pub origin: Option<String>,
    /// The public half of a root key that is elsewhere, in PEM: a request for its signature is written instead of keys.json
    #[arg(long, value_name = "FILE")]
    pub root_public: Option<PathBuf>,
}

/// `evidenced keys list`.
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This keys.json
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Files that cannot be written or read, or that do not belong together.
pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(args) => init(args)?,
        Command::Rotate(args) => change::rotate(args)?,
        Command::Revoke(args) => change::revoke(args)?,
        Command::Approver(args) => change::approver(args)?,
        Command::Sign(args) => change::sign(args)?,
        Command::Install(args) => change::install(args)?,
        Command::List(args) => show::list(args)?,
        Command::Export(args) => show::export(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn init(args: &InitArgs) -> anyhow::Result<()> {
    let loaded = agent::load(args.config.as_deref())?;
    let configured = loaded.config.key_paths();
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => configured.keys.parent().unwrap_or(Path::new(".")).to_owned(),
    };
    let origin = match args.origin.clone().or_else(|| loaded.config.origin.clone()) {
        Some(origin) => origin,
        None => keystore::origin(&dir)?.unwrap_or_else(collect::new_origin),
    };
    anyhow::ensure!(
        is_origin(&origin),
        "{origin:?} is no name for a log: write a host name and a path, such as `evidence.acme.example/prod`"
    );
    collect::check_not_lost(&loaded.config, &dir.join("keys.json"), &origin)?;
    let paths = Paths {
        receipts: configured.receipts.in_dir(&dir, "receipts.pem"),
        checkpoint: configured.checkpoint.in_dir(&dir, "checkpoint.pem"),
        keys: dir.join("keys.json"),
        earlier: configured.earlier.clone(),
    };
    let root = args.root_public.as_deref().map(public).transpose()?;
    match keystore::make_with(&Disk::new(), &dir, &paths, &origin, root, SystemClock.now())? {
        Begun::Ready(made) => {
            println!(
                "{} in {}, for origin {origin}.",
                if made.new { "Keys made" } else { "Keys were there" },
                dir.display()
            );
            println!("Root key {}: its fingerprint is what an auditor trusts.", made.keys.set.root.fingerprint());
            if made.new {
                println!(
                    "Move {} to its custodian, outside the team that runs the systems: the agent does not need it.",
                    dir.join("root.pem").display()
                );
            }
        }
        Begun::Asked(path, draft) => {
            println!("Keys made in {}, for origin {origin}.", dir.display());
            change::asked(&path, &draft);
        }
    }
    if paths != configured {
        println!("The configuration names other files. To use these:\nsigning:");
        for (name, place) in [("receipts", &paths.receipts), ("checkpoints", &paths.checkpoint)] {
            if let Some(path) = place.file() {
                println!("  {name}: {{file: {}}}", path.display());
            }
        }
        println!("  keys: {}", paths.keys.display());
    }
    Ok(())
}

/// A public key in a PEM file.
fn public(path: &Path) -> anyhow::Result<PublicKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::from_pem(&text).with_context(|| format!("{} is no Ed25519 public key", path.display()))
}
