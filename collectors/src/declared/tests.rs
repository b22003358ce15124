#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, sync::Arc};

use serde_json::{Value, json};

use super::{
    Declared,
    system::{Ask, Cell, Dialect, Expected, Scope, System},
};
use crate::{
    contract::{Answer, Collector, Context, Exchange, Population, Window},
    recorder::{Recorder, WorkEvidence},
    records::{Derived, RecordFiles},
    testing::system::{Scripted, Scripts},
};

/// JSON as it is.
#[derive(Clone)]
struct Plain;

impl Dialect for Plain {
    fn check(&self, call: &str) -> Result<(), String> {
        if call.starts_with("x.") { Ok(()) } else { Err(format!("there is no call {call}")) }
    }

    fn actions(&self, call: &str) -> Vec<String> {
        vec![call.replace("x.", "x:")]
    }

    fn decode(&self, _call: &str, body: &[u8]) -> Result<Value, String> {
        serde_json::from_slice(body).map_err(|e| e.to_string())
    }

    fn cells(&self) -> &'static [&'static str] {
        &["source", "accounts", "accounts x regions"]
    }
}

fn judge(status: u16, _code: &str) -> Answer {
    if status == 403 { Answer::Denied } else { Answer::Failed }
}

struct Ran {
    derived: Derived,
    records: BTreeMap<String, Vec<Value>>,
    exchanges: Vec<Exchange>,
    asked: Vec<Ask>,
}

impl Ran {
    fn population(&self, kind: &str) -> &Population {
        &self.derived.populations[kind]
    }

    fn ids(&self, kind: &str) -> Vec<&str> {
        self.records[kind].iter().map(|row| row["id"].as_str().unwrap()).collect()
    }
}

const HEAD: &str = "
id: test/x
version: 1
title: X
source: test
schedule: '5 * * * *'
cells: accounts x regions
";

/// Two regions of one account.
fn scope() -> Scope {
    let cell = |cell: Cell| Expected { cell, unread: None };
    let regions = ["eu-west-1", "us-east-1"].map(|r| cell(Cell::new([("account", "1"), ("region", r)])));
    Scope {
        cells: BTreeMap::from([
            ("source".into(), vec![cell(Cell::new([("account", "1")]))]),
            ("accounts".into(), vec![cell(Cell::new([("account", "1")]))]),
            ("accounts x regions".into(), regions.to_vec()),
        ]),
        left_out: Vec::new(),
    }
}

