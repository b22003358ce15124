//! Every change within a period, with its reason: of controls documents, each compared with the one before, and of plans, as verification
//! found them. Whether a change lowers what is looked at is said only where it can be told.

use std::collections::{BTreeMap, BTreeSet};

use controls::{Control, ControlSet, ScopedJob, TreatmentSet};
use serde_json::Value;
use signing::{
    slots::{Change, PlanChange},
    time::Utc,
};

use crate::{
    in_force::{InForce, Put},
    model::{ChangeEntry, ChangeKind},
};

/// What changed within `[from, to)`, in order.
pub fn changes(in_force: &InForce, plans: &[PlanChange], from: Utc, to: Utc) -> Vec<ChangeEntry> {
    let within = |at: Utc| from <= at && at < to;
    let mut list: Vec<ChangeEntry> = plans.iter().filter(|change| within(change.at)).map(of_plan).collect();
    if let Some(first) = in_force.puts.first().filter(|put| put.document.is_some() && within(put.from)) {
        list.push(entry(
            first,
            ChangeKind::Control,
            "",
            ("the first controls document of the log".to_owned(), Some(false)),
        ));
    }
    for pair in in_force.puts.windows(2) {
        // Without documents the sets follow from the plans, whose changes are listed already.
        if pair[1].document.is_some() && within(pair[1].from) {
            list.extend(between(&pair[0].set, &pair[1]));
        }
    }
    list.sort_by_key(|change| (change.at, change.entry));
    list
}

fn of_plan(change: &PlanChange) -> ChangeEntry {
    let (subject, says) = match &change.change {
        Change::Added { job, schedule } => (job.to_string(), format!("it runs on a schedule now: {schedule}")),
        Change::Removed { job, schedule, because } => {
            let why = because.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            (job.to_string(), format!("its schedule, {schedule}, is no longer in force{why}"))
        }
        Change::Schedule { job, before, after } => (job.to_string(), format!("scheduled {after}, before {before}")),
        Change::Allowance { job, before_seconds, after_seconds } => (
            job.to_string(),
            format!("a slot is judged {after_seconds} seconds after its instant, before {before_seconds}"),
        ),
        Change::Checks { job } => (job.to_string(), "another version of its collector, or other checks".to_owned()),
        Change::Zone { zone } => (zone.clone(), "the zone has other offsets than the plan before said".to_owned()),
        Change::Paused { jobs } => (String::new(), format!("nothing is scheduled any more; {jobs} jobs were")),
        Change::Resumed { jobs } => (String::new(), format!("{jobs} jobs are scheduled again")),
    };
    let lowers = match &change.change {
        Change::Checks { .. } | Change::Zone { .. } => None,
        _ => Some(change.lowers),
    };
    let kind = if matches!(change.change, Change::Checks { .. }) { ChangeKind::Check } else { ChangeKind::Plan };
    ChangeEntry { at: change.at, entry: change.index, kind, subject, says, reason: change.reason.clone(), lowers }
}

fn entry(put: &Put, kind: ChangeKind, subject: &str, (says, lowers): (String, Option<bool>)) -> ChangeEntry {
    let (at, entry, reason) = (put.from, put.entry, put.set.reason.clone());
    ChangeEntry { at, entry, kind, subject: subject.to_owned(), says, reason, lowers }
}

