//! Checks over records, from YAML to `results.json`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use controls::{
    CheckError, CheckResult, Counts, Evaluator, Outcome, Population, PopulationState, Results, parse_checks,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const SHELLS: &str = r#"
- id: no-login-shell
  item: linux_host_access
  population: account | .uid < 1000
  exempt: .name | IN($parameters.service_logins[])
  pass: .shell | if . == null then null else IN("/usr/sbin/nologin", "/bin/false") end
  says: "{name} may log in with {shell}"
  unknown: "whether {id} may log in is not known: its shell is {shell}"
  parameters: {service_logins: [sync]}
"#;

fn populations<const N: usize>(list: [(&str, Population); N]) -> BTreeMap<String, Population> {
    list.into_iter().map(|(kind, population)| (kind.to_owned(), population)).collect()
}

fn whole() -> BTreeMap<String, Population> {
    populations([("account", Population::Whole)])
}

fn run(yaml: &str, parameters: Value, rows: &[(&str, Value)], populations: &BTreeMap<String, Population>) -> Results {
    let mut evaluator = Evaluator::new(&parse_checks(yaml).unwrap(), &parameters).unwrap();
    for (kind, row) in rows {
        evaluator.record(kind, row);
    }
    evaluator.finish(populations)
}

fn one(yaml: &str, rows: &[(&str, Value)], populations: &BTreeMap<String, Population>) -> CheckResult {
    run(yaml, Value::Null, rows, populations).checks.remove(0)
}

fn account(name: &str, uid: u32, shell: Value) -> (&'static str, Value) {
    ("account", json!({"id": name, "as_of": null, "exchange": 1, "name": name, "uid": uid, "shell": shell}))
}

/// The unknown rows, to be compared with what is written in a test.
#[derive(Debug)]
struct Unknown(Vec<controls::Row>);

fn unknown(result: &CheckResult) -> Unknown {
    Unknown(result.rows.unknown().collect())
}

impl<const N: usize> PartialEq<[(Option<&str>, &str); N]> for Unknown {
    fn eq(&self, other: &[(Option<&str>, &str); N]) -> bool {
        self.0.iter().map(|row| (row.id.as_deref(), row.reason.as_str())).eq(*other)
    }
}

fn fail(result: &CheckResult) -> Vec<controls::Row> {
    result.rows.fail().collect()
}

fn pass(result: &CheckResult) -> Vec<String> {
    result.rows.pass().collect()
}

#[test]
fn each_row_is_in_one_list_with_its_reason() {
    let rows = [
        account("daemon", 1, json!("/usr/sbin/nologin")),
        account("sync", 4, json!("/bin/sync")),
        account("www", 33, json!("/bin/bash")),
        account("odd", 34, Value::Null),
        account("ada", 1000, json!("/bin/bash")),
        ("other", json!({"id": "passed over"})),
    ];
    let result = one(SHELLS, &rows, &whole());
    assert_eq!(pass(&result), ["daemon"]);
    assert_eq!(result.rows.exempt().collect::<Vec<_>>(), ["sync"]);
    assert_eq!(fail(&result)[0].id.as_deref(), Some("www"));
    assert_eq!(fail(&result)[0].reason, "www may log in with /bin/bash");
    assert_eq!(unknown(&result), [(Some("odd"), "whether odd may log in is not known: its shell is ?")]);
    assert_eq!(result.counts(), Counts { pass: 1, fail: 1, unknown: 1, not_applicable: 0, exempt: 1 });
    assert_eq!((result.population.size, result.population.state), (4, PopulationState::Whole));
    assert_eq!(result.outcome, Outcome::Fail);
}

#[test]
fn results_say_which_criteria_and_parameters_were_in_force() {
    let result = run(SHELLS, json!({"service_logins": ["a"]}), &[], &whole()).checks.remove(0);
    assert_eq!(result.title, controls::item("linux_host_access").unwrap().title);
    assert_eq!(result.criteria.soc2, controls::item("linux_host_access").unwrap().tsc);
    assert_eq!(result.criteria.hipaa, controls::item("linux_host_access").unwrap().hipaa);
    assert_eq!(result.definition.parameters["service_logins"], json!(["a"]));
    assert_eq!(result.population.filter.as_deref(), Some(".uid < 1000"));
}

