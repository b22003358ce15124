//! What a fault may do to a run: take away what is known, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};
use serde_json::{Map, Value};

use super::estate::{Bundle, Collected};

/// Members of records that differ between two sound runs: ages, and what a simulator makes up each time.
pub type Restless = BTreeSet<(String, String)>;

/// How a run under a fault differs from the sound one.
#[derive(Debug, Default)]
pub struct Change {
    /// What must never be: a row that passes, fails or is exempt and did not before, one that is gone without a word, an absence, a record
    /// that is new or has a member with another value.
    pub wrong: Vec<String>,
    /// What is not known any more: rows, how many there are, members of records.
    pub lost: Vec<String>,
}

/// Compares a run with the sound one of the same collector.
pub fn change(sound: &Bundle, now: &Bundle, restless: &Restless) -> Change {
    let mut change = Change::default();
    for id in sound.checks.keys() {
        check(id, sound, now, &mut change);
    }
    for kind in sound.records.keys() {
        records(kind, sound, now, restless, &mut change);
    }
    let collector = sound.collector();
    change.wrong.iter_mut().for_each(|what| *what = format!("{collector}: {what}"));
    change
}

fn check(id: &str, sound: &Bundle, now: &Bundle, change: &mut Change) {
    let state = |bundle: &Bundle| -> String {
        bundle.checks.get(id).and_then(|c| c["population"]["state"].as_str()).unwrap_or("gone").to_owned()
    };
    let (before, after) = (state(sound), state(now));
    if after == "absent" && before != "absent" {
        change.wrong.push(format!("{id}: its population is absent"));
    } else if before != after {
        change.lost.push(format!("{id}: its population is {after}"));
    }
    let unknown = now.rows(id, "unknown");
    if unknown.difference(&sound.rows(id, "unknown")).next().is_some() {
        change.lost.push(format!("{id}: more rows are unknown"));
    }
    for how in ["pass", "fail", "exempt"] {
        let (rows, known) = (sound.rows(id, how), now.rows(id, how));
        for row in known.difference(&rows) {
            change.wrong.push(format!("{id}: {row} is a {how}, and was none before"));
        }
        for row in rows.difference(&known).filter(|row| !unknown.contains(*row) && after == "whole") {
            change.wrong.push(format!("{id}: {row} was a {how} and is gone, of a list that is whole"));
        }
    }
}

fn records(kind: &str, sound: &Bundle, now: &Bundle, restless: &Restless, change: &mut Change) {
    let (before, after) = (by_id(sound.records(kind)), by_id(now.records(kind)));
    let (was, is) = (sound.population(kind), now.population(kind));
    for (id, record) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
        // Whether somebody is an administrator may be what is not known.
        let known = format!("{kind} {id} is new");
        if is != "whole" && says_that_it_is_a_part(record) { &mut change.lost } else { &mut change.wrong }.push(known);
    }
    if is == "absent" && was != "absent" {
        change.wrong.push(format!("{kind} is absent"));
    } else if was != is {
        change.lost.push(format!("{kind} is {is}"));
    }
    for (id, record) in before {
        let Some(now) = after.get(id) else {
            if is == "whole" {
                change.wrong.push(format!("{kind} {id} is gone, of a list that is whole"));
            }
            continue;
        };
        for (member, value) in record {
            let found = &now[member];
            if same(value, found)
                || EXPLAINING.contains(&member.as_str())
                || restless.contains(&(kind.to_owned(), member.clone()))
            {
                continue;
            }
            let known = format!("{kind} {id}: {member} was {value} and is {found}");
            let is_less = found.is_null() || is_part(found, value) && says_that_it_is_a_part(now);
            if is_less { &mut change.lost } else { &mut change.wrong }.push(known);
        }
    }
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

/// Whether two values are the same, but for the minutes by which an age grew, and for parts of a second: to be cut into pages, answers are
/// written anew.
fn same(before: &Value, now: &Value) -> bool {
    let instant = |value: &Value| DateTime::parse_from_rfc3339(value.as_str()?).ok();
    match (before.as_f64(), now.as_f64(), instant(before), instant(now)) {
        (Some(before), Some(now), ..) => (before - now).abs() < 0.5,
        (_, _, Some(before), Some(now)) => (before - now).abs() < TimeDelta::seconds(1),
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
