//! Files of an archive for a person: bundles, plans, keys, seals, a checkpoint.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
};

use anyhow::Context as _;
use collectors::contract::{Answer, Exchange};
use controls::{CheckResult, ControlSet, Results};
use serde_json::{Value, json};
use signing::{
    approval::{Approval, Signed},
    bundle::{Bundle, MAX_UNPACKED, Population, RUN_FACTS, RunFacts},
    digest::Digest,
    keys::{KeyEntry, KeySet},
    layout::CHECKPOINT,
    log::Checkpoint,
    plan::Plan,
    seal::Seal,
    statement::{Counts, Statement},
    time::{Utc, rfc3339},
    verify::bytes,
};

use super::{
    super::plain::{Align, cut, safe, table},
    Lines, Shown, counts, outcome, promise, statement_text,
};
use crate::clock::{Clock as _, SystemClock};

/// What a file of an archive holds, by its name.
pub(super) fn file(path: &str, mut file: File) -> anyhow::Result<Shown> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let context = || path.to_owned();
    if name.ends_with(".zip") {
        return bundle(file).with_context(context);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(context)?;
    if name.ends_with(".sigstore.json") {
        let seal = Seal::from_bytes(&bytes).with_context(context)?;
        let statement = Statement::from_bytes(&seal.payload).with_context(context)?;
        return Ok(statement_text(&statement, &seal.payload));
    }
    if name == CHECKPOINT {
        let checkpoint = Checkpoint::parse_unverified(&bytes).with_context(context)?;
        let text = format!("{}: {} entries, root {}\n", safe(&checkpoint.origin), checkpoint.size, checkpoint.root);
        let json = json!({"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root});
        return Ok(Shown { text, json });
    }
    if let Ok(plan) = serde_json::from_slice::<Plan>(&bytes) {
        return Ok(plan_text(&plan, SystemClock.now()));
    }
    if let Ok(set) = ControlSet::from_bytes(&bytes) {
        return Ok(promise::controls_text(&set));
    }
    if let Ok(signed) = Signed::from_bytes(&bytes) {
        return Ok(approval_text(&signed, Digest::of(&bytes)));
    }
    match KeySet::open_untrusted(&bytes) {
        Ok(set) => Ok(keys_text(&set)),
        Err(error) => {
            let wanted = "neither a plan, nor keys, nor controls, nor signed by a person";
            Err(error).with_context(|| format!("{} is {wanted}", safe(path)))
        }
    }
}

fn plan_text(plan: &Plan, now: Utc) -> Shown {
    let mut lines = Lines(String::new());
    lines.add("plan of", &plan.origin);
    lines.add("in force", format!("from {} until its successor's sealing", rfc3339(plan.sealed_at)));
    lines.add("reason", &plan.reason);
    lines.add("follows", plan.previous.map_or("none".to_owned(), |d| d.to_string()));
    lines.add("retention", plan.retention_days.map_or("without end".to_owned(), |days| format!("{days} days")));
    let mut rows = Vec::new();
    for job in &plan.jobs {
        let (schedule, next) = match &job.schedule {
            None => ("by hand only".to_owned(), String::new()),
            Some(schedule) => {
                let zone = plan.zones.get(&schedule.zone).map(Vec::as_slice).unwrap_or_default();
                let until = now + chrono::TimeDelta::days(366 * 5);
                let next: Vec<String> = schedule.slots(zone, now, until).take(3).map(rfc3339).collect();
                (format!("{} {}", schedule.text, schedule.zone), next.join(" "))
            }
        };
        rows.push(vec![job.job.to_string(), job.version.to_string(), cut(&schedule, 60), next]);
    }
    let head = [
        ("JOB", Align::Left),
        ("VERSION", Align::Right),
        ("SCHEDULE", Align::Left),
        ("NEXT SLOTS FROM NOW", Align::Left),
    ];
    let mut text = lines.0 + &table(&head, &rows);
    for job in &plan.not_run {
        text += &format!("not run: {}: {}\n", job.job, safe(&job.reason));
    }
    Shown { text, json: serde_json::to_value(plan).unwrap_or(Value::Null) }
}

/// What a person signed.
fn approval_text(signed: &Signed, document: Digest) -> Shown {
    let approval = &signed.approval;
    let mut lines = Lines(String::new());
    lines.add(approval.kind().as_str(), approval.kind().id(document));
    lines.add("for", approval.origin());
    lines.add("about", approval.subject());
    lines.add("says", approval.text().replace('\n', " "));
    if let Approval::Waiver(waiver) = approval {
        lines.add("until", rfc3339(waiver.until));
    }
    lines.add("approver", format!("{}, by the key {}", approval.approver(), signed.key_id));
    lines.add("made", format!("{} by the approver's clock", rfc3339(approval.made_at())));
    Shown { text: lines.0, json: serde_json::from_slice(signed.payload()).unwrap_or(Value::Null) }
}

fn keys_text(set: &KeySet) -> Shown {
    let mut lines = Lines(String::new());
    lines.add("keys of", &set.origin);
    lines.add("revision", format!("{}, made {}", set.revision, rfc3339(set.made_at)));
    lines.add("root", format!("{}, which signed this", set.root.fingerprint()));
    let mut rows = Vec::new();
    for key in &set.keys {
        let until = key.valid.until.map_or("without end".to_owned(), rfc3339);
        let mut more = Vec::new();
        if let Some(since) = key.compromised_since {
            more.push(format!("COMPROMISED since {}", rfc3339(since)));
        }
        if let Some(next) = &key.superseded_by {
            more.push(format!("superseded by {}", safe(next)));
        }
        rows.push(vec![safe(&key.key_id), used_for(key), rfc3339(key.valid.from), until, more.join("; ")]);
    }
    let head =
        [("KEY", Align::Left), ("FOR", Align::Left), ("FROM", Align::Left), ("UNTIL", Align::Left), ("", Align::Left)];
    let text = lines.0 + &table(&head, &rows);
    Shown { text, json: serde_json::to_value(set).unwrap_or(Value::Null) }
}

/// What it may sign, and whose it is.
fn used_for(key: &KeyEntry) -> String {
    key.name.as_ref().map_or(key.use_.to_string(), |name| format!("{} of {}", key.use_, safe(name)))
}

fn bundle(file: File) -> anyhow::Result<Shown> {
    let mut bundle = Bundle::open(file, MAX_UNPACKED)?;
    let facts: RunFacts = serde_json::from_slice(&bundle.file(RUN_FACTS)?).context(RUN_FACTS)?;
    let results = Results::read(BufReader::new(bundle.stream("results.json")?))?;
    let mut exchanges: Vec<Exchange> = Vec::new();
    for line in BufReader::new(bundle.stream("exchanges.jsonl")?).lines() {
        exchanges.push(serde_json::from_str(&line?).context("exchanges.jsonl")?);
    }
    let mut text = facts_text(&facts);
    text += "\nWhat was asked and answered\n";
    text += &exchanges_text(&exchanges);
    text += "\nWhat the answers hold\n";
    text += &populations_text(&facts);
    text += "\nWhat the checks found\n";
    text += &results_text(&results);
    let json = json!({"run": facts, "exchanges": exchanges, "results": results});
    Ok(Shown { text, json })
}

fn facts_text(facts: &RunFacts) -> String {
    let mut lines = Lines(String::new());
    lines.add("run of", facts.job.as_str());
    lines.add("slot", facts.slot.map_or("none: asked for by hand".to_owned(), rfc3339));
    lines.add("source", format!("{} ({}) {}", facts.source.name, facts.source.kind, facts.source.identity));
    lines.add("collector", format!("{} version {}", facts.collector.id, facts.collector.version));
    lines.add("agent", &facts.agent.version);
    lines.add("plan", facts.plan.to_string());
    lines.add("outcome", outcome(facts.outcome).to_owned() + if facts.late { ", late" } else { "" });
    lines.add_unless_empty("reason", &facts.reason);
    for (number, attempt) in facts.attempts.iter().enumerate() {
        let ended = attempt.error.as_deref().unwrap_or("ended");
        let name = format!("attempt {}", number + 1);
        lines.add(&name, format!("{} to {}: {ended}", rfc3339(attempt.started_at), rfc3339(attempt.ended_at)));
    }
    if let Some(window) = facts.window {
        lines.add("window", super::window(&window));
    }
    for input in &facts.inputs {
        let digest = |d: Digest| format!(" (SHA-256 {d})");
        let found = input.bundle.as_deref().unwrap_or("none was found");
        lines.add("input", format!("{}: {found}{}", input.name, input.sha256.map(digest).unwrap_or_default()));
    }
    lines.0
}

fn exchanges_text(exchanges: &[Exchange]) -> String {
    let mut rows = Vec::new();
    for exchange in exchanges {
        let answer = match exchange.answer {
            Answer::Ok => "ok",
            Answer::Denied => "denied",
            Answer::Missing => "missing",
            Answer::Failed => "failed",
            Answer::TimedOut => "timed out",
            Answer::CutShort => "cut short",
        };
        let mut detail = exchange.detail.clone();
        if let Some(page) = exchange.page {
            let end = exchange.end.as_deref().map_or_else(String::new, |end| format!(", the last: {end}"));
            detail += &format!("; page {page}{end}");
        }
        if !exchange.tried.is_empty() {
            detail += &format!("; asked {} times", exchange.tried.len() + 1);
        }
        for redaction in &exchange.redactions {
            detail += &format!("; {} removed x {} ({})", redaction.place, redaction.count, redaction.rule);
        }
        rows.push(vec![
            exchange.number.to_string(),
            rfc3339(exchange.started_at),
            cut(role(&exchange.caller), 32),
            cut(&request(exchange), 70),
            answer.to_owned(),
            bytes(exchange.bytes),
            cut(detail.trim_start_matches("; "), 80),
        ]);
    }
    let head = [
        ("NO", Align::Right),
        ("WHEN", Align::Left),
        ("AS", Align::Left),
        ("ASKED", Align::Left),
        ("ANSWER", Align::Left),
        ("KEPT", Align::Right),
        ("", Align::Left),
    ];
    table(&head, &rows)
}

/// A request in one line: its path or its words, where it has such.
fn request(exchange: &Exchange) -> String {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            list.iter().map(|v| v.as_str().map_or(v.to_string(), str::to_owned)).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    let what = match &exchange.request {
        Value::Object(members) if members.contains_key("call") => asked_in_cell(members),
        Value::Object(members) if members.len() == 1 => members.values().map(words).collect(),
        Value::Object(members) => {
            members.get("path").or_else(|| members.get("argv")).map_or_else(|| exchange.request.to_string(), words)
        }
        other => words(other),
    };
    format!("{} {what}", exchange.operation)
}

/// The part of an ARN that tells roles apart.
fn role(caller: &str) -> &str {
    caller.strip_prefix("arn:").and_then(|arn| arn.split_once("::")).map_or(caller, |(_, role)| role)
}

/// Where, for what, with which parameters.
fn asked_in_cell(members: &serde_json::Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let cell = members.get("cell").and_then(Value::as_object).into_iter().flatten().map(|(_, at)| text(at));
    let other = ["region", "item"].into_iter().filter_map(|name| members.get(name)).map(text);
    let mut parts: Vec<String> = cell.chain(other).collect();
    if let Some(parameters) = members.get("parameters").filter(|p| p.as_object().is_some_and(|p| !p.is_empty())) {
        parts.push(parameters.to_string());
    }
    parts.join(" ")
}

fn populations_text(facts: &RunFacts) -> String {
    let mut rows = Vec::new();
    for (kind, population) in &facts.populations {
        let (state, why) = match population {
            Population::Whole => ("whole", ""),
            Population::Cut(why) => ("cut", why.as_str()),
            Population::Unread(why) => ("unread", why.as_str()),
            Population::Absent(why) => ("absent", why.as_str()),
        };
        let records = facts.records.get(kind).copied().unwrap_or(0);
        rows.push(vec![safe(kind), records.to_string(), state.to_owned(), cut(why, 100)]);
    }
    let head = [("KIND", Align::Left), ("RECORDS", Align::Right), ("LIST", Align::Left), ("", Align::Left)];
    let mut text = table(&head, &rows);
    for gap in &facts.gaps {
        text += &format!("not read: {}\n", safe(gap));
    }
    text
}

fn results_text(results: &Results) -> String {
    let mut text = String::new();
    for check in &results.checks {
        let named = |map: Vec<&String>| map.into_iter().map(|c| safe(c)).collect::<Vec<_>>().join(" ");
        let criteria = [
            ("SOC 2", named(check.criteria.soc2.keys().collect())),
            ("HIPAA", named(check.criteria.hipaa.keys().collect())),
        ];
        let criteria: Vec<String> =
            criteria.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name} {list}")).collect();
        text += &format!("{}: {}\n", safe(&check.id), check_counts(check));
        text += &format!(
            "    asked of {} {}: {}\n",
            check.population.size,
            safe(&check.population.kind),
            safe(&check.definition.pass)
        );
        if !criteria.is_empty() {
            text += &format!("    evidence mapped to {}\n", criteria.join("; "));
        }
        if !check.note.is_empty() {
            text += &format!("    {}\n", safe(&check.note));
        }
        let reasoned =
            check.rows.fail().map(|row| ("fail", row)).chain(check.rows.unknown().map(|row| ("unknown", row)));
        for (what, row) in reasoned {
            let id = row.id.as_deref().unwrap_or("(what was not read)");
            text += &format!("    {what:<8} {}: {}\n", safe(id), safe(&row.reason));
        }
        if check.exempt > 0 {
            text += &format!("    exempt   {}\n", safe(&check.rows.exempt().collect::<Vec<_>>().join(", ")));
        }
    }
    if text.is_empty() {
        text = "no checks\n".to_owned();
    }
    text
}

fn check_counts(check: &CheckResult) -> String {
    counts(&Counts {
        pass: check.pass,
        fail: check.fail,
        unknown: check.unknown,
        not_applicable: check.not_applicable,
        exempt: check.exempt,
    })
}
