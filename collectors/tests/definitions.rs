//! Each definition of a collector against answers in the wire format: what it makes of them, and that nothing passes, or is proved absent,
//! because an answer failed. Fixtures are YAML lists of cases beside the definitions' names: `tests/definitions/aws/<name>.yaml`.
//!
//! `DEFINITION=backup-jobs cargo test --test definitions` runs one.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use collectors::{
    aws,
    contract::{Collector, Context, Population, Window},
    declared::system::{Expected, Scope, System},
    recorder::{Recorder, WorkEvidence},
    records::{Derived, RecordFiles},
    testing::system::{Fault, Scripted, Scripts},
};
use controls::{Counts, Evaluator, parse_checks};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One case of a fixture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    cells: BTreeMap<String, Vec<Value>>,
    #[serde(default = "some_time")]
    at: DateTime<Utc>,
    #[serde(default)]
    window: Option<Window>,
    #[serde(default)]
    parameters: Value,
    answers: Vec<Scripted>,
    #[serde(default)]
    records: BTreeMap<String, Vec<Map<String, Value>>>,
    #[serde(default)]
    populations: BTreeMap<String, String>,
    #[serde(default)]
    checks: BTreeMap<String, BTreeMap<String, u64>>,
    #[serde(default)]
    gaps: Vec<String>,
}

fn some_time() -> DateTime<Utc> {
    "2026-11-22T04:00:00Z".parse().unwrap()
}

/// What a run of a case came to.
struct Ran {
    derived: Derived,
    records: BTreeMap<String, Vec<Value>>,
    checks: BTreeMap<String, Counts>,
    /// Calls that were made, with those of them whose answers were in full.
    calls: BTreeSet<String>,
    unscripted: Vec<String>,
}

impl Case {
    fn scope(&self) -> Scope {
        let account = serde_json::json!({"account": "111122223333"});
        let region = serde_json::json!({"account": "111122223333", "region": "us-east-1"});
        let mut cells = BTreeMap::from([
            ("source".to_owned(), vec![account.clone()]),
            ("accounts".to_owned(), vec![account]),
            ("accounts x regions".to_owned(), vec![region]),
        ]);
        cells.extend(self.cells.clone());
        let expected = |value: Value| match value.get("cell") {
            Some(_) => serde_json::from_value(value).unwrap(),
            None => Expected { cell: serde_json::from_value(value).unwrap(), unread: None },
        };
        let cells = cells.into_iter().map(|(kind, cells)| (kind, cells.into_iter().map(expected).collect()));
        Scope { cells: cells.collect(), left_out: Vec::new() }
    }

    fn system(&self) -> Scripts<aws::AwsDialect> {
        Scripts::new(aws::AwsDialect, aws::errors::answer, self.scope(), self.answers.clone(), self.at)
    }

