//! `host/privileged-changes`: a derived job that compares two sealed lists of accounts, of today and of the day before. It asks the host
//! nothing, and never takes a list that is not whole for the absence of an account.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::{
    contract::{
        Answer, BoxFuture, CollectError, Collector, Context, Evidence, Exchange, Input, Need, NeedKind, Pick,
        Population, Record, Records, Spec,
    },
    recorder::Draft,
};

const KIND: &str = "privileged_change";
const ACCOUNTS: &str = "host/accounts";
const ACCOUNT: &str = "account";
const NOW: &str = "now";
const BEFORE: &str = "before";

const CHECKS: &str = r#"
- id: privileged-access-unchanged
  item: privileged_access_trend
  population: privileged_change
  pass: .unchanged
  says: "{name}: {change} (since {before_at})"
  unknown: "{name}: whether its privileges changed is not known: {change}"
"#;

/// Changes of privileged access from one day to the next.
pub struct PrivilegedChanges {
    spec: Spec,
}

impl Default for PrivilegedChanges {
    fn default() -> Self {
        let input = |name: &str, pick, hours: u64| Input {
            name: name.into(),
            collector: ACCOUNTS.into(),
            kind: ACCOUNT.into(),
            pick,
            max_age: Duration::from_secs(hours * 3600),
        };
        let spec = Spec {
            id: "host/privileged-changes".into(),
            version: 1,
            title: "Privileged access of every account that can log in, against the day before".into(),
            source: "host".into(),
            // After the first reading of the day.
            schedule: "40 0 * * *".into(),
            deadline: Duration::from_secs(300),
            needs: vec![Need {
                kind: NeedKind::Right,
                what: "sealed bundles of host/accounts, of today and of an earlier day".into(),
                why: "without either, whether anything changed is unknown".into(),
                cells: Vec::new(),
            }],
            kinds: vec![KIND.into()],
            checks: CHECKS.into(),
            inputs: vec![input(NOW, Pick::Newest, 26), input(BEFORE, Pick::DayBefore, 50)],
            window: None,
        };
        Self { spec }
    }
}

impl Collector for PrivilegedChanges {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn collect<'a>(&'a self, context: &'a mut Context<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async { Ok(keep_inputs(&self.spec.inputs, context)?) })
    }

    fn derive(&self, evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
        derive(evidence, out)
    }
}

/// Each input becomes an exchange: the other bundle's records, or why there are none.
fn keep_inputs(wanted: &[Input], context: &mut Context<'_>) -> io::Result<()> {
    let inputs = std::mem::take(&mut context.inputs);
    for input in wanted {
        let found = inputs.iter().find(|bundle| bundle.name == input.name);
        let pick = match input.pick {
            Pick::Newest => "newest",
            Pick::DayBefore => "day_before",
        };
        let request = json!({"name": input.name, "collector": input.collector, "kind": input.kind, "pick": pick});
        let mut draft = Draft::new("input", request, "this agent", (context.now)());
        let body = match found.map(|bundle| &bundle.found) {
            Some(Ok(found)) => {
                draft.request["bundle"] = json!(found.bundle);
                draft.request["sha256"] = json!(found.sha256);
                draft.request["ended_at"] = json!(found.ended_at.to_rfc3339_opts(SecondsFormat::Millis, true));
                draft.request["outcome"] = json!(found.outcome);
                draft.request["population"] = serde_json::to_value(&found.population)?;
                draft.answer = Answer::Ok;
                draft.detail = format!("{} bytes of records", found.records.len());
                draft.end = Some("end of sealed records".into());
                Some(found.records.as_slice())
            }
            Some(Err(why)) => {
                draft.answer = Answer::Missing;
                draft.detail = why.clone();
                None
            }
            None => {
                draft.answer = Answer::Missing;
                draft.detail = "the agent gave no such input".into();
                None
            }
        };
        context.recorder.record(draft, "jsonl", body)?;
    }
    context.inputs = inputs;
    Ok(())
}

/// One of the two lists.
struct Listed {
    exchange: u64,
    at: Option<String>,
    rows: BTreeMap<String, Account>,
    /// Why it may not be the whole list.
    cut: Option<String>,
}