#[test]
fn what_is_neither_true_nor_false_is_unknown() {
    let check = |population: &str, exempt: &str, pass: &str| {
        let yaml = json!([{"id": "c", "item": "linux_host_access", "population": population, "exempt": exempt, "pass": pass, "says": "no"}]);
        let result = one(&yaml.to_string(), &[account("a", 1, json!("x"))], &whole());
        assert_eq!(
            (result.pass, result.fail, result.exempt, result.unknown),
            (0, 0, 0, 1),
            "{population}, {exempt}, {pass}"
        );
        assert_eq!((result.outcome, result.population.size), (Outcome::Unknown, 1));
        unknown(&result).0[0].reason.clone()
    };
    for (pass, reason) in [
        ("\"true\"", "pass gave \"true\", which is neither true nor false"),
        ("1", "pass gave 1, which is neither true nor false"),
        ("[]", "pass gave [], which is neither true nor false"),
        (".missing", "what the check c asks of this row is not known"),
        (".shell > 0 | error", "pass gave an error: true"),
        (".uid[]", "pass gave an error: cannot use 1 as iterable (array or object)"),
        ("empty", "pass gave no value"),
        ("true, true", "pass gave more than one value"),
        ("repeat(true)", "pass gave more than one value"),
        ("[repeat(true)] | any", "pass did not end within 100000 steps"),
    ] {
        assert_eq!(check("account", "false", pass), reason);
    }
    assert_eq!(check("account", "null", "true"), "whether this row is exempt is not known");
    assert_eq!(check("account", ".uid | error", "true"), "exempt gave an error: 1");
    assert_eq!(
        check("account | .missing", "true", "true"),
        "whether this row is one that the check asks about is not known"
    );
    assert_eq!(check("account | empty", "true", "true"), "population gave no value");
}

#[test]
fn a_list_that_was_not_read_to_its_end_is_never_a_pass() {
    let rows = [account("daemon", 1, json!("/bin/false"))];
    for (population, size, reason) in [
        (Some(Population::Cut("time-out".into())), 1, "the rest of the list was not read: time-out"),
        (Some(Population::Unread("refused".into())), 1, "the list was not read: refused"),
        (Some(Population::Unread("refused".into())), 0, "the list was not read: refused"),
        (None, 1, "the list was not read: the collector said nothing of the records `account`"),
        (Some(Population::Absent("no passwd".into())), 1, "said to be absent (no passwd), and yet there are rows"),
    ] {
        let populations = population.map(|p| populations([("account", p)])).unwrap_or_default();
        let result = one(SHELLS, &rows[..size], &populations);
        assert_eq!((result.pass, result.unknown), (size as u64, 1), "{reason}");
        assert_eq!(unknown(&result), [(None, reason)]);
        assert_eq!(result.outcome, Outcome::Unknown);
    }
}

#[test]
fn absence_is_not_applicable_and_emptiness_is_not_tested() {
    let result = one(SHELLS, &[], &populations([("account", Population::Absent("no passwd file".into()))]));
    assert_eq!((result.not_applicable, result.outcome), (1, Outcome::NotApplicable));
    assert_eq!(result.note, "no passwd file");
    assert_eq!(result.unknown + result.pass + result.fail, 0);

    let empty = one(SHELLS, &[], &whole());
    assert_eq!((empty.counts(), empty.outcome), (Counts::default(), Outcome::NotTested));
    assert_eq!(empty.note, "empty population");

    let outside = one(SHELLS, &[account("ada", 1000, json!("/bin/bash"))], &whole());
    assert_eq!((outside.outcome, outside.note.as_str()), (Outcome::NotTested, "empty population"));

    let exempt = one(SHELLS, &[account("sync", 4, json!("/bin/sync"))], &whole());
    assert_eq!((exempt.outcome, exempt.note.as_str()), (Outcome::NotTested, "every row of the population is exempt"));

    let pass = one(SHELLS, &[account("daemon", 1, json!("/bin/false"))], &whole());
    assert_eq!((pass.outcome, pass.note.as_str()), (Outcome::Pass, ""));
}

#[test]
fn a_row_without_an_id_is_unknown() {
    let result = one(SHELLS, &[("account", json!({"uid": 1, "shell": "/bin/false", "name": "x"}))], &whole());
    assert_eq!(unknown(&result), [(None, "the row has no id")]);
}

