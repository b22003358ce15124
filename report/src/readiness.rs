//! What a period would lack if it began now: found out before it begins, when it can still be put right. It says what is missing, and never
//! that nothing is.

use std::collections::{BTreeMap, BTreeSet};

use controls::{ControlSet, Outcome as Checked, Requirement, Results, catalogue};
use serde::Serialize;
use signing::{
    layout::Job,
    plan::Plan,
    statement::{Body, Outcome, Receipt, Statement},
    time::{Utc, rfc3339},
};

use crate::{
    in_force::InForce,
    ledger::{Ledger, LedgerError, Logged},
};

/// The value of [`Readiness::format`].
pub const FORMAT: &str = "evidenced-readiness/1";

/// How the reason of a plan begins that puts nothing in force.
const PAUSED: &str = "paused: ";

/// The place of the results in a bundle.
const RESULTS: &str = "results.json";

/// What a period would lack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `evidenced-readiness/1`.
    pub format: &'static str,
    /// The log that it was read from.
    pub origin: String,
    /// The newest entry's sealing, up to which it is known; `None`: the log is empty.
    pub newest: Option<Utc>,
    /// Controls that are promised.
    pub controls: u64,
    /// Of those, the ones that a job here reads.
    pub read: u64,
    /// What is missing, by topic.
    pub lacks: Vec<Lack>,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// Of what.
    pub topic: Topic,
    /// The control, job, citation or limit.
    pub subject: String,
    /// What is missing.
    pub says: String,
    /// What to do.
    pub remedy: String,
}

/// Of what something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The archive itself: findings, trusted time, witnesses, Object Lock.
    Archive,
    /// What is promised: the set of controls, the period, owners, approvers' keys.
    Promise,
    /// Controls that nothing reads.
    Control,
    /// Jobs.
    Job,
    /// HIPAA's addressable specifications.
    Decision,
}

impl Topic {
    fn heading(self) -> &'static str {
        match self {
            Self::Archive => "The archive",
            Self::Promise => "What is promised",
            Self::Control => "Controls without evidence here",
            Self::Job => "Jobs",
            Self::Decision => "Decisions on addressable specifications",
        }
    }
}

/// What the archive itself does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// Citations with a signed decision that counts.
    pub decisions: &'a BTreeSet<String>,
    /// Approvers' keys that are in force.
    pub approvers: u64,
}

/// The newest run of a job.
struct Newest {
    statement: Statement,
}

/// Finds it out.
///
/// # Errors
/// A log that cannot be read, or changed meanwhile.
pub fn readiness(ledger: &Ledger<'_>, beside: &Beside<'_>) -> Result<Readiness, LedgerError> {
    let in_force = InForce::read(ledger)?;
    let log = Log::read(ledger)?;
    let set = in_force.puts.last().map(|put| put.set.clone());
    let mut found = Vec::new();
    of_archive(ledger, &mut found)?;
    let (mut controls, mut read) = (0, 0);
    match &set {
        Some(set) => {
            of_promise(&in_force, set, beside, &mut found);
            controls = set.controls.len() as u64;
            read = of_controls(set, &mut found);
            of_jobs(ledger, set, &log, &mut found)?;
            of_decisions(set, beside, &mut found);
        }
        None => found.push(lack(
            Topic::Promise,
            "controls",
            "the log has no set of controls and no plan",
            "collect once, with `evidenced collect`, or start `evidenced run`",
        )),
    }
    found.sort_by(|a, b| (a.topic, &a.subject).cmp(&(b.topic, &b.subject)));
    Ok(Readiness {
        format: FORMAT,
        origin: ledger.verdict().origin.clone(),
        newest: log.newest,
        controls,
        read,
        lacks: found,
    })
}

fn lack(topic: Topic, subject: &str, says: impl Into<String>, remedy: &str) -> Lack {
    Lack { topic, subject: subject.to_owned(), says: says.into(), remedy: remedy.to_owned() }
}

/// What of the log is asked for.
#[derive(Default)]
struct Log {
    newest: Option<Utc>,
    plan: Option<Plan>,
    runs: BTreeMap<Job, Newest>,
}