fn run_in(scope: Scope, definition: &str, answers: Value) -> Ran {
    let answers: Vec<Scripted> = serde_json::from_value(answers).unwrap();
    let at = "2026-11-22T04:00:00Z".parse().unwrap();
    let system = Arc::new(Scripts::new(Plain, judge, scope, answers, at));
    let collector = Declared::new(&format!("{HEAD}{definition}"), system.clone() as Arc<dyn System>);
    let collector = collector.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let work = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(work.path()).unwrap();
    let window = Some(Window { from: "2026-11-20T00:00:00Z".parse().unwrap(), to: at });
    let mut context = Context { recorder: &mut recorder, now: Arc::new(move || at), inputs: Vec::new(), window };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(collector.collect(&mut context)).unwrap();
    let mut files = RecordFiles::new(work.path(), &collector.spec().kinds, |_, _| {}).unwrap();
    let evidence = WorkEvidence::new(work.path());
    collector.derive(&evidence, &mut files).unwrap();
    let derived = files.finish().unwrap();
    let rows = |kind: &String| {
        let text = fs::read_to_string(work.path().join(format!("records/{kind}.jsonl"))).unwrap();
        (kind.clone(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    let records = collector.spec().kinds.iter().map(rows).collect();
    let exchanges = crate::contract::Evidence::exchanges(&evidence).map(Result::unwrap).collect();
    Ran { derived, records, exchanges, asked: system.asked() }
}

fn run(definition: &str, answers: Value) -> Ran {
    run_in(scope(), definition, answers)
}

fn why(population: &Population) -> &str {
    match population {
        Population::Whole => "whole",
        Population::Cut(why) | Population::Unread(why) | Population::Absent(why) => why,
    }
}

const LIST: &str = "
requests:
  things:
    call: x.List
    pages: {token: Next, into: Token}
    rows: .Things
records:
  thing:
    rows: things
    id: '$cell.region + \"/\" + .Name'
    as_of: .At
    fields: {size: .Size}
";

#[test]
fn a_list_is_whole_only_where_an_answer_has_no_token_in_every_cell() {
    let west = json!({"account": "1", "region": "eu-west-1"});
    let ran = run(
        LIST,
        json!([
            {"call": "x.List", "cell": west, "page": 1, "body": {"Things": [{"Name": "a", "Size": 1, "At": 1795305600.25}], "Next": "t1"}},
            {"call": "x.List", "cell": west, "page": 2, "body": {"Things": [], "Next": "t2"}},
            {"call": "x.List", "cell": west, "page": 3, "body": {"Things": [{"Name": "b", "Size": 2, "At": "2026-11-22T00:00:00Z"}]}},
            {"call": "x.List", "body": {"Things": [{"Name": "a", "Size": 3, "At": null}], "Next": ""}},
        ]),
    );
    assert_eq!(*ran.population("thing"), Population::Whole);
    assert_eq!(ran.ids("thing"), ["eu-west-1/a", "eu-west-1/b", "us-east-1/a"]);
    let first = &ran.records["thing"][0];
    assert_eq!((&first["account"], &first["region"], &first["size"]), (&json!("1"), &json!("eu-west-1"), &json!(1)));
    assert_eq!(first["as_of"], "2026-11-22T00:00:00.250Z");
    assert_eq!(ran.records["thing"][2]["as_of"], Value::Null);
    assert!(ran.derived.gaps.is_empty());
    let tokens: Vec<_> = ran.asked.iter().filter_map(|ask| ask.parameters.get("Token")?.as_str()).collect();
    assert_eq!(tokens, ["t1", "t2"]);
    let ends = ran.exchanges.iter().filter(|exchange| exchange.end.as_deref() == Some("no Next"));
    assert_eq!(ends.count(), 2);
}

#[test]
fn a_page_that_is_refused_cuts_the_list_and_keeps_what_was_read() {
    let west = json!({"account": "1", "region": "eu-west-1"});
    let ran = run(
        LIST,
        json!([
            {"call": "x.List", "cell": west, "page": 1, "body": {"Things": [{"Name": "a"}], "Next": "t1"}},
            {"call": "x.List", "cell": west, "page": 2, "status": 403, "code": "Denied", "message": "no"},
            {"call": "x.List", "body": {"Things": []}},
        ]),
    );
    assert_eq!(ran.ids("thing"), ["eu-west-1/a"]);
    let why = why(ran.population("thing"));
    assert!(
        matches!(ran.population("thing"), Population::Cut(_)) && why.contains("page 2 was not read: Denied: no"),
        "{why}"
    );
    assert!(why.contains("region eu-west-1") && !why.contains("us-east-1"), "{why}");
}

#[test]
fn a_token_that_comes_again_cuts_the_list_and_ends_the_asking() {
    let ran = run(LIST, json!([{"call": "x.List", "body": {"Things": [{"Name": "a"}], "Next": "t"}}]));
    assert!(matches!(ran.population("thing"), Population::Cut(why) if why.contains("goes in circles")));
    assert_eq!(ran.asked.len(), 4, "two pages in each region");
    assert_eq!(ran.ids("thing"), ["eu-west-1/a", "us-east-1/a"], "what came twice is one record");
}

#[test]
fn an_answer_without_the_list_is_no_empty_list() {
    for body in [json!({}), json!({"Things": null}), json!({"Things": {}}), json!([])] {
        let ran = run(LIST, json!([{"call": "x.List", "body": body}]));
        assert!(matches!(ran.population("thing"), Population::Unread(_)), "{body}: {:?}", ran.population("thing"));
    }
}

#[test]
fn a_flag_and_a_token_that_contradict_each_other_cut_the_list() {
    let list = LIST.replace("into: Token", "into: Token, more: More");
    let ran = run(&list, json!([{"call": "x.List", "body": {"Things": [], "More": true}}]));
    assert!(
        matches!(ran.population("thing"), Population::Cut(why) if why.contains("More is true, but there is no Next"))
    );
    let ran = run(&list, json!([{"call": "x.List", "body": {"Things": [], "More": false}}]));
    assert_eq!(*ran.population("thing"), Population::Whole);
}

#[test]
fn a_cell_that_cannot_be_asked_is_named_and_never_empty() {
    let mut scope = scope();
    let cells = scope.cells.get_mut("accounts x regions").unwrap();
    cells[0].unread = Some("the role could not be assumed".into());
    let answer = json!([{"call": "x.List", "body": {"Things": []}}]);
    let ran = run_in(scope.clone(), LIST, answer.clone());
    let why = why(ran.population("thing"));
    assert!(matches!(ran.population("thing"), Population::Cut(_)), "{why}");
    assert_eq!(why, "account 1, region eu-west-1: the role could not be assumed");
    for cell in scope.cells.get_mut("accounts x regions").unwrap() {
        cell.unread = Some("no".into());
    }
    assert!(matches!(run_in(scope, LIST, answer).population("thing"), Population::Unread(_)));
    let nowhere = Scope { cells: BTreeMap::from([("accounts x regions".into(), Vec::new())]), left_out: Vec::new() };
    assert!(matches!(run_in(nowhere, LIST, json!([])).population("thing"), Population::Unread(_)));
}

#[test]
fn absence_is_what_the_definition_names_in_every_cell() {
    let list = LIST.replace("    rows: .Things", "    rows: .Things\n    absent: [NotInUse]");
    let absent = json!({"call": "x.List", "status": 400, "code": "NotInUse", "message": ""});
    let ran = run(&list, json!([absent]));
    assert!(matches!(ran.population("thing"), Population::Absent(_)));
    let west = json!({"account": "1", "region": "eu-west-1"});
    let mixed =
        |other: Value| run(&list, json!([{"call": "x.List", "cell": west, "status": 400, "code": "NotInUse"}, other]));
    let ran = mixed(json!({"call": "x.List", "body": {"Things": [{"Name": "a"}]}}));
    assert_eq!((ran.population("thing"), ran.ids("thing")), (&Population::Whole, vec!["us-east-1/a"]));
    let ran = mixed(json!({"call": "x.List", "status": 403, "code": "Denied"}));
    assert!(matches!(ran.population("thing"), Population::Cut(_)), "{:?}", ran.population("thing"));
}

const FAN_OUT: &str = "
window: {by: At, overlap: 1h, retained: 2d}
requests:
  buckets:
    call: x.ListBuckets
    rows: .Buckets
  policy:
    call: x.GetPolicy
    for_each: {bucket: buckets, key: .Name, when: .Old != true}
    parameters: {Bucket: '{bucket.Name}', Note: 'b {bucket.Name} at {window.from}'}
    absent: [NoSuchPolicy]
records:
  bucket:
    rows: buckets
    id: $cell.region + .Name
    join:
      policy: {with: policy, on: .Name}
    fields:
      name: .Name
      known: $policy.known
      absent: $policy.absent
      policy: $policy.row.Policy
      why: $policy.why
";

#[test]
fn an_item_that_is_refused_is_unknown_and_one_that_is_proved_absent_is_absent() {
    let ran = run(
        FAN_OUT,
        json!([
            {"call": "x.ListBuckets", "body": {"Buckets": [{"Name": "a"}, {"Name": "b"}, {"Name": "c"}, {"Name": "d", "Old": true}]}},
            {"call": "x.GetPolicy", "item": "a", "body": {"Policy": "p"}},
            {"call": "x.GetPolicy", "item": "b", "status": 404, "code": "NoSuchPolicy"},
            {"call": "x.GetPolicy", "item": "c", "status": 403, "code": "Denied", "message": "no"},
        ]),
    );
    assert_eq!(*ran.population("bucket"), Population::Whole);
    let rows = &ran.records["bucket"];
    let shown = |row: &Value| json!([row["name"], row["known"], row["absent"], row["policy"]]);
    assert_eq!(shown(&rows[0]), json!(["a", true, false, "p"]));
    assert_eq!(shown(&rows[1]), json!(["b", true, true, null]));
    assert_eq!(shown(&rows[2]), json!(["c", false, false, null]));
    assert_eq!(shown(&rows[3]), json!(["d", false, false, null]));
    assert!(rows[2]["why"].as_str().unwrap().contains("x.GetPolicy of c in account 1, region eu-west-1: Denied: no"));
    assert_eq!(ran.derived.gaps.len(), 1);
    assert!(
        ran.derived.gaps[0].contains("of c in") && !ran.derived.gaps[0].contains("of b in"),
        "{:?}",
        ran.derived.gaps
    );
    let of_a = ran.asked.iter().find(|ask| ask.item.as_deref() == Some("a")).unwrap();
    assert_eq!(of_a.parameters["Note"], "b a at 2026-11-20T00:00:00Z");
}

#[test]
fn a_list_of_items_that_was_not_read_leaves_every_item_unknown() {
    let ran = run(FAN_OUT, json!([{"call": "x.ListBuckets", "status": 403, "code": "Denied"}]));
    assert!(matches!(ran.population("bucket"), Population::Unread(_)));
    assert!(!ran.derived.gaps.is_empty());
}

#[test]
fn a_batch_answers_for_its_keys_and_a_refused_one_for_none() {
    let definition = "
requests:
  machines:
    call: x.List
    rows: .Machines
  states:
    call: x.States
    for_each: {machine: machines, key: .Id, batch: 2}
    parameters: {Ids: '{machine.keys}'}
    rows: .States
records:
  machine:
    rows: machines
    id: $cell.region + .Id
    join:
      state: {with: states, on: .Id, key: .Machine}
    fields: {known: $state.known, missing: $state.row.Missing}
";
    let machines = json!({"Machines": [{"Id": "a"}, {"Id": "b"}, {"Id": "c"}]});
    let ran = run(
        definition,
        json!([
            {"call": "x.List", "body": machines},
            {"call": "x.States", "body": {"States": [{"Machine": "a", "Missing": 1}]}},
        ]),
    );
    let keys: Vec<Vec<String>> =
        ran.asked.iter().filter(|ask| ask.call == "x.States").map(|ask| ask.items.clone()).collect();
    assert!(keys.contains(&vec!["a".into(), "b".into()]) && keys.contains(&vec!["c".into()]), "{keys:?}");
    assert_eq!(ran.records["machine"][1]["known"], true, "asked, and not among the answers");
    let ran = run(
        definition,
        json!([{"call": "x.List", "body": machines}, {"call": "x.States", "status": 400, "code": "Oops"}]),
    );
    assert!(ran.records["machine"].iter().all(|row| row["known"] == false && row["missing"].is_null()));
    assert!(!ran.derived.gaps.is_empty());
}

#[test]
fn what_requires_an_unusable_answer_is_not_asked_and_unknown() {
    let definition = "
requests:
  organization:
    call: x.Get
    usable: .Owner != null
  members:
    call: x.List
    requires: organization
    rows: .Members
records:
  member: {rows: members, id: $cell.region + .Name, fields: {}}
";
    let members = json!({"call": "x.List", "body": {"Members": [{"Name": "a"}]}});
    let ran = run(definition, json!([{"call": "x.Get", "body": {"Owner": null}}, members]));
    assert!(matches!(ran.population("member"), Population::Unread(why) if why.contains("not usable")));
    assert!(ran.asked.iter().all(|ask| ask.call == "x.Get"));
    let ran = run(definition, json!([{"call": "x.Get", "body": {"Owner": "me"}}, members]));
    assert_eq!(*ran.population("member"), Population::Whole);
}

#[test]
fn asking_again_until_ready_ends_and_an_answer_never_ready_is_none() {
    let definition = "
requests:
  report:
    call: x.Report
    poll: {until: .State == \"DONE\", every: 2s, times: 3}
records:
  report: {rows: report, id: $cell.region, fields: {state: .State}}
";
    let ran = run(definition, json!([{"call": "x.Report", "body": {"State": "BUSY"}}]));
    assert!(matches!(ran.population("report"), Population::Unread(why) if why.contains("not ready after 3")));
    assert_eq!(ran.asked.len(), 6);
    assert_eq!(ran.exchanges.iter().filter(|e| e.operation == "x.Report").count(), 2);
    assert_eq!(ran.exchanges.last().unwrap().tried.len(), 2);
    let ran = run(definition, json!([{"call": "x.Report", "body": {"State": "DONE"}}]));
    assert_eq!(*ran.population("report"), Population::Whole);
}

#[test]
fn a_joined_list_that_is_cut_is_unknown_for_every_row() {
    let definition = "
requests:
  volumes: {call: x.Volumes, rows: .Volumes}
  protected:
    call: x.Protected
    cells: accounts
    pages: {token: Next, into: Token}
    rows: .Protected
records:
  volume:
    rows: volumes
    id: $cell.region + .Id
    join:
      protected: {with: protected, on: .Id, key: .Resource, keep: '{Last}'}
    fields: {known: $protected.known, protected: 'if $protected.known then $protected.row != null else null end', last: $protected.row.Last}
";
    let volumes = json!({"call": "x.Volumes", "body": {"Volumes": [{"Id": "a"}, {"Id": "b"}]}});
    let list = json!({"Protected": [{"Resource": "a", "Last": 7, "More": 1}]});
    let ran = run(definition, json!([volumes, {"call": "x.Protected", "body": list}]));
    let shown: Vec<Value> = ran.records["volume"].iter().map(|row| json!([row["protected"], row["last"]])).collect();
    assert_eq!(shown, [json!([true, 7]), json!([false, null]), json!([true, 7]), json!([false, null])]);
    let ran = run(
        definition,
        json!([volumes, {"call": "x.Protected", "page": 1, "body": {"Protected": [{"Resource": "a"}], "Next": "t"}}, {"call": "x.Protected", "status": 403, "code": "Denied"}]),
    );
    assert!(ran.records["volume"].iter().all(|row| row["known"] == false && row["protected"].is_null()));
    assert_eq!(*ran.population("volume"), Population::Whole);
    assert!(ran.derived.gaps[0].contains("x.Protected in account 1: page 2 was not read"), "{:?}", ran.derived.gaps);
}

#[test]
fn a_row_that_changes_while_it_is_listed_is_said_and_one_without_an_id_is_missing() {
    let ran = run(
        &LIST.replace("'$cell.region + \"/\" + .Name'", "'if .Name then $cell.region + \"/\" + .Name else null end'"),
        json!([{"call": "x.List", "body": {"Things": [{"Name": "a", "Size": 1}, {"Name": "a", "Size": 2}, {"Size": 3}]}}]),
    );
    assert_eq!(ran.ids("thing"), ["eu-west-1/a", "us-east-1/a"]);
    assert!(ran.derived.gaps.iter().any(|gap| gap.contains("changed while it was read")), "{:?}", ran.derived.gaps);
    assert!(matches!(ran.population("thing"), Population::Cut(why) if why.contains("id")));
}

#[test]
fn an_expression_that_fails_makes_its_member_unknown_and_says_so() {
    let ran = run(
        &LIST.replace("size: .Size", "size: .Size.Deep.x"),
        json!([{"call": "x.List", "body": {"Things": [{"Name": "a", "Size": 1}]}}]),
    );
    assert_eq!(ran.records["thing"][0]["size"], Value::Null);
    assert!(ran.derived.gaps.iter().any(|gap| gap.contains("the expression for size")), "{:?}", ran.derived.gaps);
}

#[test]
fn definitions_are_read_strictly() {
    let refused = |definition: &str| {
        let system = Arc::new(Scripts::new(Plain, judge, scope(), Vec::new(), "2026-11-22T04:00:00Z".parse().unwrap()));
        let error = Declared::new(&format!("{HEAD}{definition}"), system).err().unwrap();
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}")
    };
    assert!(refused(&LIST.replace("call: x.List", "call: y.List")).contains("requests.things.call"));
    assert!(refused(&LIST.replace("rows: things", "rows: thongs")).contains("there is no request \"thongs\""));
    assert!(refused(&LIST.replace("size: .Size", "size: now")).contains("records.thing.fields.size"));
    assert!(refused(&LIST.replace("size: .Size", "region: .Size")).contains("by itself"));
    assert!(refused(&LIST.replace("    rows: .Things", "    rowz: .Things")).contains("rowz"));
    assert!(
        refused(&format!("cells: planets\n{LIST}")).contains("planets")
            || refused(&format!("cells: planets\n{LIST}")).contains("cells")
    );
    assert!(
        refused(&LIST.replace("call: x.List", "call: x.List\n    parameters: {A: '{bucket.Name}'}"))
            .contains("there is no \"bucket\"")
    );
    assert!(
        refused(&FAN_OUT.replace("{bucket: buckets, key: .Name", "{bucket: later, key: .Name"))
            .contains("no request before it")
    );
}

const EACH_CELL: &str = "
requests:
  detectors:
    call: x.List
    pages: {token: Next, into: Token}
    rows: .Ids
  detector:
    call: x.Get
    for_each: {detector: detectors, key: .}
records:
  detection:
    rows: accounts x regions
    id: .region
    join:
      listed: {with: detectors, many: true}
      states: {with: detector, many: true}
    fields:
      listed: '[$listed.known, $listed.rows]'
      on: 'if any($states.rows[]; .On) then true elif $listed.known and $states.known then false else null end'
";

#[test]
fn a_record_for_each_cell_is_there_whatever_was_answered_in_it() {
    let west = json!({"account": "1", "region": "eu-west-1"});
    let ran = run(
        EACH_CELL,
        json!([
            {"call": "x.List", "cell": west, "body": {"Ids": []}},
            {"call": "x.List", "status": 403, "code": "Denied"},
        ]),
    );
    assert_eq!(*ran.population("detection"), Population::Whole);
    assert_eq!(ran.ids("detection"), ["eu-west-1", "us-east-1"]);
    let shown: Vec<Value> =
        ran.records["detection"].iter().map(|row| json!([row["listed"], row["on"], row["exchange"]])).collect();
    assert_eq!(shown, [json!([[true, []], false, 1]), json!([[false, []], null, 1])]);
    let mut scope = scope();
    scope.cells.get_mut("accounts x regions").unwrap()[1].unread = Some("the role could not be assumed".into());
    let ran = run_in(scope, EACH_CELL, json!([{"call": "x.List", "body": {"Ids": []}}]));
    assert_eq!(ran.records["detection"][1]["on"], Value::Null);
    let nowhere = Scope { cells: BTreeMap::from([("accounts x regions".into(), Vec::new())]), left_out: Vec::new() };
    assert!(matches!(run_in(nowhere, EACH_CELL, json!([])).population("detection"), Population::Unread(_)));
}

#[test]
fn all_rows_of_a_fan_out_are_known_only_where_every_item_answered() {
    let ids = json!({"call": "x.List", "body": {"Ids": ["a", "b"]}});
    let on = |answers: Value| {
        let ran = run(EACH_CELL, answers);
        ran.records["detection"][0]["on"].clone()
    };
    let off = json!({"call": "x.Get", "body": {"On": false}});
    assert_eq!(on(json!([ids, off])), json!(false));
    assert_eq!(on(json!([ids, {"call": "x.Get", "item": "a", "status": 403, "code": "Denied"}, off])), Value::Null);
    let shown = json!({"call": "x.Get", "item": "b", "body": {"On": true}});
    assert_eq!(on(json!([ids, {"call": "x.Get", "item": "a", "status": 403, "code": "Denied"}, shown])), json!(true));
}

#[test]
fn a_code_that_says_several_things_proves_absence_only_by_its_words() {
    let list = LIST.replace("    rows: .Things", "    rows: .Things\n    absent: ['Invalid: not subscribed']");
    let said = |message: &str| {
        let ran = run(&list, json!([{"call": "x.List", "status": 401, "code": "Invalid", "message": message}]));
        ran.population("thing").clone()
    };
    assert!(matches!(said("Account 1 is not subscribed to it"), Population::Absent(_)));
    assert!(matches!(said("Account 1 is no administrator"), Population::Unread(_)));
}

#[test]
fn a_batch_of_rows_of_a_fan_out_has_rows_of_one_item_and_knows_it() {
    let definition = "
requests:
  detectors: {call: x.List, rows: .Ids}
  ids:
    call: x.Findings
    for_each: {detector: detectors, key: .}
    rows: .Ids
  findings:
    call: x.Get
    for_each: {finding: ids, key: ., batch: 50}
    parameters: {Detector: '{detector}', Ids: '{finding.keys}'}
    rows: .Findings
records:
  finding: {rows: findings, id: $cell.region + .Id, fields: {}}
";
    let ran = run(
        definition,
        json!([
            {"call": "x.List", "body": {"Ids": ["d1", "d2"]}},
            {"call": "x.Findings", "item": "d1", "body": {"Ids": ["a", "b"]}},
            {"call": "x.Findings", "item": "d2", "body": {"Ids": ["c"]}},
            {"call": "x.Get", "item": null, "body": {"Findings": [{"Id": "a"}]}},
        ]),
    );
    let mut asked: Vec<String> =
        ran.asked.iter().filter(|ask| ask.call == "x.Get").map(|a| json!(a.parameters).to_string()).collect();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, [r#"{"Detector":"d1","Ids":["a","b"]}"#, r#"{"Detector":"d2","Ids":["c"]}"#]);
}

#[test]
fn a_region_without_a_value_is_the_cells_own() {
    let definition = FAN_OUT.replace("    absent: [NoSuchPolicy]", "    region: '{bucket.Region}'");
    let ran = run(
        &definition,
        json!([
            {"call": "x.ListBuckets", "body": {"Buckets": [{"Name": "a"}, {"Name": "b", "Region": "eu-north-1"}]}},
            {"call": "x.GetPolicy", "body": {"Policy": "p"}},
        ]),
    );
    let of = |name: &str| ran.asked.iter().find(|ask| ask.item.as_deref() == Some(name)).unwrap().region.clone();
    assert_eq!((of("a"), of("b")), (None, Some("eu-north-1".into())));
}

#[test]
fn rows_of_one_key_are_asked_for_once_and_share_the_answer() {
    let definition = "
requests:
  disks: {call: x.ListDisks, rows: .Disks}
  keys:
    call: x.DescribeKey
    for_each: {disk: disks, key: .Key, when: .Key != null}
    parameters: {Key: '{disk.Key}'}
records:
  disk:
    rows: disks
    id: '\"\\($cell.region)/\\(.Name)\"'
    join: {key: {with: keys, on: .Key}}
    fields: {manager: $key.row.Manager, known: $key.known}
";
    let disks = json!({"Disks": [
        {"Name": "a", "Key": "k1"}, {"Name": "b", "Key": "k2"}, {"Name": "c", "Key": "k1"}, {"Name": "d", "Key": "k2"},
    ]});
    let answers = json!([
        {"call": "x.ListDisks", "body": disks.to_string()},
        {"call": "x.DescribeKey", "item": "k1", "body": "{\"Manager\": \"CUSTOMER\"}"},
        {"call": "x.DescribeKey", "item": "k2", "status": 403, "code": "AccessDenied"},
    ]);
    let ran = run(definition, answers);
    // Once in each of the two regions.
    assert_eq!(ran.asked.iter().filter(|ask| ask.call == "x.DescribeKey").count(), 4);
    assert_eq!(*ran.population("disk"), Population::Whole);
    for (at, disk) in ran.records["disk"].iter().enumerate() {
        let known = at % 2 == 0;
        assert_eq!((&disk["known"], disk["manager"] == "CUSTOMER"), (&json!(known), known), "{disk}");
    }
    assert_eq!(ran.derived.gaps.len(), 1, "{:?}", ran.derived.gaps);
}

#[test]
fn needs_say_which_permission_which_requests_need_and_in_which_cells() {
    let definition = "
needs: [y:More]
requests:
  all_things: {call: x.List, rows: .Things}
  things_of_all: {call: x.List, cells: source}
  one: {call: x.Get, cells: accounts}
records: {thing: {rows: all_things, id: .Name, fields: {}}}
";
    let system = Arc::new(Scripts::new(Plain, judge, scope(), Vec::new(), "2026-11-22T04:00:00Z".parse().unwrap()));
    let collector = Declared::new(&format!("{HEAD}{definition}"), system).unwrap();
    let needs: Vec<_> =
        collector.spec().needs.iter().map(|n| (n.what.as_str(), n.why.as_str(), n.cells.join("; "))).collect();
    assert_eq!(
        needs,
        [
            ("x:Get", "one", "accounts".into()),
            ("x:List", "all things, things of all", "accounts x regions; source".into()),
            ("y:More", "X", "accounts x regions".to_owned()),
        ]
    );
}