/// How a set differs from the one before.
fn between(before: &ControlSet, put: &Put) -> Vec<ChangeEntry> {
    let after = &*put.set;
    let mut list = Vec::new();
    let mut add = |kind, subject: &str, says: String, lowers| list.push(entry(put, kind, subject, (says, lowers)));
    for (old, new) in pairs(&before.controls, &after.controls, |control| control.id.clone()) {
        match (old, new) {
            (None, Some(new)) => {
                let says = format!("it became a control, {}", plain(new.frequency.as_str()));
                add(ChangeKind::Control, &new.id, says, Some(false));
            }
            (Some(old), None) => {
                let off = after.switched_off.iter().find(|off| off.id == old.id);
                let why = off.map(|off| format!(": {}", off.reason)).unwrap_or_default();
                add(ChangeKind::Control, &old.id, format!("it is no control any more{why}"), Some(true));
            }
            (Some(old), Some(new)) => {
                for (says, lowers) in of_control(old, new) {
                    add(ChangeKind::Control, &new.id, says, lowers);
                }
            }
            (None, None) => {}
        }
    }
    for (old, new) in pairs(&before.scope, &after.scope, |scoped| scoped.job.clone()) {
        match (old, new) {
            (None, Some(new)) => {
                let says = match &new.off {
                    None => "it came into scope".to_owned(),
                    Some(why) => format!("it came into scope, switched off: {why}"),
                };
                add(ChangeKind::Scope, &new.job, says, Some(false));
            }
            (Some(old), None) => add(ChangeKind::Scope, &old.job, "it left the scope".to_owned(), Some(true)),
            (Some(old), Some(new)) => {
                match (&old.off, &new.off) {
                    (None, Some(why)) => {
                        add(ChangeKind::Scope, &new.job, format!("it was switched off: {why}"), Some(true));
                    }
                    (Some(_), None) => {
                        add(ChangeKind::Scope, &new.job, "it is switched on again".to_owned(), Some(false));
                    }
                    (Some(one), Some(other)) if one != other => {
                        add(ChangeKind::Scope, &new.job, format!("it is off for another reason: {other}"), Some(false));
                    }
                    _ => {}
                }
                for (says, lowers) in of_checks(old, new) {
                    add(ChangeKind::Check, &new.job, says, lowers);
                }
            }
            (None, None) => {}
        }
    }
    let names: BTreeSet<&String> = before.parameters.keys().chain(after.parameters.keys()).collect();
    for name in names {
        let says = match (before.parameters.get(name), after.parameters.get(name)) {
            (None, Some(new)) => format!("set to {new}"),
            (Some(old), None) => format!("not set any more, before {old}"),
            (Some(old), Some(new)) if old != new => format!("{new}, before {old}"),
            _ => continue,
        };
        add(ChangeKind::Parameter, name, says, None);
    }
    for (subject, says) in of_frameworks(before, after) {
        add(ChangeKind::Framework, &subject, says, None);
    }
    list
}

/// Both of each key, by key.
fn pairs<'a, T>(before: &'a [T], after: &'a [T], key: impl Fn(&T) -> String) -> Vec<(Option<&'a T>, Option<&'a T>)> {
    let mut all: BTreeMap<String, (Option<&T>, Option<&T>)> = BTreeMap::new();
    before.iter().for_each(|one| all.entry(key(one)).or_default().0 = Some(one));
    after.iter().for_each(|one| all.entry(key(one)).or_default().1 = Some(one));
    all.into_values().collect()
}

fn of_control(old: &Control, new: &Control) -> Vec<(String, Option<bool>)> {
    let mut list = Vec::new();
    if old.frequency != new.frequency {
        let says = format!("{}, before {}", plain(new.frequency.as_str()), plain(old.frequency.as_str()));
        list.push((says, lowers(old.frequency, new.frequency)));
    }
    if old.title != new.title {
        list.push((format!("it is called {:?}, before {:?}", new.title, old.title), None));
    }
    if old.statement != new.statement {
        list.push((format!("what is promised is now: {} Before: {}", new.statement, old.statement), None));
    }
    if old.owner != new.owner {
        list.push((format!("{} answers for it, before {}", named(&new.owner), named(&old.owner)), None));
    }
    if (&old.soc2, &old.hipaa) != (&new.soc2, &new.hipaa) {
        list.push(("it maps to other criteria, or more or less strongly".to_owned(), None));
    }
    let behind = |c: &Control| [&c.items, &c.checks, &c.only, &c.except].map(Clone::clone);
    if behind(old) != behind(new) {
        list.push(("other items or checks stand behind it".to_owned(), None));
    }
    if old.sources != new.sources {
        let all = |list: &[String]| if list.is_empty() { "all sources".to_owned() } else { list.join(", ") };
        let fewer = match (old.sources.is_empty(), new.sources.is_empty()) {
            (_, true) => false,
            (true, false) => true,
            _ => old.sources.iter().any(|source| !new.sources.contains(source)),
        };
        list.push((format!("it is about {}, before {}", all(&new.sources), all(&old.sources)), Some(fewer)));
    }
    if old.dated_by != new.dated_by {
        list.push(("its occurrences are dated by something else".to_owned(), None));
    }
    list
}

