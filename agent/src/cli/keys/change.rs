//! Revisions of `keys.json`: drawn up where the agent is, signed where the root key is, and taken where the agent is.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use chrono::TimeDelta;
use signing::{
    keys::{Draft, KeySet, Signer as _, Use},
    time::{Utc, rfc3339},
};

use super::{super::agent, show::in_words};
use crate::{
    clock::{Clock as _, SystemClock},
    durable::{Created, Disk},
    keystore::{self, Change, Paths},
};

/// `evidenced keys rotate`.
#[derive(Debug, Clone, clap::Args)]
pub struct RotateArgs {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this key: receipts or checkpoints; without it both
    #[arg(long = "use", value_name = "USE", value_parser = use_of)]
    pub use_: Option<Use>,
    /// The old key is lost, and cannot sign this: verdicts will say so
    #[arg(long)]
    pub lost: bool,
    /// For so many days at most the old key may still seal, until the agent has the new keys.json
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=366))]
    pub overlap: u16,
    /// The root key, where it is here for a moment; without it, or root.pem beside keys.json, a request is written
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

/// `evidenced keys revoke`.
#[derive(Debug, Clone, clap::Args)]
pub struct RevokeArgs {
    /// The key, by its fingerprint as `keys list` shows it; one in use is followed by a new one
    #[arg(value_name = "KEY")]
    pub key: String,
    /// From when on somebody else may have had it: 2026-11-22T04:00:00Z
    #[arg(long, value_name = "INSTANT")]
    pub since: Utc,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The key is not here any more, and cannot sign its own succession: verdicts will say so
    #[arg(long)]
    pub lost: bool,
    /// The root key, where it is here for a moment; without it, or root.pem beside keys.json, a request is written
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

/// `evidenced keys approver`.
#[derive(Debug, Clone, clap::Args)]
pub struct ApproverArgs {
    /// The person's name, as reports print it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Make a new key here, for that person alone; not on the agent's machine, if that can be helped
    #[arg(long, value_name = "NEW.pem", required_unless_present = "public", conflicts_with = "public")]
    pub key: Option<PathBuf>,
    /// The public half of a key that the person made, in PEM
    #[arg(long, value_name = "FILE")]
    pub public: Option<PathBuf>,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The root key, where it is here for a moment; without it, or root.pem beside keys.json, a request is written
    #[arg(long, value_name = "FILE")]
    pub root: Option<PathBuf>,
}

/// `evidenced keys sign`.
#[derive(Debug, Clone, clap::Args)]
pub struct SignArgs {
    /// The request that `keys init`, `keys rotate` or `keys revoke` wrote
    #[arg(value_name = "REQUEST")]
    pub request: PathBuf,
    /// The root key, a PKCS#8 PEM file of mode 0600
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
    /// The keys.json before it: then only what it changes is shown, and nothing is signed that cannot follow it
    #[arg(long, value_name = "FILE")]
    pub previous: Option<PathBuf>,
    /// Where keys.json is written; nothing is replaced
    #[arg(long, value_name = "FILE", default_value = "keys.json")]
    pub out: PathBuf,
    /// Sign without asking
    #[arg(long)]
    pub yes: bool,
}

/// `evidenced keys install`.
#[derive(Debug, Clone, clap::Args)]
pub struct InstallArgs {
    /// The keys.json that the custodian gave back
    #[arg(value_name = "FILE")]
    pub signed: PathBuf,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn use_of(text: &str) -> Result<Use, String> {
    match text {
        "receipts" => Ok(Use::Receipts),
        "checkpoints" => Ok(Use::Checkpoints),
        _ => Err("it is `receipts` or `checkpoints`".to_owned()),
    }
}

pub(super) fn rotate(args: &RotateArgs) -> anyhow::Result<()> {
    let rotate = args.use_.map_or(vec![Use::Receipts, Use::Checkpoints], |use_| vec![use_]);
    let overlap = TimeDelta::days(args.overlap.into());
    change(
        args.config.as_deref(),
        args.root.as_deref(),
        &Change { rotate, lost: args.lost, overlap, ..Change::default() },
    )
}

pub(super) fn approver(args: &ApproverArgs) -> anyhow::Result<()> {
    let loaded = agent::load(args.config.as_deref())?;
    let keys = loaded.config.key_paths().keys;
    let spki = match (&args.public, &args.key) {
        (Some(path), _) => super::public(path)?,
        (None, Some(path)) => {
            let parent =
                |path: &Path| path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")).to_owned();
            let same =
                parent(path).canonicalize().ok().is_some_and(|dir| parent(&keys).canonicalize().ok() == Some(dir));
            ensure!(
                !same,
                "{} lies with the agent's keys: an approver's key is never the agent's. Name another directory, or have {} make a key, and \
                 give its public half with --public",
                path.display(),
                args.name
            );
            *keystore::make_key(&Disk::new(), path)?.public()
        }
        (None, None) => bail!("give --key NEW.pem, or --public FILE"),
    };
    let approver = Some((args.name.trim().to_owned(), spki));
    change(args.config.as_deref(), args.root.as_deref(), &Change { approver, ..Change::default() })?;
    if let Some(path) = &args.key {
        println!("Give {} to {} alone: who has it signs in that name.", path.display(), args.name.trim());
    }
    Ok(())
}

pub(super) fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let now = SystemClock.now();
    ensure!(
        args.since <= now,
        "{} is still to come: say since when the key may be known to others",
        rfc3339(args.since)
    );
    let compromised = Some((args.key.clone(), args.since));
    let change_ = Change { lost: args.lost, overlap: TimeDelta::days(30), compromised, ..Change::default() };
    change(args.config.as_deref(), args.root.as_deref(), &change_)
}

fn change(config: Option<&Path>, root: Option<&Path>, wanted: &Change) -> anyhow::Result<()> {
    let paths = agent::load(config)?.config.key_paths();
    let disk = Disk::new();
    let beside = paths.keys.with_file_name("root.pem");
    let root = match root {
        Some(root) => Some(root.to_owned()),
        None => beside.try_exists().unwrap_or(false).then_some(beside),
    };
    let root = root.map(|path| keystore::read_key(&path)).transpose()?;
    let draft = keystore::draft(&disk, &paths, wanted, SystemClock.now())?;
    let Some(root) = root else {
        println!("Revision {} of {} is drawn up.", draft.set().revision, paths.keys.display());
        asked(&paths.request(), &draft);
        return Ok(());
    };
    let before = keystore::read_set(&paths.keys)?.0;
    tell(draft.set(), Some(&before));
    let document = draft.sign(&root).context("the root key does not sign it")?;
    take(&disk, &paths, &document)
}

/// What is to be done with a request.
pub(super) fn asked(path: &Path, draft: &Draft) {
    println!("Have the root's custodian sign {} with the key {}:", path.display(), draft.set().root.fingerprint());
    println!("  evidenced keys sign --root ROOT.pem {}", path.file_name().unwrap_or_default().display());
    println!("Then, here, with the file that comes back:\n  evidenced keys install keys.json");
}

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let draft = Draft::from_bytes(&read(&args.request)?)
        .with_context(|| format!("{} is no request for a signature", args.request.display()))?;
    let root = keystore::read_key(&args.root)?;
    let previous = match &args.previous {
        Some(path) => {
            let set = KeySet::open(&read(path)?, &draft.set().root.fingerprint())
                .with_context(|| format!("{} is not the keys.json before it", path.display()))?;
            draft.set().follows(&set).with_context(|| format!("it cannot follow {}", path.display()))?;
            Some(set)
        }
        None => None,
    };
    tell(draft.set(), previous.as_ref());
    // A signer that is not its root is refused before anybody is asked.
    let document = draft.sign(&root).context("this root key does not sign it")?;
    if !args.yes {
        ensure!(io::stdin().is_terminal(), "nothing was signed: read the above, and say --yes");
        print!("Sign this? [y/N] ");
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing was signed");
    }
    match Disk::new()
        .create_new(&args.out, &document)
        .with_context(|| format!("cannot write {}", args.out.display()))?
    {
        Created::Other => {
            bail!("{} is there already, and is not replaced: name another file with --out", args.out.display())
        }
        Created::New | Created::Same => {
            println!("Signed: {}. The agent's machine takes it with `evidenced keys install`.", args.out.display())
        }
    }
    Ok(())
}

