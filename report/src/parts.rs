//! A control's period in parts: stretches in which what was promised, how often, of which jobs and by which checks was the same.

use std::collections::BTreeMap;

use controls::{Control, ControlSet, DatedBy, Frequency, ScopedCheck};
use signing::{digest::Digest, layout::Job, time::Utc};

use crate::{
    in_force::{InForce, Put, left_out, scope},
    model::{OccurrenceCounts, Part},
};

/// What must be the same within a part.
#[derive(Debug, Clone, PartialEq)]
struct Terms {
    documented: bool,
    statement: String,
    frequency: Frequency,
    dated_by: Option<DatedBy>,
    scope: Vec<(Job, Digest)>,
    /// Of its jobs' collectors.
    versions: BTreeMap<Job, u32>,
    checks: Vec<(Job, Vec<ScopedCheck>)>,
    left_out: Vec<(Job, String)>,
}

impl Terms {
    fn of(control: &Control, set: &ControlSet, documented: bool) -> Self {
        let digest = |job: &Job| {
            let scoped = set.scope.iter().find(|scoped| scoped.job == job.as_str());
            scoped.and_then(|scoped| scoped.checks_sha256.parse().ok()).unwrap_or(Digest([0; 32]))
        };
        let checks = scope(control, set);
        let version =
            |job: &Job| set.scope.iter().find(|scoped| scoped.job == job.as_str()).map(|scoped| scoped.version);
        Self {
            documented,
            statement: control.statement.clone(),
            frequency: control.frequency,
            dated_by: control.dated_by.clone(),
            scope: checks.iter().map(|(job, _)| (job.clone(), digest(job))).collect(),
            versions: checks.iter().filter_map(|(job, _)| Some((job.clone(), version(job)?))).collect(),
            checks,
            left_out: left_out(control, set),
        }
    }

    /// In words, how it differs from what was before.
    fn because(&self, before: &Self) -> Vec<String> {
        let mut list = Vec::new();
        if self.documented && !before.documented {
            list.push("the first controls document of the log took force".to_owned());
        }
        if self.statement != before.statement {
            list.push("what is promised was changed".to_owned());
        }
        if self.frequency != before.frequency {
            list.push(
                format!("{} instead of {}", self.frequency.as_str(), before.frequency.as_str()).replace('_', " "),
            );
        }
        if self.dated_by != before.dated_by {
            list.push("its occurrences are dated by something else".to_owned());
        }
        let digests = |terms: &Self| terms.scope.iter().cloned().collect::<BTreeMap<Job, Digest>>();
        let (old, new) = (digests(before), digests(self));
        for (job, digest) in &new {
            match old.get(job) {
                None => list.push(format!("{job} came into scope")),
                Some(then) if then != digest => list.push(format!("{job} has other checks or parameters")),
                Some(_) => {}
            }
        }
        for (job, version) in &self.versions {
            if let Some(then) = before.versions.get(job).filter(|then| *then != version) {
                list.push(format!("{job} has version {version} of its collector instead of {then}"));
            }
        }
        for job in old.keys().filter(|job| !new.contains_key(job)) {
            match self.left_out.iter().find(|(left, _)| left == job) {
                Some((_, why)) => list.push(format!("{job} was switched off: {why}")),
                None => list.push(format!("{job} left the scope")),
            }
        }
        if list.is_empty() {
            list.push("other checks are behind it, or other jobs are switched off".to_owned());
        }
        list
    }
}

/// The parts of a control within `[from, to)`, in order. Where it was no control there is none.
pub fn parts(in_force: &InForce, id: &str, from: Utc, to: Utc) -> Vec<Part> {
    let mut parts: Vec<(Part, Terms)> = Vec::new();
    let mut absent_before = false;
    for (start, end, put, documented) in stretches(in_force, from, to) {
        let Some(control) = put.set.controls.iter().find(|control| control.id == id) else {
            absent_before = true;
            continue;
        };
        let terms = Terms::of(control, &put.set, documented);
        let mut because = Vec::new();
        if let Some((last, before)) = parts.last_mut() {
            if !absent_before && *before == terms {
                last.to = end;
                continue;
            }
            because = terms.because(before);
        }
        if absent_before {
            because = vec!["it became a control".to_owned()];
        }
        absent_before = false;
        let mut because = because.join("; ");
        if !because.is_empty() && !put.set.reason.is_empty() {
            because = format!("{because} ({})", put.set.reason);
        }
        let part = Part {
            from: start,
            to: end,
            because,
            document: put.document.filter(|_| documented),
            statement: terms.statement.clone(),
            frequency: terms.frequency,
            scope: terms.scope.clone(),
            left_out: terms.left_out.clone(),
            counts: OccurrenceCounts::default(),
        };
        parts.push((part, terms));
    }
    parts.into_iter().map(|(part, _)| part).collect()
}

/// `[from, to)` in stretches of one set, each with whether it was in force as evidence.
fn stretches(in_force: &InForce, from: Utc, to: Utc) -> impl Iterator<Item = (Utc, Utc, &Put, bool)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let place = in_force.place(at).filter(|_| at < to)?;
        let put = &in_force.puts[place];
        let documented = put.document.is_some() && put.from <= at;
        let next = if put.from > at { Some(put.from) } else { None };
        let next = next.or_else(|| in_force.puts.get(place + 1).map(|next| next.from));
        let end = next.unwrap_or(to).min(to);
        let start = std::mem::replace(&mut at, end);
        Some((start, end, put, documented))
    })
}
