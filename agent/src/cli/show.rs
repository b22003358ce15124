//! `evidenced show`: prints what is sealed, for a person: the log's entries, one receipt, a bundle, a plan, keys. It verifies nothing, and
//! says so.

mod files;
mod promise;

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use signing::{
    layout::CHECKPOINT,
    log::{self, Checkpoint, MAX_CHECKPOINT},
    statement::{Body, Cause, Counts, Outcome, Statement, Window},
    store::Reader,
    time::rfc3339,
};

use super::{
    place::{Asked, is_address},
    plain::{Align, cut, safe, table},
};
use files::file;

/// Prints an entry, a bundle or a document for a person. It shows what is written; `verify` tells whether it is genuine.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// An archive: a directory, or s3://BUCKET/PREFIX; or a file of one: a bundle (.zip), a document (.json), a seal, a checkpoint
    archive: PathBuf,
    /// One entry: its place in the log, its bundle's name, or the beginning of its leaf's SHA-256. Without it: the newest entries
    entry: Option<String>,
    /// How many of the newest entries
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asked: Asked,
}

/// What is to be printed: for a person, and as JSON.
struct Shown {
    text: String,
    json: Value,
}

/// Runs the command.
///
/// # Errors
/// What is not there, or is not what its name says.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let shown =
        if args.archive.is_dir() || is_address(&args.archive) { archive(&args)? } else { single(&args.archive)? };
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &shown.json)?;
        writeln!(out)?;
    } else {
        out.write_all(shown.text.as_bytes())?;
        writeln!(out, "Shown as it is written, not verified: `evidenced verify` does that.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn archive(args: &Args) -> anyhow::Result<Shown> {
    let opened = args.asked.open(&args.archive).with_context(|| args.archive.display().to_string())?;
    let reader = &*opened.reader;
    let checkpoint = reader.read(CHECKPOINT, MAX_CHECKPOINT)?.ok_or_else(|| anyhow!("{CHECKPOINT} is not there"))?;
    let checkpoint = Checkpoint::parse_unverified(&checkpoint).context(CHECKPOINT)?;
    match &args.entry {
        Some(wanted) => {
            let (index, leaf) = find(reader, checkpoint.size, wanted)?;
            entry(reader, index, &leaf)
        }
        None => entries(reader, &checkpoint, args.limit),
    }
}

/// A file by itself.
fn single(path: &Path) -> anyhow::Result<Shown> {
    let name = path.display().to_string();
    file(&name, File::open(path).with_context(|| name.clone())?)
}

/// The newest entries, newest last.
fn entries(reader: &dyn Reader, checkpoint: &Checkpoint, limit: u64) -> anyhow::Result<Shown> {
    let from = checkpoint.size.saturating_sub(limit);
    let (mut rows, mut list) = (Vec::new(), Vec::new());
    log::entries(reader, from, checkpoint.size, &mut |index, leaf| {
        rows.push(row(index, leaf));
        list.push(leaf_json(index, leaf));
        ControlFlow::Continue(())
    })?;
    let head = [
        ("ENTRY", Align::Right),
        ("SEALED", Align::Left),
        ("WHAT", Align::Left),
        ("SLOT", Align::Left),
        ("OUTCOME", Align::Left),
        ("RECORDS", Align::Right),
        ("PASS", Align::Right),
        ("FAIL", Align::Right),
        ("UNKNOWN", Align::Right),
        ("", Align::Left),
    ];
    let mut text = table(&head, &rows);
    text += &format!("{}: {} entries", safe(&checkpoint.origin), checkpoint.size);
    text +=
        &if from > 0 { format!(", the newest {} of them above\n", checkpoint.size - from) } else { "\n".to_owned() };
    Ok(Shown { text, json: json!({ "origin": checkpoint.origin, "size": checkpoint.size, "entries": list }) })
}

fn row(index: u64, leaf: &[u8]) -> Vec<String> {
    let mut row = vec![index.to_string()];
    let none = String::new;
    match Statement::from_bytes(leaf) {
        Err(error) => {
            row.extend([none(), "unreadable".to_owned(), none(), none(), none(), none(), none(), none()]);
            row.push(cut(&error.to_string(), 80));
        }
        Ok(statement) => {
            row.push(rfc3339(statement.entry.sealed_at));
            match statement.body {
                Body::Receipt(r) => {
                    row.push(r.job.to_string());
                    row.push(r.slot.map_or("by hand".to_owned(), rfc3339));
                    row.push(outcome(r.outcome).to_owned() + if r.late { ", late" } else { "" });
                    row.extend([r.records, r.totals.pass, r.totals.fail, r.totals.unknown].map(|n| n.to_string()));
                    row.push(cut(&r.reason, 80));
                }
                Body::Missed(m) => {
                    row.push(m.job.to_string());
                    row.push(rfc3339(m.first));
                    let count = if m.count > 1 { format!(" x {}", m.count) } else { none() };
                    row.push(format!("missed{count} ({})", cause(m.cause)));
                    row.extend([none(), none(), none(), none(), cut(&m.detail, 80)]);
                }
                Body::Document(d) => {
                    row.push(cut(&d.kind, 40));
                    row.extend([none(), none(), none(), none(), none(), none(), cut(&d.reason, 80)]);
                }
            }
        }
    }
    row
}

fn leaf_json(index: u64, leaf: &[u8]) -> Value {
    let statement: Value = serde_json::from_slice(leaf).unwrap_or(Value::Null);
    json!({ "index": index, "leaf": Statement::leaf_digest(leaf), "statement": statement })
}

/// The entry that a place, a bundle's name or a digest's beginning names.
fn find(reader: &dyn Reader, size: u64, wanted: &str) -> anyhow::Result<(u64, Vec<u8>)> {
    let place: Option<u64> = wanted.parse().ok().filter(|place| *place < size);
    let bundle = wanted.rsplit('/').next().filter(|name| name.ends_with(".zip"));
    let digest = wanted.len() >= 6 && wanted.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if place.is_none() && bundle.is_none() && !digest {
        bail!(
            "{wanted:?} is no entry: give its place (0 to {}), its bundle's name, or 6 digits or more of its leaf's SHA-256",
            size.saturating_sub(1)
        );
    }
    let mut found = Vec::new();
    let from = place.unwrap_or(0);
    let to = place.map_or(size, |place| place + 1);
    // The tree's size tells which bundle of entries to read, so that the whole is asked for and left at the place.
    log::entries(reader, from, size, &mut |index, leaf| {
        let is = match (place, bundle) {
            (Some(place), _) => index == place,
            (None, Some(bundle)) => Statement::from_bytes(leaf)
                .is_ok_and(|s| s.subject.iter().any(|subject| subject.name.rsplit('/').next() == Some(bundle))),
            (None, None) => Statement::leaf_digest(leaf).to_string().starts_with(wanted),
        };
        if is {
            found.push((index, leaf.to_vec()));
        }
        if index + 1 >= to { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match found.len() {
        0 => bail!("no entry of the log's {size} is named by {wanted:?}"),
        1 => Ok(found.remove(0)),
        n => bail!("{n} entries are named by {wanted:?}: the first are {} and {}", found[0].0, found[1].0),
    }
}

/// One entry, with what it names.
fn entry(reader: &dyn Reader, index: u64, leaf: &[u8]) -> anyhow::Result<Shown> {
    let statement = Statement::from_bytes(leaf).with_context(|| format!("entry {index} is no statement"))?;
    let mut shown = statement_text(&statement, leaf);
    shown.text = format!("{:<12} {index}\n{}", "entry", shown.text);
    shown.json = leaf_json(index, leaf);
    let subject = &statement.subject[0];
    let plain = subject.name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain || matches!(statement.body, Body::Missed(_)) {
        return Ok(shown);
    }
    let Some(mut object) = reader.open(&subject.name).with_context(|| subject.name.clone())? else {
        shown.text += &format!("{} is not in the archive\n", safe(&subject.name));
        return Ok(shown);
    };
    // Bundles are read here and there: a file of their own, wherever they come from.
    let mut copy = tempfile::tempfile()?;
    std::io::copy(&mut object, &mut copy).with_context(|| subject.name.clone())?;
    copy.seek(SeekFrom::Start(0))?;
    let inside = file(&subject.name, copy)?;
    shown.text += &format!("\n{}", inside.text);
    if let Value::Object(members) = &mut shown.json {
        members.insert("subject".to_owned(), inside.json);
    }
    Ok(shown)
}

/// `name  value` lines.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        self.0 += &format!("{name:<12} {}\n", safe(value.as_ref()));
    }

    fn add_unless_empty(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.add(name, value);
        }
    }
}

fn statement_text(statement: &Statement, leaf: &[u8]) -> Shown {
    let mut lines = Lines(String::new());
    let entry = &statement.entry;
    match &statement.body {
        Body::Receipt(r) => {
            lines.add("job", r.job.as_str());
            lines.add("slot", r.slot.map_or("none: asked for by hand".to_owned(), rfc3339));
            lines
                .add("ran", format!("{} to {}, {} attempt(s)", rfc3339(r.started_at), rfc3339(r.ended_at), r.attempts));
            lines.add("outcome", outcome(r.outcome).to_owned() + if r.late { ", late" } else { "" });
            lines.add_unless_empty("reason", &r.reason);
            lines.add("records", r.records.to_string());
            lines.add("checks", counts(&r.totals));
            for (id, each) in r.checks.iter().flatten() {
                lines.add("", format!("{id}: {}", counts(each)));
            }
            if let Some(read) = r.window {
                lines.add("window", window(&read));
            }
        }
        Body::Missed(m) => {
            lines.add("job", m.job.as_str());
            lines.add("missed", format!("{} slot(s), {} to {}", m.count, rfc3339(m.first), rfc3339(m.last)));
            lines.add("cause", cause(m.cause));
            lines.add_unless_empty("detail", &m.detail);
        }
        Body::Document(d) => {
            lines.add("document", &d.kind);
            lines.add_unless_empty("reason", &d.reason);
        }
    }
    for subject in &statement.subject {
        lines.add("subject", format!("{} (SHA-256 {})", subject.name, subject.digest.sha256));
    }
    lines.add("sealed", format!("{} by {}", rfc3339(entry.sealed_at), entry.key_id));
    lines.add("origin", &entry.origin);
    lines.add("plan", entry.plan.map_or("none yet".to_owned(), |plan| plan.to_string()));
    if let Some(known) = entry.checkpoint {
        lines.add("knew", format!("a checkpoint over {} entries, root {}", known.size, known.root));
    }
    lines.add("leaf", Statement::leaf_digest(leaf).to_string());
    Shown { text: lines.0, json: serde_json::from_slice(leaf).unwrap_or(Value::Null) }
}

fn counts(c: &Counts) -> String {
    let mut text = format!("{} pass, {} fail, {} unknown", c.pass, c.fail, c.unknown);
    for (n, what) in [(c.not_applicable, "not applicable"), (c.exempt, "exempt")] {
        if n > 0 {
            text += &format!(", {n} {what}");
        }
    }
    text
}

fn window(window: &Window) -> String {
    let read = match window {
        Window { whole: true, .. } => "read whole".to_owned(),
        Window { previous: Some(previous), .. } => {
            format!("not read whole; earlier runs read up to {}", rfc3339(*previous))
        }
        Window { previous: None, .. } => "not read whole".to_owned(),
    };
    format!("{} to {}, {read}", rfc3339(window.from), rfc3339(window.to))
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Collected => "collected",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Down => "no agent was running",
        Cause::Overrun => "the run before was still going",
        Cause::Crashed => "the agent died during the run",
        Cause::Clock => "the clock moved past it",
        Cause::Blocked => "no run could be started",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vectors() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive")
    }

    fn args(entry: Option<&str>) -> Args {
        Args { archive: vectors(), entry: entry.map(str::to_owned), limit: 50, json: false, asked: Asked::default() }
    }

    #[test]
    fn the_table_has_every_entry_newest_last() {
        let shown = archive(&args(None)).unwrap();
        let lines: Vec<&str> = shown.text.lines().collect();
        assert!(lines[0].starts_with("ENTRY  SEALED"), "{}", shown.text);
        assert_eq!(lines.len(), 6);
        assert!(lines[5].contains("4 entries"));
        assert_eq!(shown.json["entries"].as_array().unwrap().len(), 4);
        let newest = archive(&Args { limit: 1, ..args(None) }).unwrap();
        assert_eq!(newest.json["entries"][0]["index"], 3);
    }

    #[test]
    fn an_entry_is_found_by_place_bundle_and_digest() {
        let by_place = archive(&args(Some("2"))).unwrap();
        let leaf = by_place.json["leaf"].as_str().unwrap().to_owned();
        let bundle = by_place.json["statement"]["subject"][0]["name"].as_str().unwrap().to_owned();
        for wanted in [&leaf[..8], bundle.as_str(), bundle.rsplit('/').next().unwrap()] {
            let shown = archive(&args(Some(wanted))).unwrap();
            assert_eq!(shown.json["leaf"], leaf.as_str(), "{wanted}");
        }
        assert!(by_place.text.contains("What was asked and answered"), "{}", by_place.text);
        assert!(by_place.text.contains("read-file /etc/passwd"), "{}", by_place.text);
        assert!(archive(&args(Some("9"))).is_err());
        assert!(archive(&args(Some("nothing"))).is_err());
    }

    #[test]
    fn every_object_of_an_archive_can_be_shown() {
        let dir = signing::store::Dir::new(vectors());
        let mut names = Vec::new();
        dir.list("", &mut |name| names.push(name.to_owned())).unwrap();
        for name in names.iter().filter(|name| !name.starts_with("tile/")) {
            let shown = single(&vectors().join(name)).unwrap_or_else(|e| panic!("{name}: {e:#}"));
            assert!(!shown.text.is_empty() && shown.json.is_object(), "{name}");
        }
        let plan = names.iter().find(|name| name.starts_with("document/plan")).unwrap();
        assert!(single(&vectors().join(plan)).unwrap().text.contains("NEXT SLOTS"));
        let keys = names.iter().find(|name| name.starts_with("document/keys")).unwrap();
        assert!(single(&vectors().join(keys)).unwrap().text.contains("which signed this"));
    }
}