/// What a signature of the root says, in words.
fn tell(set: &KeySet, before: Option<&KeySet>) {
    println!("Origin    {}", set.origin);
    println!("Root      {}", set.root.fingerprint());
    println!("Revision  {}, drawn up at {}", set.revision, rfc3339(set.made_at));
    for key in &set.keys {
        let was = before.and_then(|before| before.entry(&key.key_id));
        if before.is_some() && was == Some(key) {
            continue;
        }
        let what = match (before, was) {
            (None, _) => "Key     ",
            (Some(_), None) => "New key ",
            (Some(_), Some(_)) => "Changed ",
        };
        println!("{what}  {}", in_words(key));
        if set.consents.contains(&key.key_id) {
            println!("          signed by this key itself");
        }
    }
}

pub(super) fn install(args: &InstallArgs) -> anyhow::Result<()> {
    let paths = agent::load(args.config.as_deref())?.config.key_paths();
    let document = std::fs::read(&args.signed).with_context(|| format!("cannot read {}", args.signed.display()))?;
    take(&Disk::new(), &paths, &document)
}

fn take(disk: &Disk, paths: &Paths, document: &[u8]) -> anyhow::Result<()> {
    let keys = keystore::install(disk, paths, document, SystemClock.now())?;
    println!("{} is revision {} now.", paths.keys.display(), keys.set.revision);
    println!(
        "A running agent takes it with what it logs next; the log then says so. Keep the old key's file until nothing waits for it."
    );
    Ok(())
}