    fn run(&self, definition: &aws::definitions::Definition, fault: Option<(&str, Fault)>) -> Ran {
        let mut system = self.system();
        if let Some((call, fault)) = fault {
            system = system.faulty(call, fault, paged(definition.yaml));
        }
        let system = Arc::new(system);
        let collector = definition.on(system.clone() as Arc<dyn System>).unwrap();
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let at = self.at;
        let window = collector.spec().window.map(|spec| {
            let to = at;
            self.window.unwrap_or(Window { from: to - chrono::TimeDelta::from_std(spec.retained).unwrap(), to })
        });
        let mut context = Context { recorder: &mut recorder, now: Arc::new(move || at), inputs: Vec::new(), window };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(collector.collect(&mut context)).unwrap();
        let evidence = WorkEvidence::new(work.path());
        let (derived, checks) = self.derive(&collector, &evidence, work.path());
        let again = tempfile::tempdir().unwrap();
        self.derive(&collector, &evidence, again.path());
        let mut records = BTreeMap::new();
        for kind in &collector.spec().kinds {
            let name = format!("records/{kind}.jsonl");
            let text = fs::read_to_string(work.path().join(&name)).unwrap();
            assert_eq!(text, fs::read_to_string(again.path().join(&name)).unwrap(), "derived twice, {name} differs");
            records.insert(kind.clone(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
        }
        let asked = system.asked();
        let exchanges = fs::read_to_string(work.path().join("exchanges.jsonl")).unwrap();
        let unscripted = exchanges.lines().filter(|line| line.contains("NotScripted")).map(str::to_owned).collect();
        Ran { derived, records, checks, calls: asked.iter().map(|ask| ask.call.clone()).collect(), unscripted }
    }

    fn derive(
        &self,
        collector: &dyn Collector,
        evidence: &WorkEvidence,
        work: &Path,
    ) -> (Derived, BTreeMap<String, Counts>) {
        let spec = collector.spec();
        let checks =
            parse_checks(&spec.checks).unwrap_or_else(|e| panic!("the checks of {}: {}", spec.id, signing_chain(&e)));
        let mut evaluator = Evaluator::new(&checks, &self.parameters).unwrap();
        let mut files = RecordFiles::new(work, &spec.kinds, |kind, row| evaluator.record(kind, row)).unwrap();
        collector.derive(evidence, &mut files).unwrap();
        let derived = files.finish().unwrap();
        let populations = derived.populations.iter().map(|(kind, population)| {
            let population = match population.clone() {
                Population::Whole => controls::Population::Whole,
                Population::Cut(why) => controls::Population::Cut(why),
                Population::Unread(why) => controls::Population::Unread(why),
                Population::Absent(why) => controls::Population::Absent(why),
            };
            (kind.clone(), population)
        });
        let results = evaluator.finish(&populations.collect());
        let counts = results.checks.iter().map(|check| (check.id.clone(), check.counts())).collect();
        (derived, counts)
    }
}

fn signing_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The calls that have pages, each with the members that say that there is more.
fn paged(yaml: &str) -> Vec<(String, Map<String, Value>)> {
    let definition: collectors::declared::definition::Definition = serde_saphyr::from_str(yaml).unwrap();
    let paged = definition.requests.values().filter_map(|request| {
        let pages = request.pages.as_ref()?;
        let mut more = Map::from_iter([(pages.token.clone(), "again".into())]);
        more.extend(pages.more.clone().map(|more| (more, true.into())));
        Some((request.call.clone(), more))
    });
    paged.collect()
}

fn fixture(id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions").join(format!("{id}.yaml"))
}

fn cases(id: &str) -> Vec<Case> {
    let path = fixture(id);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{} has no fixture {}: {e}", id, path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Those that are asked for, or all.
fn definitions() -> Vec<&'static aws::definitions::Definition> {
    let chosen = std::env::var("DEFINITION").ok();
    let all = aws::definitions::ALL.iter();
    all.filter(|definition| chosen.as_ref().is_none_or(|name| definition.yaml.contains(&format!("id: aws/{name}\n"))))
        .collect()
}

fn id(definition: &aws::definitions::Definition) -> String {
    definition.yaml.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().trim().to_owned()
}

fn count(counts: &Counts, name: &str) -> u64 {
    match name {
        "pass" => counts.pass,
        "fail" => counts.fail,
        "unknown" => counts.unknown,
        "not_applicable" => counts.not_applicable,
        "exempt" => counts.exempt,
        other => panic!("there is no count {other}"),
    }
}

fn state(population: &Population) -> &'static str {
    match population {
        Population::Whole => "whole",
        Population::Cut(_) => "cut",
        Population::Unread(_) => "unread",
        Population::Absent(_) => "absent",
    }
}

/// What differs from what the case wants.
fn differences(case: &Case, ran: &Ran) -> Vec<String> {
    let mut wrong: Vec<String> = ran.unscripted.clone();
    for (kind, wanted) in &case.records {
        let Some(found) = ran.records.get(kind) else {
            wrong.push(format!("there is no kind {kind}"));
            continue;
        };
        if found.len() != wanted.len() {
            wrong.push(format!(
                "{} records of {kind}, not {}: {}",
                found.len(),
                wanted.len(),
                Value::from(found.clone())
            ));
        }
        for want in wanted {
            let Some(id) = want.get("id") else {
                wrong.push(format!("{kind}: every wanted record is named by its id"));
                continue;
            };
            match found.iter().find(|record| record.get("id") == Some(id)) {
                None => wrong.push(format!("no {kind} {id} among {}", Value::from(found.clone()))),
                Some(record) => wrong.extend(want.iter().filter(|(name, value)| record.get(*name) != Some(value)).map(
                    |(name, value)| {
                        format!("{kind} {id}: {name} is {:?}, not {value}", record.get(name).map(Value::to_string))
                    },
                )),
            }
        }
    }
    for (kind, wanted) in &case.populations {
        let found = &ran.derived.populations[kind];
        if state(found) != wanted {
            wrong.push(format!("{kind} is {found:?}, not {wanted}"));
        }
    }
    for (check, wanted) in &case.checks {
        let Some(found) = ran.checks.get(check) else {
            wrong.push(format!("there is no check {check}"));
            continue;
        };
        for (name, wanted) in wanted {
            if count(found, name) != *wanted {
                wrong.push(format!("{check}: {name} is {}, not {wanted} ({found:?})", count(found, name)));
            }
        }
    }
    for gap in &case.gaps {
        if !ran.derived.gaps.iter().any(|found| found.contains(gap)) {
            wrong.push(format!("no gap speaks of {gap:?}: {:?}", ran.derived.gaps));
        }
    }
    wrong
}

fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_definition_makes_of_its_answers_what_its_fixture_says() {
    let mut wrong = Vec::new();
    for definition in definitions() {
        let id = id(definition);
        for case in cases(&id) {
            let ran = case.run(definition, None);
            wrong.extend(differences(&case, &ran).into_iter().map(|what| format!("{id}, {}: {what}", case.name)));
        }
    }
    report(wrong);
}

#[test]
fn no_fault_of_an_answer_makes_a_pass_a_failure_an_exemption_or_an_absence() {
    let faults = [
        Fault::Denied,
        Fault::Throttled,
        Fault::Expired,
        Fault::Truncated,
        Fault::Circle,
        Fault::Empty,
        Fault::Silence,
    ];
    let mut wrong = Vec::new();
    for definition in definitions() {
        let id = id(definition);
        let case = cases(&id).remove(0);
        let sound = case.run(definition, None);
        for (call, fault) in sound.calls.iter().flat_map(|call| faults.map(|fault| (call, fault))) {
            if fault == Fault::Circle && !paged(definition.yaml).iter().any(|(paged, _)| paged == call) {
                continue;
            }
            let faulty = case.run(definition, Some((call, fault)));
            let mut say = |what: String| wrong.push(format!("{id}, {call} {fault:?}: {what}"));
            for (check, before) in &sound.checks {
                let after = &faulty.checks[check];
                for name in ["pass", "fail", "exempt", "not_applicable"] {
                    if count(after, name) > count(before, name) {
                        say(format!("{check}: {name} was {}, and is {}", count(before, name), count(after, name)));
                    }
                }
                let known = |counts: &Counts| counts.pass + counts.fail + counts.exempt + counts.not_applicable;
                if known(after) < known(before) && after.unknown == 0 {
                    say(format!("{check}: rows vanished, and nothing is unknown ({before:?}, {after:?})"));
                }
            }
            for (kind, population) in &faulty.derived.populations {
                if let Population::Absent(why) = population
                    && !matches!(sound.derived.populations[kind], Population::Absent(_))
                {
                    say(format!("{kind} is absent: {why}"));
                }
            }
            let silent = faulty.derived.gaps.is_empty()
                && faulty.derived.populations.values().all(|p| matches!(p, Population::Whole | Population::Absent(_)));
            if silent {
                say("the run reads as whole".into());
            }
        }
    }
    report(wrong);
}