struct Account {
    as_of: Option<DateTime<Utc>>,
    uid: Value,
    login_shell: Option<bool>,
    privileged: Option<bool>,
    by: BTreeSet<String>,
    groups: Option<BTreeSet<String>>,
}

fn derive(evidence: &dyn Evidence, out: &mut dyn Records) -> io::Result<()> {
    let (mut now, mut before) =
        (Err("input now: was not asked for".to_string()), Err("input before: was not asked for".to_string()));
    for exchange in evidence.exchanges() {
        let exchange = exchange?;
        match (exchange.operation.as_str(), exchange.request["name"].as_str()) {
            ("input", Some(NOW)) => now = listed(evidence, &exchange)?,
            ("input", Some(BEFORE)) => before = listed(evidence, &exchange)?,
            _ => {}
        }
    }
    let now = match now {
        Ok(now) => now,
        Err(why) => {
            out.population(KIND, Population::Unread(why));
            return Ok(());
        }
    };
    let mut cut: Vec<String> = now.cut.iter().cloned().collect();
    match &before {
        Ok(before) => cut.extend(before.cut.iter().cloned()),
        Err(why) => cut.push(why.clone()),
    }
    let before = before.ok();
    let earlier = before.iter().flat_map(|before| before.rows.keys());
    let names: BTreeSet<&String> = now.rows.keys().chain(earlier).collect();
    for name in names {
        let pair = Pair { now: Side::of(name, Some(&now)), before: Side::of(name, before.as_ref()) };
        let Some(newest) = pair.now.account.or(pair.before.account) else { continue };
        let sides = [pair.now.account, pair.before.account];
        let matters = |account: &&Account| account.login_shell != Some(false) || account.privileged != Some(false);
        if !sides.iter().flatten().any(matters) {
            continue;
        }
        let mut fields = Map::new();
        fields.insert("name".into(), json!(name));
        fields.insert("uid".into(), newest.uid.clone());
        fields.insert("login_shell".into(), json!(newest.login_shell));
        fields.insert("before_at".into(), json!(before.as_ref().and_then(|before| before.at.as_ref())));
        fields.insert("in_before".into(), json!(pair.before.there));
        fields.insert("in_now".into(), json!(pair.now.there));
        fields.insert("privileged_before".into(), json!(pair.before.privileged()));
        fields.insert("privileged_now".into(), json!(pair.now.privileged()));
        let (gained, lost) = difference(pair.before.groups(), pair.now.groups());
        fields.insert("groups_gained".into(), json!(gained));
        fields.insert("groups_lost".into(), json!(lost));
        let (gained, lost) = difference(pair.before.by(), pair.now.by());
        fields.insert("paths_gained".into(), json!(gained));
        fields.insert("paths_lost".into(), json!(lost));
        fields.insert("unchanged".into(), json!(pair.unchanged()));
        fields.insert("change".into(), json!(pair.in_words(gained.as_deref(), lost.as_deref())));
        out.record(KIND, Record { id: name.clone(), as_of: newest.as_of, exchange: now.exchange, fields })?;
    }
    out.population(KIND, if cut.is_empty() { Population::Whole } else { Population::Cut(cut.join("; ")) });
    Ok(())
}

/// An account on one of the two days.
struct Side<'a> {
    account: Option<&'a Account>,
    /// `None`: the list is missing, or not whole and without it.
    there: Option<bool>,
}

impl<'a> Side<'a> {
    fn of(name: &str, listed: Option<&'a Listed>) -> Self {
        let account = listed.and_then(|listed| listed.rows.get(name));
        let there = match (account, listed) {
            (Some(_), _) => Some(true),
            (None, Some(listed)) if listed.cut.is_none() => Some(false),
            (None, _) => None,
        };
        Self { account, there }
    }

    /// Who is not there is not privileged.
    fn privileged(&self) -> Option<bool> {
        match (self.there, self.account) {
            (Some(false), _) => Some(false),
            (_, Some(account)) => account.privileged,
            _ => None,
        }
    }