const SECOND_FACTOR: &str = r#"
- id: mfa-enrolled
  item: mfa_user_enrolled
  population: user
  pass: if $lacking.known then $lacking.row == null else null end
  says: "{login} has no second factor"
  requires: organization
  join:
    lacking: {with: without_2fa, on: .login}
- id: factors
  item: mfa_user_enrolled
  population: user
  pass: $factors.rows | any(.active)
  says: "{login} has no active factor"
  join:
    factors: {with: factor, on: .login, key: .user, many: true}
"#;

fn people() -> Vec<(&'static str, Value)> {
    let user = |login: &str| ("user", json!({"id": login, "login": login}));
    let factor = |id: &str, login: &str, active: bool| ("factor", json!({"id": id, "user": login, "active": active}));
    vec![
        user("ada"),
        factor("1", "ada", false),
        ("without_2fa", json!({"id": "bob", "login": "bob"})),
        user("bob"),
        factor("2", "ada", true),
        ("organization", json!({"id": "acme"})),
    ]
}

fn all_whole() -> BTreeMap<String, Population> {
    populations(["user", "factor", "without_2fa", "organization"].map(|kind| (kind, Population::Whole)))
}

#[test]
fn joins_find_rows_by_key_in_any_order_of_kinds() {
    let mut rows = people();
    for _ in 0..2 {
        let results = run(SECOND_FACTOR, Value::Null, &rows, &all_whole());
        for check in &results.checks {
            assert_eq!(fail(check).len(), 1, "{check:?}");
            assert_eq!(fail(check)[0].id.as_deref(), Some("bob"));
            assert_eq!(pass(check), ["ada"]);
        }
        rows.reverse();
    }
}

#[test]
fn a_joined_or_required_list_that_is_not_whole_makes_every_row_unknown() {
    for (kind, check) in [("without_2fa", 0), ("organization", 0), ("factor", 1)] {
        for state in [Some(Population::Cut("c".into())), Some(Population::Unread("u".into())), None] {
            let mut populations = all_whole();
            match &state {
                Some(state) => populations.insert(kind.into(), state.clone()),
                None => populations.remove(kind),
            };
            let result = &run(SECOND_FACTOR, Value::Null, &people(), &populations).checks[check];
            assert_eq!((result.pass, result.fail, result.unknown), (0, 0, 2), "{kind} {state:?}");
            let unknown = unknown(result).0;
            assert!(unknown[0].reason.contains(kind), "{}", unknown[0].reason);
        }
    }
}

#[test]
fn an_absent_joined_list_is_known_to_hold_nothing() {
    let mut populations = all_whole();
    populations.insert("without_2fa".into(), Population::Absent("everyone must have one".into()));
    let rows: Vec<_> = people().into_iter().filter(|(kind, _)| *kind != "without_2fa").collect();
    let result = &run(SECOND_FACTOR, Value::Null, &rows, &populations).checks[0];
    assert_eq!((result.pass, result.outcome), (2, Outcome::Pass));
}

#[test]
fn ambiguous_and_missing_keys_are_unknown() {
    let mut rows = people();
    rows.push(("without_2fa", json!({"id": "bob-2", "login": "bob"})));
    let result = run(SECOND_FACTOR, Value::Null, &rows, &all_whole()).checks.remove(0);
    assert_eq!(unknown(&result), [(Some("bob"), "join `lacking`: 2 rows of `without_2fa` have the key \"bob\"")]);

    rows = people();
    rows.push(("user", json!({"id": "eve"})));
    let result = run(SECOND_FACTOR, Value::Null, &rows, &all_whole()).checks.remove(0);
    assert_eq!(unknown(&result), [(Some("eve"), "join `lacking`: `.login` is not known")]);

    rows = people();
    rows.push(("without_2fa", json!({"id": "nobody"})));
    let result = run(SECOND_FACTOR, Value::Null, &rows, &all_whole()).checks.remove(0);
    assert_eq!((result.pass, result.fail, result.unknown), (0, 0, 2));
    assert_eq!(unknown(&result).0[0].reason, "join `lacking`: a row of the joined kind has no key");
}

