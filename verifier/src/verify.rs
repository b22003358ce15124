//! What verification is asked, and with which exit code it ends. It writes nothing.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use signing::{
    time::{Utc, rfc3339},
    verify::{self, CannotVerify, EntryVerdict, Kept, Options, Rederive, SampleVerdict, Stage, Verdict},
};

use crate::{
    dates::Dates,
    meter::Meter,
    outside::Outside,
    place::{self, Opened},
    plain::safe,
    text,
};

/// Under which keys an archive is read.
#[derive(Debug, Clone, clap::Args)]
pub struct Under {
    /// The owner's root key, by the fingerprint that you were given before (SHA256:…)
    #[arg(long, value_name = "FINGERPRINT")]
    trust: String,
    /// Which log of the archive, where it holds several
    #[arg(long)]
    origin: Option<String>,
    /// A newer keys.json that you were given
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    outside: Outside,
    /// How many threads; without it, one for each core, and more for a bucket
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What an archive is verified against, and how: the same for every program that verifies.
#[derive(Debug, Clone, clap::Args)]
pub struct How {
    #[command(flatten)]
    under: Under,
    /// Judge slots and retention up to this instant (RFC 3339); without it, up to the newest trusted time or entry, whichever is later
    #[arg(long, value_name = "INSTANT")]
    as_of: Option<Utc>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    days: Dates,
    /// A checkpoint of this log that you kept: proves that the log's past is the same, and looks at nothing but what was logged since
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to"])]
    since: Option<PathBuf>,
    /// A checkpoint that you kept, to be compared while everything is read; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

impl Under {
    /// What verification takes of it.
    ///
    /// # Errors
    /// A fingerprint that is none, and files that cannot be read.
    pub fn options<'a>(&self) -> anyhow::Result<Options<'a>> {
        if !is_fingerprint(&self.trust) {
            bail!(
                "--trust {:?} is no key's fingerprint: that is SHA256: and 43 characters, as `evidenced collect` and `keys list` print it",
                self.trust
            );
        }
        let keys = match &self.keys {
            None => None,
            Some(path) => Some(fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?),
        };
        Ok(Options {
            origin: self.origin.clone(),
            threads: self.threads,
            keys,
            timestamp_roots: self.outside.roots()?,
            witnesses: self.outside.witnesses()?,
            ..Options::trusting(&self.trust)
        })
    }