impl Log {
    fn read(ledger: &Ledger<'_>) -> Result<Self, LedgerError> {
        let mut log = Self::default();
        let mut plan = None;
        ledger.entries(|Logged { statement, .. }| {
            log.newest = log.newest.max(Some(statement.entry.sealed_at));
            match &statement.body {
                Body::Receipt(receipt) => drop(log.runs.insert(receipt.job.clone(), Newest { statement })),
                Body::Document(document) if document.kind == "plan" => plan = Some(statement),
                Body::Document(_) | Body::Missed(_) => {}
            }
            Ok::<_, LedgerError>(())
        })?;
        if let Some(statement) = plan
            && let Ok(bytes) = ledger.document(&statement)?
        {
            log.plan = serde_json::from_slice(&bytes).ok();
        }
        Ok(log)
    }

    fn is_scheduled(&self, job: &Job) -> bool {
        let planned = self.plan.iter().flat_map(|plan| &plan.jobs);
        planned.into_iter().any(|planned| planned.job == *job && planned.schedule.is_some())
    }

    fn paused(&self) -> Option<&str> {
        self.plan.as_ref().and_then(|plan| plan.reason.strip_prefix(PAUSED))
    }
}

fn of_archive(ledger: &Ledger<'_>, found: &mut Vec<Lack>) -> Result<(), LedgerError> {
    let verdict = ledger.verdict();
    if !verdict.intact {
        let remedy = "find out what happened with `evidenced verify`; what a finding names is no evidence";
        found.push(lack(Topic::Archive, "findings", verdict.statement.clone(), remedy));
    }
    let (mut tokens, mut cosignatures) = (false, false);
    let read = |source| LedgerError::Read { name: "anchor/".into(), source };
    let mut each = |name: &str| {
        tokens |= name.ends_with(".tsr");
        cosignatures |= name.ends_with(".cosig");
    };
    ledger.reader().list("anchor/", &mut each).map_err(read)?;
    if !tokens {
        let says = "no timestamp authority has anchored the log: its times are the agent's own word";
        found.push(lack(Topic::Archive, "time", says, "set `signing.timestamps.authorities`"));
    }
    if !cosignatures {
        let says = "no witness has signed the log: that its end was not cut off, nobody else can tell";
        found.push(lack(
            Topic::Archive,
            "witness",
            says,
            "set `signing.witnesses`, or have the auditor keep checkpoints",
        ));
    }
    for limit in &verdict.limits {
        let remedy = match limit.code {
            "NO-OBJECT-LOCK" | "WEAK-OBJECT-LOCK" => {
                "keep the archive in a bucket with Object Lock, in the mode that nobody can lift"
            }
            "TIME-AUTHORITY" => "name a second authority, of another operator",
            "TIME-UNTRUSTED" => "give the authority's roots with `--tsa-roots`, or use one that is known",
            "KEY-LOST" => "see `evidenced keys list`",
            "CLOCK-OFF" | "CLOCK-SET-BACK" => "keep the clock synchronised",
            _ => continue,
        };
        found.push(lack(Topic::Archive, limit.code, limit.says.clone(), remedy));
    }
    Ok(())
}

fn of_promise(in_force: &InForce, set: &ControlSet, beside: &Beside<'_>, found: &mut Vec<Lack>) {
    if !in_force.documented() {
        let says = "the log has no set of controls: nothing is promised in it";
        found.push(lack(
            Topic::Promise,
            "controls",
            says,
            "collect once, with `evidenced collect`, or start `evidenced run`",
        ));
    }
    for says in &in_force.unread {
        found.push(lack(Topic::Promise, "controls", says.clone(), "see `evidenced verify`"));
    }
    if set.period.is_none() {
        found.push(lack(Topic::Promise, "period", "no observation period is set", "set `period`"));
    }
    if set.frameworks.soc2.is_empty() && set.frameworks.hipaa.is_none() {
        found.push(lack(Topic::Promise, "frameworks", "nothing is reported on", "set `controls.frameworks`"));
    }
    for control in set.controls.iter().filter(|control| control.owner.trim().is_empty()) {
        let says = format!("nobody answers for it ({})", control.title);
        found.push(lack(Topic::Promise, &control.id, says, "name its `owner` in a file of controls"));
    }
    if beside.approvers == 0 {
        let says = "no approver has a key: nobody can sign waivers, responses and decisions";
        found.push(lack(Topic::Promise, "approvers", says, "have the root's custodian name one in `keys.json`"));
    }
}

