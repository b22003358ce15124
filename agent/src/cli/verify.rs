//! `evidenced verify`: prints what is proved of an archive and what is not. Needs no configuration and no key, no network but to
//! an archive in a bucket, and writes nothing.

use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use signing::{
    time::Utc,
    verify::{self, CannotVerify, Options, Stage, Verdict, span},
};

use super::{meter::Meter, place::Asked, plain::safe, pull::Dates};
use crate::{
    clock::{Clock as _, SystemClock},
    rederive::Collectors,
};

/// Findings that the text lists; `--json` lists more.
const LISTED: usize = 100;

/// Verifies an archive, offline: exit code 0 intact, 1 not intact, 2 could not verify.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The archive, or one origin in it: a directory, or s3://BUCKET/PREFIX
    archive: PathBuf,
    /// The owner's root key, by the fingerprint that you were given before (SHA256:…)
    #[arg(long, value_name = "FINGERPRINT")]
    trust: String,
    /// Judge slots and retention up to this instant (RFC 3339); without it, up to the newest entry
    #[arg(long, value_name = "INSTANT")]
    as_of: Option<Utc>,
    /// Open every bundle, and derive its records and results again
    #[arg(long)]
    deep: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    days: Dates,
    #[command(flatten)]
    asked: Asked,
    /// A newer keys.json that you were given
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// How many threads; without it, one for each core, and more for a bucket
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// Only output that cannot be written: what cannot be verified is said, with exit code 2.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (said, code) = match judge(&args) {
        Ok((verdict, beside)) => {
            let said = match args.json {
                true => serde_json::to_string_pretty(&verdict)? + "\n",
                false => text(&verdict, &beside, SystemClock.now()),
            };
            (said, if verdict.intact { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Err(error) => {
            let (object, reason) = match error.downcast_ref::<CannotVerify>() {
                Some(cannot) => (cannot.object.clone(), cannot.reason.clone()),
                None => (args.archive.display().to_string(), format!("{error:#}")),
            };
            let statement = format!("CANNOT VERIFY: {object}: {reason}");
            let said = match args.json {
                true => {
                    let json = serde_json::json!({
                        "format": verify::FORMAT,
                        "intact": null,
                        "statement": statement,
                        "cannot_verify": {"object": object, "reason": reason},
                    });
                    serde_json::to_string_pretty(&json)? + "\n"
                }
                false => safe(&statement) + "\n",
            };
            (said, ExitCode::from(2))
        }
    };
    match std::io::stdout().lock().write_all(said.as_bytes()) {
        // Whoever read enough of it still gets the code that the whole deserves.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(code)
}

fn judge(args: &Args) -> anyhow::Result<(Verdict, Vec<String>)> {
    if !is_fingerprint(&args.trust) {
        bail!(
            "--trust {:?} is no key's fingerprint: that is SHA256: and 43 characters, as `evidenced collect` and `keys list` print it",
            args.trust
        );
    }
    let part = args.days.part()?;
    let opened = args.asked.open(&args.archive)?;
    let keys = match &args.keys {
        None => None,
        Some(path) => Some(fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?),
    };
    let collectors = args.deep.then(Collectors::built_in);
    let options = Options {
        trust: args.trust.clone(),
        origin: args.asked.origin.clone(),
        directory: opened.named.clone(),
        as_of: args.as_of,
        deep: collectors.as_ref().map(|collectors| collectors as _),
        threads: args.threads.or(opened.threads),
        keys,
        part,
    };
    let meter = Meter::new();
    let verdict = verify::verify(&*opened.reader, &options, &|progress| {
        let stage = match progress.stage {
            Stage::Log => "reading the log",
            Stage::Objects => "seals and bundles",
            Stage::Listing => "listing the archive",
        };
        meter.show(stage, progress.done, progress.total);
    });
    meter.clear();
    Ok((verdict?, opened.beside))
}

/// Whether it could be an OpenSSH fingerprint of a key: unpadded base64 of 32 bytes.
fn is_fingerprint(text: &str) -> bool {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    text.strip_prefix("SHA256:")
        .and_then(|digest| STANDARD_NO_PAD.decode(digest).ok())
        .is_some_and(|digest| digest.len() == 32)
}

/// The verdict for people.
fn text(verdict: &Verdict, beside: &[String], now: Utc) -> String {
    let mut out = String::new();
    let mut line = |name: &str, says: &str| out.push_str(&format!("{name:<10} {}\n", safe(says)));
    for section in &verdict.sections {
        let mut says = section.says.clone();
        if section.name == "coverage"
            && verdict.as_of_from != "given"
            && let Some(newest) = verdict.newest_entry_at.filter(|newest| *newest <= now)
        {
            says += &format!(" ({} ago by this computer's clock)", span((now - newest).num_seconds()));
        }
        line(section.name, &says);
    }
    for limit in &verdict.limits {
        // Limits that a section carries are not said twice.
        let code = format!("(limit {})", limit.code);
        if !verdict.sections.iter().any(|section| section.says.contains(&code)) {
            line("limit", &format!("{} {code}", limit.says));
        }
    }
    if !beside.is_empty() {
        line("beside", &format!("not part of this archive, and not looked at: {}", beside.join(", ")));
    }
    for pending in verdict.pending.first.iter().take(20) {
        line("pending", &format!("{}: {}", pending.object, pending.says));
    }
    if verdict.pending.total > 20 {
        line("pending", &format!("and {} more", verdict.pending.total - 20));
    }
    for finding in verdict.findings.iter().take(LISTED) {
        let entry = finding.index.map_or(String::new(), |index| format!(", entry {index}"));
        let object = safe(&finding.object);
        out.push_str(&format!("{object}{entry}\n    {} (finding {})\n", safe(&finding.says), finding.code));
    }
    if verdict.findings_total > LISTED as u64 {
        let more = verdict.findings_total - LISTED as u64;
        out.push_str(&format!("and {more} more findings; --json lists them\n"));
    }
    let meanings: BTreeMap<&str, &str> = verdict.findings_by_code.keys().map(|c| (c.as_str(), c.means())).collect();
    for (code, meaning) in meanings {
        out.push_str(&format!("{code}: {meaning}\n"));
    }
    out.push_str(&format!("{}\n", verdict.statement));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::path::Path;

    use signing::store::Dir;

    use super::*;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive")
    }

    fn args(archive: &Path) -> Args {
        let vectors = fs::read(vectors().join("../vectors.json")).unwrap();
        let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
        Args {
            archive: archive.to_owned(),
            trust: vectors["keys"]["root"]["fingerprint"].as_str().unwrap().to_owned(),
            as_of: None,
            deep: false,
            json: false,
            days: Dates::default(),
            asked: Asked::default(),
            keys: None,
            threads: Some(1),
        }
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
        let (verdict, beside) = judge(&args(root.path())).unwrap();
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
    fn the_vectors_bundle_is_opened_and_a_collector_of_nobody_is_a_limit() {
        let (verdict, _) = judge(&Args { deep: true, ..args(&vectors()) }).unwrap();
        assert_eq!(verdict.findings, []);
        assert_eq!((verdict.numbers.opened, verdict.numbers.rederived), (1, 0));
        let limit = verdict.limits.iter().find(|limit| limit.code == "DEEP-UNKNOWN-COLLECTOR").unwrap();
        assert!(limit.says.contains("example/accounts"), "{limit:?}");
    }

    #[test]
    fn a_finding_names_the_object_its_code_and_its_meaning() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("example.org+evidence");
        copy(&dir);
        fs::write(dir.join("x\u{1b}[2J"), "").unwrap();
        let (verdict, beside) = judge(&args(root.path())).unwrap();
        let text = text(&verdict, &beside, verdict.as_of.unwrap());
        assert!(text.contains("x\\u{1b}[2J\n    the layout has no such object (finding UNKNOWN-OBJECT)\n"), "{text}");
        assert!(text.contains("\nUNKNOWN-OBJECT: "), "{text}");
        assert!(text.ends_with("NOT INTACT: 1 finding\n"), "{text}");
    }

    #[test]
    fn a_directory_of_another_name_is_a_finding() {
        let root = tempfile::tempdir().unwrap();
        copy(&root.path().join("example.org+other"));
        let (verdict, _) = judge(&args(root.path())).unwrap();
        assert_eq!(verdict.findings[0].code.as_str(), "ORIGIN");
    }
}
