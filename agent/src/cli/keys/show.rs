//! What `keys.json` says, for people and for auditors.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use signing::{
    keys::{KeyEntry, KeySet, Use},
    time::rfc3339,
};

use super::{super::agent, ListArgs};

/// `evidenced keys export`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// This keys.json
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

pub(super) fn list(args: &ListArgs) -> anyhow::Result<()> {
    let (set, _) = read(args.keys.as_deref(), args.config.as_deref())?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &as_json(&set))?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "origin  {}", set.origin)?;
    writeln!(out, "root    {} (revision {}, made {})", set.root.fingerprint(), set.revision, rfc3339(set.made_at))?;
    for key in &set.keys {
        writeln!(out, "key     {}", in_words(key))?;
    }
    Ok(())
}

/// A key and what is said of it, in one line.
pub(super) fn in_words(key: &KeyEntry) -> String {
    let of = key.name.as_ref().map_or(String::new(), |name| format!(" of {name}"));
    let mut says = format!("{}  {}{of}, valid from {}", key.key_id, key.use_, rfc3339(key.valid.from));
    if let Some(until) = key.valid.until {
        says += &format!(" until {}", rfc3339(until));
    }
    if let Some(since) = key.compromised_since {
        says += &format!(", compromised since {}", rfc3339(since));
    }
    match &key.superseded_by {
        Some(next) if key.lost => says += &format!(", lost, followed by {next}"),
        Some(next) => says += &format!(", followed by {next}"),
        None => {}
    }
    says
}

fn read(keys: Option<&Path>, config: Option<&Path>) -> anyhow::Result<(KeySet, Vec<u8>)> {
    let path = match keys {
        Some(path) => path.to_owned(),
        None => agent::load(config)?.config.key_paths().keys,
    };
    let bytes = std::fs::read(&path).with_context(|| {
        format!("{} cannot be read; where there are no keys yet, `evidenced keys init` makes them", path.display())
    })?;
    let set = KeySet::open_untrusted(&bytes).with_context(|| format!("{} is no valid key set", path.display()))?;
    Ok((set, bytes))
}

/// Prints it in parts that can be cut out and given to tools.
pub(super) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let (set, bytes) = read(args.keys.as_deref(), args.config.as_deref())?;
    let mut out = io::stdout().lock();
    writeln!(out, "# Origin, and the root key's fingerprint: compare both with what its custodian tells you")?;
    writeln!(out, "{}\n{}\n", set.origin, set.root.fingerprint())?;
    writeln!(out, "# The root's public key\n{}", set.root.to_pem())?;
    for key in &set.keys {
        writeln!(out, "# {}", in_words(key))?;
        if key.use_ == Use::Checkpoints {
            writeln!(out, "{}", signing::log::vkey(&set.origin, &key.spki))?;
        }
        writeln!(out, "{}", key.spki.to_pem())?;
    }
    writeln!(out, "# keys.json, revision {}: one line", set.revision)?;
    out.write_all(&bytes)?;
    writeln!(out)?;
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