/// How many controls are read here.
fn of_controls(set: &ControlSet, found: &mut Vec<Lack>) -> u64 {
    let mut read = 0;
    for control in &set.controls {
        let jobs: Vec<_> = control.jobs(&set.scope).collect();
        if jobs.iter().any(|job| job.off.is_none()) {
            read += 1;
            continue;
        }
        let says = match jobs.first().and_then(|job| job.off.as_ref().map(|off| (job, off))) {
            None => format!("{}: nothing here reads it", control.title),
            Some((job, off)) if jobs.len() == 1 => format!("{}: {} does not run ({off})", control.title, job.job),
            Some((job, off)) => {
                format!("{}: none of its {} jobs runs, such as {} ({off})", control.title, jobs.len(), job.job)
            }
        };
        let remedy = "bring in a source that shows it, show it by other evidence, or switch it off with a reason";
        found.push(lack(Topic::Control, &control.id, says, remedy));
    }
    read
}

fn of_jobs(ledger: &Ledger<'_>, set: &ControlSet, log: &Log, found: &mut Vec<Lack>) -> Result<(), LedgerError> {
    if let Some(why) = log.paused() {
        found.push(lack(Topic::Job, "all", format!("nothing is scheduled: paused ({why})"), "`evidenced resume`"));
    }
    for scoped in set.scope.iter().filter(|scoped| scoped.off.is_none()) {
        let Ok(job) = scoped.job.parse::<Job>() else { continue };
        if log.paused().is_none() && !log.is_scheduled(&job) {
            let says = "it is on no schedule, and runs by hand only";
            found.push(lack(Topic::Job, job.as_str(), says, "start `evidenced run`"));
        }
        let Some(Newest { statement }) = log.runs.get(&job) else {
            found.push(lack(Topic::Job, job.as_str(), "it has never run", "start `evidenced run`, or collect once"));
            continue;
        };
        let Body::Receipt(receipt) = &statement.body else { continue };
        let remedy = "see `evidenced doctor`, and `evidenced show` of its newest bundle";
        if receipt.outcome != Outcome::Collected {
            found.push(lack(Topic::Job, job.as_str(), not_whole(receipt), remedy));
        }
        match unknown_checks(ledger, statement)? {
            Ok(unknown) => found.extend(unknown.into_iter().map(|(check, reason)| {
                lack(Topic::Job, job.as_str(), format!("the check {check} is unknown now: {reason}"), remedy)
            })),
            Err(why) => found.push(lack(Topic::Job, job.as_str(), why, remedy)),
        }
    }
    Ok(())
}

fn not_whole(receipt: &Receipt) -> String {
    let outcome = match receipt.outcome {
        Outcome::Failed => "failed",
        Outcome::Partial | Outcome::Collected => "was not whole",
    };
    format!("its newest run, of {}, {outcome}: {}", rfc3339(receipt.started_at), receipt.reason)
}

/// Checks, each with a reason.
type Reasons = Vec<(String, String)>;

/// The checks of a run that are unknown, each with its first reason; else why that cannot be told.
fn unknown_checks(ledger: &Ledger<'_>, statement: &Statement) -> Result<Result<Reasons, String>, LedgerError> {
    let cannot = |why: String| Ok(Err(format!("what its newest run found cannot be read: {why}")));
    let mut bundle = match ledger.bundle(statement)? {
        Ok(bundle) => bundle,
        Err(unusable) => return cannot(unusable.to_string()),
    };
    let bytes = match bundle.file(RESULTS) {
        Ok(bytes) => bytes,
        Err(error) => return cannot(error.to_string()),
    };
    let results: Results = match serde_json::from_slice(&bytes) {
        Ok(results) => results,
        Err(error) => return cannot(error.to_string()),
    };
    let unknown = |check: &&controls::CheckResult| {
        check.outcome == Checked::Unknown || (check.outcome == Checked::Fail && check.unknown > 0)
    };
    let told = |check: &controls::CheckResult| (check.id.clone(), first_reason(check));
    Ok(Ok(results.checks.iter().filter(unknown).map(told).collect()))
}