    fn by(&self) -> Option<BTreeSet<String>> {
        match (self.there, self.account) {
            (Some(false), _) => Some(BTreeSet::new()),
            (_, Some(account)) => account.privileged.map(|_| account.by.clone()),
            _ => None,
        }
    }

    fn groups(&self) -> Option<BTreeSet<String>> {
        match (self.there, self.account) {
            (Some(false), _) => Some(BTreeSet::new()),
            (_, Some(account)) => account.groups.clone(),
            _ => None,
        }
    }
}

struct Pair<'a> {
    now: Side<'a>,
    before: Side<'a>,
}

impl Pair<'_> {
    /// Whether the account is privileged as before, by the same paths.
    fn unchanged(&self) -> Option<bool> {
        match (self.before.privileged(), self.now.privileged()) {
            (Some(before), Some(now)) => Some(before == now && self.before.by() == self.now.by()),
            _ => None,
        }
    }

    fn in_words(&self, gained: Option<&[String]>, lost: Option<&[String]>) -> String {
        let mut words: Vec<String> = Vec::new();
        match (self.before.there, self.now.there) {
            (Some(false), Some(true)) => words.push("is new".into()),
            (Some(true), Some(false)) => words.push("is gone".into()),
            _ => {}
        }
        match (self.before.privileged(), self.now.privileged()) {
            (Some(false), Some(true)) => words.push("is privileged now".into()),
            (Some(true), Some(false)) => words.push("is no longer privileged".into()),
            (None, _) => words.push("whether it was privileged before is not known".into()),
            (_, None) => words.push("whether it is privileged now is not known".into()),
            _ => {}
        }
        let list = |verb: &str, paths: Option<&[String]>| {
            paths.filter(|paths| !paths.is_empty()).map(|paths| format!("{verb} {}", paths.join(", ")))
        };
        words.extend(list("gained", gained));
        words.extend(list("lost", lost));
        if words.is_empty() { "no change".into() } else { words.join("; ") }
    }
}

fn difference(
    before: Option<BTreeSet<String>>,
    now: Option<BTreeSet<String>>,
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let (Some(before), Some(now)) = (before, now) else { return (None, None) };
    (Some(now.difference(&before).cloned().collect()), Some(before.difference(&now).cloned().collect()))
}

/// The list that an exchange kept, or why there is none.
fn listed(evidence: &dyn Evidence, exchange: &Exchange) -> io::Result<Result<Listed, String>> {
    let name = exchange.request["name"].as_str().unwrap_or_default();
    let of = exchange.request["bundle"].as_str().map_or_else(String::new, |bundle| format!(" ({bundle})"));
    if exchange.answer != Answer::Ok {
        return Ok(Err(format!("input {name}: {}", exchange.detail)));
    }
    let mut cut = match serde_json::from_value(exchange.request["population"].clone()) {
        Ok(Population::Whole) => Vec::new(),
        Ok(Population::Cut(why)) => vec![format!("input {name}{of}: {why}")],
        Ok(Population::Unread(why) | Population::Absent(why)) => return Ok(Err(format!("input {name}{of}: {why}"))),
        Err(error) => return Ok(Err(format!("input {name}{of}: its population cannot be read: {error}"))),
    };
    let mut rows = BTreeMap::new();
    for (index, line) in String::from_utf8_lossy(&evidence.body(exchange)?).lines().enumerate() {
        match serde_json::from_str(line).ok().as_ref().and_then(account) {
            Some((id, account)) => {
                rows.insert(id, account);
            }
            None => cut.push(format!("input {name}{of}: line {} is no account", index + 1)),
        }
    }
    Ok(Ok(Listed {
        exchange: exchange.number,
        at: exchange.request["ended_at"].as_str().map(String::from),
        rows,
        cut: (!cut.is_empty()).then(|| cut.join("; ")),
    }))
}