    /// Opens an archive and verifies all of it, up to `as_of` where that is given: what is read on then rests on the verdict.
    ///
    /// # Errors
    /// What cannot be opened or verified. What is wrong is a finding of the verdict.
    pub fn verified(&self, archive: &Path, as_of: Option<Utc>, open: &Open<'_>) -> anyhow::Result<(Opened, Verdict)> {
        let options = Options { as_of, ..self.options()? };
        if place::package(archive)?.is_some() {
            bail!("{} is a package, not an archive", archive.display());
        }
        judge_archive(archive, self, options, open)
    }
}

/// What was judged: an archive, with what else lies in it, or a package of one entry or of a sample.
enum Judged {
    Archive(Box<Verdict>, Vec<String>),
    Entry(Box<EntryVerdict>),
    Sample(Box<SampleVerdict>),
}

/// Opens an archive, of which this origin is meant where one is named.
pub type Open<'a> = dyn Fn(&Path, Option<&str>) -> anyhow::Result<Opened> + 'a;

/// Verifies and prints: exit code 0 intact, 1 not intact, 2 could not verify. With `deep`, bundles are opened and derived again by it.
///
/// # Errors
/// Only output that cannot be written: what cannot be verified is said, with exit code 2.
pub fn run(archive: &Path, how: &How, deep: Option<&dyn Rederive>, open: &Open<'_>) -> anyhow::Result<ExitCode> {
    let json = how.json;
    let (said, code) = match judge(archive, how, deep, open) {
        Ok(Judged::Archive(verdict, beside)) => {
            let said = match json {
                true => serde_json::to_string_pretty(&verdict)? + "\n",
                false => text::text(&verdict, &beside, std::time::SystemTime::now().into()),
            };
            (said, code(verdict.intact))
        }
        Ok(Judged::Entry(verdict)) => {
            let said = match json {
                true => serde_json::to_string_pretty(&verdict)? + "\n",
                false => text::entry(&verdict),
            };
            (said, code(verdict.intact))
        }
        Ok(Judged::Sample(verdict)) => {
            let said = match json {
                true => serde_json::to_string_pretty(&verdict)? + "\n",
                false => text::sample(&verdict),
            };
            (said, code(verdict.intact))
        }
        Err(error) => (cannot(archive, how, &error)?, ExitCode::from(2)),
    };
    match std::io::stdout().lock().write_all(said.as_bytes()) {
        // Whoever read enough of it still gets the code that the whole deserves.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(code)
}

fn code(intact: bool) -> ExitCode {
    if intact { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What is said where nothing could be verified.
fn cannot(archive: &Path, how: &How, error: &anyhow::Error) -> anyhow::Result<String> {
    let (object, reason) = match error.downcast_ref::<CannotVerify>() {
        Some(cannot) => (cannot.object.clone(), cannot.reason.clone()),
        None => (archive.display().to_string(), format!("{error:#}")),
    };
    let statement = format!("CANNOT VERIFY: {object}: {reason}");
    if !how.json {
        return Ok(safe(&statement) + "\n");
    }
    let json = serde_json::json!({
        "format": verify::FORMAT,
        "intact": null,
        "statement": statement,
        "cannot_verify": {"object": object, "reason": reason},
    });
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

fn judge(archive: &Path, how: &How, deep: Option<&dyn Rederive>, open: &Open<'_>) -> anyhow::Result<Judged> {
    let part = how.days.part()?;
    let options = Options {
        as_of: how.as_of,
        deep,
        part,
        since: how.since.as_deref().map(kept).transpose()?,
        kept: how.checkpoint.iter().map(|path| kept(path)).collect::<anyhow::Result<_>>()?,
        ..how.under.options()?
    };
    if let Some(package) = place::package(archive)? {
        if part.is_some() || how.as_of.is_some() || options.since.is_some() || !options.kept.is_empty() {
            bail!("--from, --to, --as-of, --since and --checkpoint are for archives; this is a package");
        }
        if verify::is_sample(&*package)? {
            return Ok(Judged::Sample(Box::new(verify::sample(&*package, &options)?)));
        }
        return Ok(Judged::Entry(Box::new(verify::entry(&*package, &options)?)));
    }
    let (opened, verdict) = judge_archive(archive, &how.under, options, open)?;
    Ok(Judged::Archive(Box::new(verdict), opened.beside))
}

fn judge_archive(
    archive: &Path,
    under: &Under,
    mut options: Options<'_>,
    open: &Open<'_>,
) -> anyhow::Result<(Opened, Verdict)> {
    if let Some(at) = options.as_of.filter(|at| *at > Utc::from(std::time::SystemTime::now())) {
        let at = rfc3339(at);
        eprintln!("warning: {at} is yet to come by this computer's clock: slots until then count as if they were over");
    }
    let opened = open(archive, under.origin.as_deref())?;
    options.directory.clone_from(&opened.named);
    options.threads = under.threads.or(opened.threads);
    let meter = Meter::on_stderr();
    let verdict = verify::verify(&*opened.reader, &options, &|progress| {
        let stage = match progress.stage {
            Stage::Anchors => "timestamps and cosignatures",
            Stage::Log => "reading the log",
            Stage::Objects => "seals and bundles",
            Stage::Listing => "listing the archive",
        };
        meter.show(stage, progress.done, progress.total);
    });
    meter.clear();
    Ok((opened, verdict?))
}

/// A checkpoint from a file.
fn kept(path: &Path) -> anyhow::Result<Kept> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("{name} cannot be read"))?;
    Ok(Kept { name, bytes })
}

/// Whether it could be an OpenSSH fingerprint of a key: unpadded base64 of 32 bytes.
fn is_fingerprint(text: &str) -> bool {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    text.strip_prefix("SHA256:")
        .and_then(|digest| STANDARD_NO_PAD.decode(digest).ok())
        .is_some_and(|digest| digest.len() == 32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use signing::store::Dir;

    use super::*;
    use crate::{derive::NoCollectors, text::text};

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive")
    }

    fn judged(archive: &Path, deep: bool) -> (Verdict, Vec<String>) {
        let deep: Option<&dyn Rederive> = if deep { Some(&NoCollectors) } else { None };
        judged_as(archive, &how(), deep).unwrap()
    }

    fn judged_as(archive: &Path, how: &How, deep: Option<&dyn Rederive>) -> anyhow::Result<(Verdict, Vec<String>)> {
        match judge(archive, how, deep, &place::directory)? {
            Judged::Archive(verdict, beside) => Ok((*verdict, beside)),
            Judged::Entry(_) | Judged::Sample(_) => panic!("this is an archive"),
        }
    }

    fn how() -> How {
        let vectors = fs::read(vectors().join("../vectors.json")).unwrap();
        let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
        let under = Under {
            trust: vectors["keys"]["root"]["fingerprint"].as_str().unwrap().to_owned(),
            origin: None,
            keys: None,
            outside: Outside::default(),
            threads: Some(1),
        };
        How { under, as_of: None, json: false, days: Dates::default(), since: None, checkpoint: Vec::new() }
    }

    fn copy(to: &Path) {
        let mut names = Vec::new();
        signing::store::Reader::list(&Dir::new(vectors()), "", &mut |name| names.push(name.to_owned())).unwrap();
        for name in names {
            fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
            fs::copy(vectors().join(&name), to.join(&name)).unwrap();
        }
    }

    #[test]
    fn an_archives_verdict_reads_as_in_the_manual() {
        let root = tempfile::tempdir().unwrap();
        copy(&root.path().join("example.org+evidence"));
        fs::write(root.path().join("README"), "for the auditor").unwrap();
        let (verdict, beside) = judged(root.path(), false);
        let text = text(&verdict, &beside, "2026-11-22T06:40:00Z".parse().unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("origin     example.org/evidence, 4 entries; root and checkpoint agree, signed by")
        );
        assert!(text.contains("(limit TIME-UNTRUSTED)") && text.contains("(limit NO-OBJECT-LOCK)"), "{text}");
        assert!(text.contains("(10 min ago by this computer's clock)"), "{text}");
        assert!(text.contains("not part of this archive, and not looked at: README"), "{text}");
        assert!(lines.last().unwrap().starts_with("ARCHIVE INTACT, with 3 limits."), "{text}");
    }

    #[test]
    fn a_kept_checkpoint_is_compared_and_since_it_only_what_is_new_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        copy(&root.path().join("example.org+evidence"));
        let file = root.path().join("kept");
        fs::copy(vectors().join("checkpoint"), &file).unwrap();
        let judged = |how: &How| judged_as(&root.path().join("example.org+evidence"), how, None);
        let whole = judged(&How { checkpoint: vec![file.clone(), file.clone()], ..how() }).unwrap().0;
        assert_eq!((whole.intact, whole.kept.len(), whole.since), (true, 2, None));
        let (verdict, beside) = judged(&How { since: Some(file.clone()), ..how() }).unwrap();
        assert_eq!((verdict.intact, verdict.since), (true, Some(4)));
        let text = text(&verdict, &beside, verdict.as_of.unwrap());
        assert!(text.contains(&format!("the checkpoint kept in {}", file.display())), "{text}");
        assert!(text.contains("0 of 0 new entries") && text.contains("(limit SINCE)"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("INTACT SINCE ENTRY 4, with 4 limits."), "{text}");
        let gone = judged(&How { since: Some(root.path().join("gone")), ..how() }).unwrap_err();
        assert!(gone.to_string().ends_with("gone cannot be read"), "{gone}");
    }

    #[test]
    fn without_collectors_bundles_are_opened_and_what_is_not_derived_again_is_a_limit() {
        let (verdict, _) = judged(&vectors(), true);
        assert_eq!(verdict.findings, []);
        assert_eq!((verdict.numbers.opened, verdict.numbers.rederived), (1, 0));
        let limit = verdict.limits.iter().find(|limit| limit.code == "DEEP-UNKNOWN-COLLECTOR").unwrap();
        assert!(limit.says.contains("evidenced verify --deep"), "{limit:?}");
    }

    #[test]
    fn a_finding_names_the_object_its_code_and_its_meaning() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("example.org+evidence");
        copy(&dir);
        fs::write(dir.join("x\u{1b}[2J"), "").unwrap();
        let (verdict, beside) = judged(root.path(), false);
        let text = text(&verdict, &beside, verdict.as_of.unwrap());
        assert!(text.contains("x\\u{1b}[2J\n    the layout has no such object (finding UNKNOWN-OBJECT)\n"), "{text}");
        assert!(text.contains("\nUNKNOWN-OBJECT: "), "{text}");
        assert!(text.ends_with("NOT INTACT: 1 finding\n"), "{text}");
    }

    #[test]
    fn a_directory_of_another_name_is_a_finding() {
        let root = tempfile::tempdir().unwrap();
        copy(&root.path().join("example.org+other"));
        let (verdict, _) = judged(root.path(), false);
        assert_eq!(verdict.findings[0].code.as_str(), "ORIGIN");
    }
}