fn named(owner: &str) -> &str {
    if owner.is_empty() { "nobody named" } else { owner }
}

/// Whether a control has to operate less often; `None` where one of the two has no fixed time.
fn lowers(old: controls::Frequency, new: controls::Frequency) -> Option<bool> {
    use controls::Frequency::{Annual, AsNeeded, Automated, Daily, Monthly, PerEvent, Quarterly, SemiAnnual, Weekly};
    let days = |frequency| match frequency {
        Automated | Daily => Some(1),
        Weekly => Some(7),
        Monthly => Some(30),
        Quarterly => Some(91),
        SemiAnnual => Some(182),
        Annual => Some(365),
        PerEvent | AsNeeded => None,
    };
    match (days(old), days(new)) {
        (Some(old), Some(new)) => Some(new > old),
        _ if new == AsNeeded => Some(true),
        _ if old == AsNeeded => Some(false),
        _ => None,
    }
}

fn of_checks(old: &ScopedJob, new: &ScopedJob) -> Vec<(String, Option<bool>)> {
    let mut list = Vec::new();
    if old.version != new.version {
        list.push((format!("version {} of its collector, before {}", new.version, old.version), None));
    }
    let ids = |scoped: &ScopedJob| scoped.checks.iter().map(|check| check.id.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (ids(old), ids(new));
    list.extend(after.difference(&before).map(|id| (format!("it has the check {id} now"), Some(false))));
    list.extend(before.difference(&after).map(|id| (format!("it has the check {id} no more"), Some(true))));
    if old.checks_sha256 != new.checks_sha256 {
        if before == after {
            list.push(("the text or the parameters of its checks are others".to_owned(), None));
        } else if !before.is_disjoint(&after) {
            // One digest stands for all of them.
            let says = "whether the text or the parameters of the checks that stayed are others too, the document does not tell";
            list.push((says.to_owned(), None));
        }
    }
    list
}

fn of_frameworks(before: &ControlSet, after: &ControlSet) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut add = |subject: &str, says: String| list.push((subject.to_owned(), says));
    if before.frameworks != after.frameworks {
        let said = |set: &ControlSet| {
            let soc2: Vec<String> =
                set.frameworks.soc2.iter().map(|c| word(&serde_json::to_value(c).unwrap_or_default())).collect();
            let hipaa = set.frameworks.hipaa.map(|hipaa| {
                let proposals = if hipaa.proposals { " with proposed rules" } else { "" };
                format!("HIPAA as {}{proposals}", plain(hipaa.role.as_str()))
            });
            let soc2 = (!soc2.is_empty()).then(|| format!("SOC 2 {}", soc2.join(", ")));
            let all: Vec<String> = soc2.into_iter().chain(hipaa).collect();
            if all.is_empty() { "none".to_owned() } else { all.join("; ") }
        };
        add("frameworks", format!("{}, before {}", said(after), said(before)));
    }
    if before.period != after.period {
        let said = |period: &Option<(String, String)>| match period {
            Some((from, to)) => format!("{from} to {to}"),
            None => "none".to_owned(),
        };
        add("period", format!("{}, before {}", said(&after.period), said(&before.period)));
    }
    let ids: BTreeSet<&String> = before.treatments.keys().chain(after.treatments.keys()).collect();
    for id in ids.into_iter().filter(|id| before.treatments.get(*id) != after.treatments.get(*id)) {
        let said = |set: &ControlSet| match set.treatments.get(id) {
            None => "own".to_owned(),
            Some(TreatmentSet::CarvedOut { organisation, expected }) => {
                format!("carved out to {organisation}, of which is expected: {}", expected.join("; "))
            }
            Some(TreatmentSet::Inclusive { organisation }) => format!("inclusive of {organisation}"),
            Some(TreatmentSet::NotApplicable { reason }) => format!("not applicable: {reason}"),
        };
        add(id, format!("{}, before {}", said(after), said(before)));
    }
    if before.user_entity_controls != after.user_entity_controls {
        add("user entity controls", "others are expected of those who use the services".to_owned());
    }
    if before.vendor_expectations != after.vendor_expectations {
        add("vendor expectations", "vendors expect something else".to_owned());
    }
    list
}

/// A word of the format as people read it.
fn plain(word: &str) -> String {
    word.replace('_', " ")
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
