//! What a fault may do to a run: take away what is known, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::estate::{Bundle, Collected};

/// Members of records that differ between two sound runs: ages, and what a simulator makes up each time.
pub type Restless = BTreeSet<(String, String)>;

/// How a run under a fault differs from the sound one.
#[derive(Debug, Default)]
pub struct Change {
    /// What must never be: a pass or a failure that the sound run did not have, a row that is gone without a word, a member with another
    /// value than the sound run's.
    pub wrong: Vec<String>,
    /// What is not known any more: rows, how many there are, members of records.
    pub lost: Vec<String>,
}

/// Compares a run with the sound one of the same collector.
pub fn change(sound: &Bundle, now: &Bundle, restless: &Restless) -> Change {
    let mut change = Change::default();
    let collector = sound.collector();
    for id in sound.checks.keys() {
        let state = |bundle: &Bundle| -> String {
            bundle.checks.get(id).and_then(|c| c["population"]["state"].as_str()).unwrap_or("gone").to_owned()
        };
        let (known, state) = (state(sound) == "whole", state(now));
        if known && state != "whole" {
            change.lost.push(format!("{id}: its population is {state}"));
        }
        let unknown = now.rows(id, "unknown");
        if unknown.difference(&sound.rows(id, "unknown")).next().is_some() {
            change.lost.push(format!("{id}: more rows are unknown"));
        }
        for how in ["pass", "fail"] {
            let (before, after) = (sound.rows(id, how), now.rows(id, how));
            for row in after.difference(&before) {
                change.wrong.push(format!("{collector} {id}: {row} is a {how}, and was none before"));
            }
            for row in before.difference(&after).filter(|row| !unknown.contains(*row) && state == "whole") {
                change.wrong.push(format!("{collector} {id}: {row} was a {how} and is gone, of a list that is whole"));
            }
        }
    }
    for (kind, records) in &sound.records {
        let (before, after) = (by_id(records), by_id(now.records(kind)));
        let whole = |bundle: &Bundle| bundle.population(kind) == "whole";
        if whole(sound) && whole(now) && before.keys().ne(after.keys()) {
            change.wrong.push(format!("{collector}: other records of {kind}, which is whole"));
        } else if whole(sound) && !whole(now) {
            change.lost.push(format!("{kind} is {}", now.population(kind)));
        }
        for (id, record) in before {
            for (member, value) in
                record.iter().filter(|(member, _)| !restless.contains(&(kind.clone(), (*member).clone())))
            {
                match after.get(id).map(|now| &now[member]) {
                    None => {}
                    Some(now) if same(value, now) => {}
                    Some(_) if EXPLAINING.contains(&member.as_str()) => {}
                    Some(now)
                        if is_part(now, value) && after.get(id).is_some_and(|now| says_that_it_is_a_part(now)) =>
                    {
                        change.lost.push(format!("{kind} {id}: {member} is of what could be read"));
                    }
                    Some(Value::Null) => change.lost.push(format!("{kind} {id}: {member} is not known")),
                    Some(now) => {
                        change.wrong.push(format!("{collector} {kind} {id}: {member} was {value} and is {now}"))
                    }
                }
            }
        }
    }
    change
}

/// Members that say, to a person, that another is not known, and why.
const EXPLAINING: [&str; 7] = ["why", "not_known", "not_read", "alias_text", "scan", "complete", "known"];

/// Whether a list has something, and nothing that the other has not.
fn is_part(now: &Value, before: &Value) -> bool {
    match (now.as_array(), before.as_array()) {
        (Some(now), Some(before)) => !now.is_empty() && now.iter().all(|one| before.contains(one)),
        _ => false,
    }
}

/// Whether a record says of itself that its lists are of what could be read.
fn says_that_it_is_a_part(record: &Map<String, Value>) -> bool {
    let of = |name: &str| record.get(name).cloned().unwrap_or_default();
    of("complete") == false
        || of("known") == false
        || of("not_read").as_array().is_some_and(|unread| !unread.is_empty())
}

/// Whether two values are the same, but for the minutes by which an age grew.
fn same(before: &Value, now: &Value) -> bool {
    match (before.as_f64(), now.as_f64()) {
        (Some(before), Some(now)) => (before - now).abs() < 0.5,
        _ => before == now,
    }
}

fn by_id(records: &[Map<String, Value>]) -> BTreeMap<&str, &Map<String, Value>> {
    records.iter().filter_map(|record| Some((record["id"].as_str()?, record))).collect()
}

/// The members that differ between two sound runs, and those that say where a record comes from.
pub fn restless(one: &Collected, other: &Collected) -> Restless {
    let mut found = Restless::new();
    for (collector, bundle) in &one.bundles {
        for (kind, records) in &bundle.records {
            found.extend(["exchange", "as_of"].map(|member| (kind.clone(), member.to_owned())));
            let after = by_id(other.of(collector).records(kind));
            for (id, record) in by_id(records) {
                let now =
                    after.get(id).unwrap_or_else(|| panic!("{collector} {kind} {id} is not there the second time"));
                found.extend(
                    record
                        .iter()
                        .filter(|(member, value)| now[*member] != **value)
                        .map(|(m, _)| (kind.clone(), m.clone())),
                );
            }
        }
    }
    found
}

/// The operations that each collector asked, without those by which every run finds out where it may ask.
pub fn operations(collected: &Collected) -> BTreeMap<String, BTreeSet<String>> {
    let of = |bundle: &Bundle| -> BTreeSet<String> {
        let asked = bundle
            .exchanges
            .iter()
            .filter(|e| !e["request"]["request"].as_str().unwrap_or("scope").starts_with("scope"));
        asked.filter_map(|exchange| exchange["operation"].as_str().map(str::to_owned)).collect()
    };
    collected.bundles.iter().map(|(collector, bundle)| (collector.clone(), of(bundle))).collect()
}

/// Groups of things such that no collector meets two of a group: each group can be tried in one run.
pub fn apart(users: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut groups: Vec<(Vec<String>, BTreeSet<&String>)> = Vec::new();
    let mut by_size: Vec<_> = users.iter().collect();
    by_size.sort_by_key(|(_, collectors)| std::cmp::Reverse(collectors.len()));
    for (thing, collectors) in by_size {
        match groups.iter_mut().find(|(_, met)| collectors.iter().all(|collector| !met.contains(collector))) {
            Some((things, met)) => {
                things.push(thing.clone());
                met.extend(collectors);
            }
            None => groups.push((vec![thing.clone()], collectors.iter().collect())),
        }
    }
    groups.into_iter().map(|(things, _)| things).collect()
}