#[test]
fn the_same_rows_give_the_same_bytes_and_are_read_back() {
    let bytes = || run(SECOND_FACTOR, json!({"b": 1, "a": 2}), &people(), &all_whole()).to_bytes();
    assert_eq!(bytes(), bytes());
    let results = Results::from_bytes(&bytes()).unwrap();
    assert_eq!(results.to_bytes(), bytes());
    assert_eq!(results.totals(), Counts { pass: 2, fail: 2, ..Counts::default() });
    let text = String::from_utf8(bytes()).unwrap();
    assert!(Results::from_bytes(text.replacen("\"pass\"", "\"passes\"", 1).as_bytes()).is_err());
    assert!(Results::from_bytes(text.replace("evidenced-results/1", "evidenced-results/2").as_bytes()).is_err());
}

#[test]
fn parameters_other_than_a_mapping_are_refused() {
    assert!(matches!(Evaluator::new(&[], &json!([1])), Err(CheckError::Parameters(_))));
}

#[test]
fn an_unset_parameter_is_unknown_and_not_exempt() {
    let yaml = SHELLS.replace("  parameters: {service_logins: [sync]}\n", "");
    let result = one(&yaml, &[account("sync", 4, json!("/bin/false"))], &whole());
    assert_eq!((result.unknown, result.exempt, result.pass), (1, 0, 0));
}

#[test]
fn a_dropped_evaluator_ends_its_thread() {
    let mut evaluator = Evaluator::new(&parse_checks(SHELLS).unwrap(), &Value::Null).unwrap();
    evaluator.record("account", &json!({"id": "x"}));
    drop(evaluator);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        "[a-c/]{0,3}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({"x": [null]})),
    ]
}

fn any_population() -> impl Strategy<Value = Option<Population>> {
    prop_oneof![
        Just(None),
        Just(Some(Population::Whole)),
        Just(Some(Population::Cut("c".into()))),
        Just(Some(Population::Unread("u".into()))),
        Just(Some(Population::Absent("a".into()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the records: null never passes, every row of the population is counted once, and only a whole list passes.
    #[test]
    fn nothing_passes_by_default(
        rows in prop::collection::vec((any_value(), any_value(), any_value(), any_value()), 0..12),
        population in any_population(),
    ) {
        let yaml = "[{id: c, item: linux_host_access, population: row | .in, exempt: .exempt, pass: .ok, says: '{ok}'}]";
        let mut evaluator = Evaluator::new(&parse_checks(yaml).unwrap(), &Value::Null).unwrap();
        for (at, (inside, exempt, ok, id)) in rows.iter().enumerate() {
            let id = if id.is_null() { Value::Null } else { json!(at.to_string()) };
            evaluator.record("row", &json!({"id": id, "in": inside, "exempt": exempt, "ok": ok}));
        }
        let list = population.iter().map(|p| ("row".to_owned(), p.clone())).collect();
        let result = evaluator.finish(&list).checks.remove(0);

        let inside = rows.iter().filter(|row| row.0 != json!(false)).count() as u64;
        prop_assert_eq!(result.population.size, inside);
        let unread = match population {
            Some(Population::Whole) => 0,
            Some(Population::Absent(_)) => u64::from(inside > 0),
            _ => 1,
        };
        prop_assert_eq!(result.pass + result.fail + result.unknown + result.exempt, inside + unread);
        prop_assert_eq!(result.not_applicable, u64::from(inside == 0 && matches!(population, Some(Population::Absent(_)))));
        for id in result.rows.pass() {
            let row = &rows[id.parse::<usize>().unwrap()];
            prop_assert_eq!((&row.0, &row.1, &row.2), (&json!(true), &json!(false), &json!(true)));
        }
        if result.outcome == Outcome::Pass {
            prop_assert_eq!(population, Some(Population::Whole));
            prop_assert!(result.pass > 0 && result.fail + result.unknown == 0);
        }
        let totals = (result.rows.pass().count(), result.rows.fail().count(), result.rows.unknown().count(), result.rows.exempt().count());
        prop_assert_eq!(totals.0 as u64, result.pass);
        prop_assert_eq!(totals.1 as u64, result.fail);
        prop_assert_eq!(totals.2 as u64, result.unknown);
        prop_assert_eq!(totals.3 as u64, result.exempt);
    }
}
