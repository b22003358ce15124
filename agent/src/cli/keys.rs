//! `evidenced keys`: makes the key files that `run` needs, and lists what `keys.json` says. No private key is ever printed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use signing::{
    keys::{KeySet, Use},
    time::rfc3339,
};

use super::{agent, collect};
use crate::{
    clock::{Clock as _, SystemClock},
    config::is_origin,
    durable::Disk,
    keystore,
};

/// `evidenced keys`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make a root key, a key for receipts, one for checkpoints, and keys.json; what is there is never replaced
    Init(InitArgs),
    /// Show the keys of keys.json, and the root's fingerprint
    List(ListArgs),
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
        Command::List(args) => list(args)?,
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
    let made = keystore::make(&Disk::new(), &dir, &origin, SystemClock.now())?;
    let paths = keystore::Paths::in_dir(&dir);
    println!("{} in {}, for origin {origin}.", if made.new { "Keys made" } else { "Keys were there" }, dir.display());
    println!("Root key {}: its fingerprint is what an auditor trusts.", made.keys.set.root.fingerprint());
    if made.new {
        println!(
            "Move {} to its custodian, outside the team that runs the systems: the agent does not need it.",
            dir.join("root.pem").display()
        );
    }
    if paths != configured {
        println!("The configuration names other files. To use these:\nsigning:");
        println!("  receipts: {{file: {}}}", paths.receipts.display());
        println!("  checkpoints: {{file: {}}}", paths.checkpoint.display());
        println!("  keys: {}", paths.keys.display());
    }
    Ok(())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let path = match &args.keys {
        Some(path) => path.clone(),
        None => agent::load(args.config.as_deref())?.config.key_paths().keys,
    };
    let bytes = std::fs::read(&path).with_context(|| {
        format!("{} cannot be read; where there are no keys yet, `evidenced keys init` makes them", path.display())
    })?;
    let set = KeySet::open_untrusted(&bytes).with_context(|| format!("{} is no valid key set", path.display()))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &as_json(&set))?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "origin  {}", set.origin)?;
    writeln!(out, "root    {} (revision {}, made {})", set.root.fingerprint(), set.revision, rfc3339(set.made_at))?;
    for key in &set.keys {
        let what = match key.use_ {
            Use::Receipts => "receipts",
            Use::Checkpoints => "checkpoints",
        };
        write!(out, "key     {}  {what}, valid from {}", key.key_id, rfc3339(key.valid.from))?;
        if let Some(until) = key.valid.until {
            write!(out, " until {}", rfc3339(until))?;
        }
        if let Some(since) = key.compromised_since {
            write!(out, ", compromised since {}", rfc3339(since))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The key set with what other tools ask for: the root by fingerprint, and checkpoint keys as C2SP signed-note verifier keys.
fn as_json(set: &KeySet) -> serde_json::Value {
    let vkeys: Vec<String> = set
        .keys
        .iter()
        .filter(|key| matches!(key.use_, Use::Checkpoints))
        .map(|key| signing::log::vkey(&set.origin, &key.spki))
        .collect();
    serde_json::json!({
        "origin": set.origin,
        "revision": set.revision,
        "made_at": set.made_at,
        "root": set.root.fingerprint(),
        "root_spki": set.root,
        "vkeys": vkeys,
        "keys": set.keys,
    })
}