fn account(row: &Value) -> Option<(String, Account)> {
    let strings = |value: &Value| -> Option<BTreeSet<String>> {
        value.as_array()?.iter().map(|item| item.as_str().map(String::from)).collect()
    };
    let id = row["id"].as_str()?;
    let account = Account {
        as_of: row["as_of"].as_str().and_then(|text| text.parse().ok()),
        uid: row["uid"].clone(),
        login_shell: row["login_shell"].as_bool(),
        privileged: row["privileged"].as_bool(),
        by: strings(&row["privileged_by"]).unwrap_or_default(),
        groups: strings(&row["groups"]),
    };
    Some((id.into(), account))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        contract::{FoundBundle, InputBundle},
        recorder::{Recorder, WorkEvidence},
        testing::{MemoryRecords, system_now},
    };

    fn row(name: &str, shell: bool, privileged: Value, by: &[&str], groups: &[&str]) -> String {
        let row = json!({"id": name, "as_of": "2026-11-22T00:10:00Z", "exchange": 3, "uid": 1000, "login_shell": shell,
            "privileged": privileged, "privileged_by": by, "groups": groups});
        format!("{row}\n")
    }

    fn found(name: &str, records: &str, population: Population) -> InputBundle {
        let found = FoundBundle {
            bundle: format!("bundle/{name}.zip"),
            sha256: "ab".repeat(32),
            ended_at: "2026-11-21T00:11:00Z".parse().unwrap(),
            outcome: "collected".into(),
            records: records.into(),
            population,
        };
        InputBundle { name: name.into(), found: Ok(found) }
    }

    fn whole(name: &str, records: &str) -> InputBundle {
        found(name, records, Population::Whole)
    }

    fn missing(name: &str) -> InputBundle {
        InputBundle { name: name.into(), found: Err("no bundle of an earlier day is logged".into()) }
    }

    /// Through the agent's way: kept as exchanges, read back, derived.
    fn compare(inputs: Vec<InputBundle>) -> (MemoryRecords, Vec<Exchange>) {
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let collector = PrivilegedChanges::default();
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs, window: None };
        keep_inputs(&collector.spec.inputs, &mut context).unwrap();
        let evidence = WorkEvidence::new(work.path());
        let mut records = MemoryRecords::default();
        collector.derive(&evidence, &mut records).unwrap();
        (records, evidence.exchanges().map(Result::unwrap).collect())
    }

    fn change(before: &str, now: &str) -> Value {
        let (records, _) = compare(vec![whole(BEFORE, before), whole(NOW, now)]);
        assert_eq!(records.populations[KIND], Population::Whole);
        records.get(KIND, "alice")
    }

    #[test]
    fn without_todays_list_nothing_is_known() {
        for inputs in [vec![], vec![missing(NOW), whole(BEFORE, "")]] {
            let (records, exchanges) = compare(inputs);
            assert!(matches!(&records.populations[KIND], Population::Unread(why) if why.starts_with("input now: ")));
            assert_eq!((records.of(KIND).len(), exchanges[0].answer, exchanges.len()), (0, Answer::Missing, 2));
        }
        for population in [Population::Unread("denied".into()), Population::Absent("none".into())] {
            let (records, _) = compare(vec![found(NOW, "", population), whole(BEFORE, "")]);
            assert!(matches!(&records.populations[KIND], Population::Unread(_)));
        }
    }

    #[test]
    fn without_the_day_before_every_account_is_unknown() {
        let (records, _) = compare(vec![whole(NOW, &row("alice", true, json!(false), &[], &["a"])), missing(BEFORE)]);
        let Population::Cut(why) = &records.populations[KIND] else { panic!("{records:?}") };
        assert_eq!(why, "input before: no bundle of an earlier day is logged");
        let alice = records.get(KIND, "alice");
        assert_eq!(
            (&alice["unchanged"], &alice["in_before"], &alice["groups_gained"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
    }

    #[test]
    fn an_account_that_a_cut_list_lacks_may_have_been_there() {
        let now = row("alice", true, json!(true), &["group sudo"], &["sudo"]);
        let cut = found(BEFORE, "", Population::Cut("sss".into()));
        let (records, _) = compare(vec![whole(NOW, &now), cut]);
        assert_eq!(records.get(KIND, "alice")["unchanged"], Value::Null);
        assert!(matches!(&records.populations[KIND], Population::Cut(why) if why.contains("bundle/before.zip")));
    }

    #[test]
    fn a_row_that_is_no_account_cuts_the_list() {
        for broken in ["{\"id\": 1}\n", "half", "[]\n", "\n"] {
            let (records, _) = compare(vec![whole(NOW, broken), whole(BEFORE, "")]);
            assert!(matches!(&records.populations[KIND], Population::Cut(why) if why.contains("line 1")), "{broken}");
        }
    }

    #[test]
    fn a_gained_and_a_lost_privilege_are_named() {
        let plain = row("alice", true, json!(false), &[], &["alice"]);
        let sudo = row("alice", true, json!(true), &["group sudo"], &["alice", "sudo"]);
        let gained = change(&plain, &sudo);
        assert_eq!((&gained["unchanged"], &gained["groups_gained"]), (&json!(false), &json!(["sudo"])));
        assert_eq!(gained["change"], json!("is privileged now; gained group sudo"));
        let lost = change(&sudo, &plain);
        assert_eq!(lost["change"], json!("is no longer privileged; lost group sudo"));
        let other = change(&sudo, &row("alice", true, json!(true), &["group docker"], &["alice", "docker"]));
        assert_eq!(
            (&other["unchanged"], &other["change"]),
            (&json!(false), &json!("gained group docker; lost group sudo"))
        );
    }

    #[test]
    fn a_new_account_is_a_change_only_with_a_privilege() {
        let plain = change("", &row("alice", true, json!(false), &[], &["alice"]));
        assert_eq!((&plain["unchanged"], &plain["in_before"]), (&json!(true), &json!(false)));
        let new = change("", &row("alice", false, json!(true), &["uid 0"], &[]));
        assert_eq!(
            (&new["unchanged"], &new["change"]),
            (&json!(false), &json!("is new; is privileged now; gained uid 0"))
        );
        let gone = change(&row("alice", true, json!(true), &["uid 0"], &[]), "");
        assert_eq!((&gone["unchanged"], &gone["in_now"]), (&json!(false), &json!(false)));
    }

    #[test]
    fn unknown_on_either_day_is_unknown() {
        let (known, unknown) =
            (row("alice", true, json!(true), &["uid 0"], &[]), row("alice", true, Value::Null, &[], &[]));
        assert_eq!(change(&known, &unknown)["unchanged"], Value::Null);
        assert_eq!(change(&unknown, &known)["unchanged"], Value::Null);
    }

    #[test]
    fn accounts_that_cannot_log_in_and_have_no_privilege_are_left_out() {
        let daemon = row("daemon", false, json!(false), &[], &[]);
        assert_eq!(compare(vec![whole(NOW, &daemon), whole(BEFORE, &daemon)]).0.of(KIND).len(), 0);
    }

    #[test]
    fn an_input_is_kept_with_the_bundle_that_it_comes_from() {
        let records = row("alice", true, json!(false), &[], &[]);
        let (_, exchanges) = compare(vec![whole(NOW, &records), whole(BEFORE, "")]);
        let request = json!({"name": "now", "collector": "host/accounts", "kind": "account", "pick": "newest",
            "bundle": "bundle/now.zip", "sha256": "ab".repeat(32), "ended_at": "2026-11-21T00:11:00.000Z",
            "outcome": "collected", "population": {"state": "whole"}});
        assert_eq!((&exchanges[0].request, exchanges[0].bytes), (&request, records.len() as u64));
        assert_eq!(exchanges[1].request["pick"], json!("day_before"));
    }

    proptest::proptest! {
        #[test]
        fn deriving_never_panics_on_any_records(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
            name in "[a-z\"{}]{0,3}",
            population in r#"\{"state": ?"(whole|cut|unread|odd)"(, ?"reason": ?"x")?\}"#,
        ) {
            let rows = [bytes, row(&name, true, json!(true), &[], &[]).into_bytes()].concat();
            let mut evidence = crate::testing::FakeEvidence::new();
            for input in [NOW, BEFORE] {
                let request = json!({"name": input, "population": serde_json::from_str::<Value>(&population).unwrap()});
                evidence = evidence.add("input", request, Answer::Ok, "", None, rows.clone());
            }
            let mut records = MemoryRecords::default();
            derive(&evidence, &mut records).unwrap();
            proptest::prop_assert!(population.contains("whole") || records.populations[KIND] != Population::Whole);
        }
    }
}