fn first_reason(check: &controls::CheckResult) -> String {
    check.rows.unknown().next().map_or_else(|| "no reason was given".to_owned(), |row| row.reason)
}

fn of_decisions(set: &ControlSet, beside: &Beside<'_>, found: &mut Vec<Lack>) {
    let Some(hipaa) = set.frameworks.hipaa else { return };
    for entry in &catalogue().hipaa {
        let applies =
            entry.binds.is_none_or(|bound| bound == hipaa.role) && !set.treatments.contains_key(&entry.citation);
        if entry.requirement == Requirement::Addressable && applies && !beside.decisions.contains(&entry.citation) {
            let says = format!("{}: no decision is recorded", entry.title);
            found.push(lack(
                Topic::Decision,
                &entry.citation,
                says,
                "have an approver sign one with `evidenced decide`",
            ));
        }
    }
}

impl Readiness {
    /// For a person.
    pub fn text(&self) -> String {
        let newest = self.newest.map_or("an empty log".to_owned(), rfc3339);
        let mut out =
            format!("What a period that begins now would lack, by the log of {} as of {newest}\n", self.origin);
        out += &format!("{} controls, of which {} are read by a job here\n", self.controls, self.read);
        for of_topic in self.lacks.chunk_by(|one, next| one.topic == next.topic) {
            out += &format!("\n{} ({})\n", of_topic[0].topic.heading(), of_topic.len());
            for alike in of_topic.chunk_by(|one, next| one.remedy == next.remedy) {
                alike.iter().for_each(|lack| out += &format!("  {}: {}\n", lack.subject, lack.says));
                out += &format!("    {}{}\n", if alike.len() > 1 { "each: " } else { "" }, alike[0].remedy);
            }
        }
        if self.lacks.is_empty() {
            out += "\nNothing is missing that can be told beforehand.\n";
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use controls::{Category, Control, FrameworkSet, Frequency, Hipaa, HipaaRole};

    use super::*;
    use crate::testing::{Archive, Run, control, daily_at, scoped, set};

    const CHECKS: &str = "- {id: mfa, item: mfa_user_enrolled, population: user, pass: .ok, says: '{id} has none', unknown: '{id} was not told'}";

    const NOBODY: Beside<'static> = Beside { decisions: &BTreeSet::new(), approvers: 0 };

    fn found(archive: &mut Archive, beside: &Beside<'_>) -> Readiness {
        let (memory, verdict) = archive.verified("");
        let ledger = Ledger::new(&memory, &verdict).unwrap();
        readiness(&ledger, beside).unwrap()
    }

    fn of(readiness: &Readiness, topic: Topic) -> Vec<(String, String)> {
        let lacks = readiness.lacks.iter().filter(|lack| lack.topic == topic);
        lacks.map(|lack| (lack.subject.clone(), lack.says.clone())).collect()
    }

    fn pair(subject: &str, says: &str) -> (String, String) {
        (subject.into(), says.into())
    }

    #[test]
    fn an_archive_that_promises_nothing_says_so() {
        let readiness = found(&mut Archive::new("2026-11-01T00:00:00Z"), &NOBODY);
        assert_eq!(of(&readiness, Topic::Promise), [pair("controls", "the log has no set of controls and no plan")]);
        let subjects: Vec<String> = of(&readiness, Topic::Archive).into_iter().map(|(subject, _)| subject).collect();
        assert!(
            ["time", "witness", "NO-OBJECT-LOCK"].iter().all(|s| subjects.iter().any(|found| found == s)),
            "{subjects:?}"
        );
    }

    #[test]
    fn controls_that_nothing_reads_jobs_that_did_not_read_whole_and_unknown_checks_are_named() {
        let mut archive = Archive::new("2026-11-01T00:00:00Z");
        let bare = Control { owner: String::new(), ..control("B-1", Frequency::Annual, "dr_exercise") };
        let off = control("C-1", Frequency::Daily, "key_rotation");
        let mut keys = scoped("host/keys@box", &CHECKS.replace("mfa_user_enrolled", "key_rotation"));
        keys.off = Some("there are none".into());
        let jobs = ["host/mfa@box", "host/mfa@new", "host/mfa@sick"].map(|job| scoped(job, CHECKS));
        let scope = jobs.into_iter().chain([keys]).collect();
        archive.plan(
            &[("host/mfa@box", Some(daily_at(4))), ("host/mfa@new", Some(daily_at(4))), ("host/mfa@sick", None)],
            "started",
        );
        archive.controls(&set(&[control("A-1", Frequency::Daily, "mfa_user_enrolled"), bare, off], scope));
        archive
            .at("2026-11-01T00:10:00Z")
            .run(&Run::by_hand("host/mfa@box").checks(CHECKS).user("ada", true).user("bob", serde_json::Value::Null));
        archive
            .at("2026-11-01T00:11:00Z")
            .run(&Run::by_hand("host/mfa@sick").checks(CHECKS).failed("permission denied"));
        let readiness = found(&mut archive, &NOBODY);
        assert_eq!((readiness.controls, readiness.read), (3, 1));
        assert_eq!(
            of(&readiness, Topic::Control),
            [
                pair("B-1", "B-1 in one line: nothing here reads it"),
                pair("C-1", "C-1 in one line: host/keys@box does not run (there are none)"),
            ]
        );
        let jobs = of(&readiness, Topic::Job);
        assert!(jobs.contains(&pair("host/mfa@box", "the check mfa is unknown now: bob was not told")), "{jobs:?}");
        assert!(jobs.contains(&pair("host/mfa@new", "it has never run")), "{jobs:?}");
        assert!(jobs.contains(&pair("host/mfa@sick", "it is on no schedule, and runs by hand only")), "{jobs:?}");
        assert!(
            jobs.iter().any(|(job, says)| job == "host/mfa@sick" && says.ends_with("failed: something was refused")),
            "{jobs:?}"
        );
        let promise = of(&readiness, Topic::Promise);
        assert!(promise.contains(&pair("B-1", "nobody answers for it (B-1 in one line)")), "{promise:?}");
        assert!(promise.contains(&pair("period", "no observation period is set")), "{promise:?}");
        let text = readiness.text();
        assert!(text.contains("\nControls without evidence here (2)\n  B-1: "), "{text}");
        // What is to be done alike is said once.
        assert_eq!(text.matches("bring in a source").count(), 1, "{text}");
        assert!(text.contains("\n    each: bring in a source"), "{text}");
        for word in ["compliant", " met", "violation", "sound", "ready"] {
            assert!(!text.contains(word), "{text}");
        }
    }

    #[test]
    fn each_addressable_specification_of_the_role_needs_a_decision_and_nothing_else_does() {
        let mut archive = Archive::new("2026-11-01T00:00:00Z");
        archive.plan(&[], "collect by hand");
        let hipaa = Hipaa { role: HipaaRole::BusinessAssociate, proposals: true };
        let frameworks = FrameworkSet { soc2: vec![Category::Security], hipaa: Some(hipaa) };
        archive.controls(&ControlSet { frameworks, ..set(&[], Vec::new()) });
        let decisions = ["164.312(a)(2)(iv)".to_owned()].into();
        let readiness = found(&mut archive, &Beside { decisions: &decisions, approvers: 1 });
        let open: Vec<String> = of(&readiness, Topic::Decision).into_iter().map(|(citation, _)| citation).collect();
        let addressable = catalogue().hipaa.iter().filter(|entry| entry.requirement == Requirement::Addressable);
        assert_eq!(open.len(), addressable.count() - 1);
        assert!(open.contains(&"164.312(a)(2)(iii)".to_owned()) && !open.contains(&"164.312(a)(2)(iv)".to_owned()));
        assert!(of(&readiness, Topic::Promise).iter().all(|(subject, _)| subject != "approvers"));
    }

    #[test]
    fn a_pause_is_named_once_and_not_for_every_job() {
        let mut archive = Archive::new("2026-11-01T00:00:00Z");
        archive.plan(&[], "paused: the disks are changed");
        archive.controls(&set(&[], vec![scoped("host/mfa@box", CHECKS)]));
        let jobs = of(&found(&mut archive, &NOBODY), Topic::Job);
        assert_eq!(
            jobs,
            [
                pair("all", "nothing is scheduled: paused (the disks are changed)"),
                pair("host/mfa@box", "it has never run")
            ]
        );
    }
}
