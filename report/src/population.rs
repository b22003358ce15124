//! Populations: everything that a sample of a control may be drawn from, as a list with one spelling, and what of it was not observed.
//!
//! A population is of *occurrences* (each time that the control had to operate), of *items* (the records of a kind at the end of the
//! period: the newest whole list of each job), or of *events* (records by their own instant, read by the union of the runs' windows).

mod events;
mod items;
mod occurrences;
pub mod sampling;

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use chrono::TimeDelta;
use controls::{Control, Frequency};
use signing::{
    layout::Job,
    population::{AsOf, BadList, FORMAT, Frozen, Gap, Item, KIND, List, Of, Population, PopulationDocument},
    statement::Body,
    time::{Utc, rfc3339},
};

use crate::{
    in_force::{InForce, controls_within, scope, supporting, within},
    ledger::{Ledger, LedgerError},
    model::FrozenPopulation,
    pass::PassError,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The control, by id.
    pub control: String,
    /// `[from, to)`.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// Up to when units of time are judged, and what may still come after their end is awaited.
    pub at: Utc,
    /// What the items are; `None`: events of a control that operates per event, else occurrences.
    pub of: Option<Of>,
    /// The kind of records; `None`: the only one behind the control.
    pub kind: Option<String>,
}

/// A population with its list.
#[derive(Debug, Clone, PartialEq)]
pub struct Collected {
    /// Its period.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// What it was read from.
    pub as_of: AsOf,
    /// What it is.
    pub population: Population,
    /// Its list.
    pub list: List,
    /// How complete it is, in words.
    pub completeness: String,
    /// Entries of the controls documents that were in force.
    pub controls: Vec<u64>,
    /// The control's frequency, as it was last.
    pub frequency: Frequency,
}

/// A population that cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PopulationError {
    /// The archive.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The archive, or what was read of it.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// What was asked does not fit what is in force.
    #[error("{0}")]
    Question(String),
    /// Two items of one id.
    #[error("the population has no unique ids")]
    List(#[from] BadList),
}

/// What a part gives: items, gaps, and words about its completeness.
#[derive(Debug, Default)]
struct Found {
    items: Vec<Item>,
    gaps: Vec<Gap>,
    says: Vec<String>,
}

/// The population of a control over a period.
///
/// # Errors
/// An unknown control, a kind that is not behind it or is not named, and an archive that cannot be read.
pub fn collect(ledger: &Ledger<'_>, question: &Question) -> Result<Collected, PopulationError> {
    let in_force = InForce::read(ledger)?;
    one(ledger, &in_force, question, &mut None)
}

/// Populations of every control that was in force within the period, each as its frequency has it.
///
/// # Errors
/// An archive that cannot be read.
pub fn all(ledger: &Ledger<'_>, from: Utc, to: Utc, at: Utc) -> Result<Vec<Collected>, PopulationError> {
    let in_force = InForce::read(ledger)?;
    let (mut all, mut known) = (Vec::new(), None);
    for control in controls_within(&in_force, from, to).into_keys() {
        let question = Question { control, from, to, at, of: None, kind: None };
        match one(ledger, &in_force, &question, &mut known) {
            Ok(collected) => all.push(collected),
            // Nothing in scope, or nothing that could be listed: there is no population to freeze.
            Err(PopulationError::Question(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// `known` are the occurrences of all controls, once somebody asked for them.
fn one(
    ledger: &Ledger<'_>,
    in_force: &InForce,
    question: &Question,
    known: &mut Option<occurrences::Known>,
) -> Result<Collected, PopulationError> {
    let &Question { from, to, at, .. } = question;
    let as_of = AsOf { size: ledger.size(), root: ledger.root(), at };
    let control = controls_within(in_force, from, to).remove(&question.control).ok_or_else(|| {
        PopulationError::Question(format!("no control {:?} was in force within the period", question.control))
    })?;
    let of = question.of.unwrap_or(match control.frequency {
        Frequency::PerEvent => Of::Events,
        _ => Of::Occurrences,
    });
    let kind = match of {
        Of::Occurrences => None,
        Of::Items | Of::Events => Some(kind(in_force, &control, question)?),
    };
    let jobs = jobs(in_force, question);
    if jobs.is_empty() && (of != Of::Occurrences || control.frequency == Frequency::AsNeeded) {
        let says = format!("no job was in scope of {} within the period: it has no population", control.id);
        return Err(PopulationError::Question(says));
    }
    let mut found = match (of, &kind) {
        (Of::Items, Some(kind)) => items::find(ledger, &jobs, kind, question)?,
        (Of::Events, Some(kind)) => events::find(ledger, &jobs, kind, &control, question)?,
        _ => {
            let known = match known {
                Some(known) => known,
                None => known.insert(occurrences::count(ledger, in_force, (from, to), at)?),
            };
            occurrences::find(known, &control.id)?
        }
    };
    found.gaps.sort();
    let list = List::new(found.items)?;
    let population = Population {
        control: control.id,
        of,
        kind,
        count: list.items.len() as u64,
        sha256: list.sha256(),
        not_observed: found.gaps,
    };
    let first = in_force.place(from).unwrap_or_default();
    let puts = in_force.puts.iter().enumerate().skip(first).take_while(|(at, put)| *at == first || put.from < to);
    let controls = puts.filter(|(_, put)| put.document.is_some()).map(|(_, put)| put.entry).collect();
    let completeness = completeness(&population, &list, &found.says);
    Ok(Collected { from, to, as_of, population, list, completeness, controls, frequency: control.frequency })
}

/// The jobs in scope of the control at any time of the period.
fn jobs(in_force: &InForce, question: &Question) -> BTreeSet<Job> {
    let first = in_force.place(question.from).unwrap_or_default();
    let puts = in_force.puts.iter().enumerate().skip(first);
    let mut jobs = BTreeSet::new();
    for (_, put) in puts.take_while(|(at, put)| *at == first || put.from < question.to) {
        for control in put.set.controls.iter().filter(|control| control.id == question.control) {
            jobs.extend(scope(control, &put.set).into_iter().map(|(job, _)| job));
        }
    }
    jobs
}

/// The kind of records: the one that was asked for, else the only one.
fn kind(in_force: &InForce, control: &Control, question: &Question) -> Result<String, PopulationError> {
    let mut kinds = BTreeSet::new();
    if let Some(put) = in_force.at(question.to) {
        let scoped = put.set.scope.iter().filter(|scoped| scoped.off.is_none());
        kinds.extend(scoped.flat_map(|scoped| supporting(control, scoped)).map(|check| check.kind));
    }
    let dated = control.dated_by.as_ref().map(|dated| dated.kind.clone());
    if let Some(asked) = &question.kind {
        return match kinds.contains(asked) || dated.as_ref() == Some(asked) {
            true => Ok(asked.clone()),
            false => {
                let known: Vec<String> = kinds.into_iter().collect();
                let says = format!(
                    "no records of the kind {asked:?} are behind {}; those are: {}",
                    control.id,
                    known.join(", ")
                );
                Err(PopulationError::Question(says))
            }
        };
    }
    match (dated, kinds.len()) {
        (Some(dated), _) => Ok(dated),
        (None, 1) => Ok(kinds.pop_first().unwrap_or_default()),
        (None, 0) => Err(PopulationError::Question(format!("no job in scope has records behind {}", control.id))),
        (None, _) => {
            let known: Vec<String> = kinds.into_iter().collect();
            Err(PopulationError::Question(format!(
                "records of several kinds are behind {}; name one with --kind: {}",
                control.id,
                known.join(", ")
            )))
        }
    }
}

/// How complete a population is, in words: never more than was seen.
fn completeness(population: &Population, list: &List, says: &[String]) -> String {
    let mut words = Vec::new();
    let unseen = list.items.iter().filter(|item| item.state == "not_observed").count();
    words.push(match population.of {
        Of::Occurrences if unseen > 0 => {
            format!("{unseen} of {} occurrences were not observed; they are in the list.", population.count)
        }
        Of::Occurrences if population.count == 0 => "No occurrence was required.".to_owned(),
        Of::Occurrences => "Every occurrence that was required was observed.".to_owned(),
        _ if population.not_observed.is_empty() => {
            "No window or list is missing, as far as the systems reported.".to_owned()
        }
        Of::Items => format!("Of {} no whole list was read.", jobs_of(&population.not_observed)),
        Of::Events => format!(
            "Not all was read whole, of {}: how many events fell there is not known.",
            jobs_of(&population.not_observed)
        ),
    });
    words.extend(says.iter().cloned());
    words.join(" ")
}

fn jobs_of(gaps: &[Gap]) -> String {
    let jobs: BTreeSet<&str> = gaps.iter().map(Gap::job_name).collect();
    jobs.into_iter().collect::<Vec<_>>().join(", ")
}

/// Up to when records may come that date occurrences of the period `[from, to)`: the longest `within_days` of what was in force after its end.
///
/// # Errors
/// A log that cannot be read.
pub fn settled(ledger: &Ledger<'_>, from: Utc, to: Utc) -> Result<Utc, LedgerError> {
    let in_force = InForce::read(ledger)?;
    let dated = within(&in_force, from, to).flat_map(|put| &put.set.controls).filter_map(|c| c.dated_by.as_ref());
    let days = dated.map(|dated| dated.within_days).max().unwrap_or_default();
    Ok(to + TimeDelta::days(i64::from(days)))
}

/// The document that freezes populations.
pub fn document(ledger: &Ledger<'_>, all: &[Collected]) -> Option<PopulationDocument> {
    let first = all.first()?;
    let mut populations: Vec<Population> = all.iter().map(|collected| collected.population.clone()).collect();
    populations.sort_by(|a, b| (&a.control, a.of, &a.kind).cmp(&(&b.control, b.of, &b.kind)));
    let (from, to, as_of) = (first.from, first.to, first.as_of);
    Some(PopulationDocument {
        format: FORMAT.to_owned(),
        origin: ledger.verdict().origin.clone(),
        from,
        to,
        as_of,
        populations,
    })
}

/// A population as the log froze it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Where.
    pub frozen: Frozen,
    /// The document.
    pub document: PopulationDocument,
}

/// Every document of the log that freezes populations, in order. One that cannot be used freezes nothing.
///
/// # Errors
/// A log that cannot be read.
pub fn logged(ledger: &Ledger<'_>) -> Result<Vec<Logged>, LedgerError> {
    let mut all = Vec::new();
    ledger.entries(|logged| {
        let statement = &logged.statement;
        if matches!(&statement.body, Body::Document(said) if said.kind == KIND)
            && let Ok(bytes) = ledger.document(statement)?
            && let Ok(document) = PopulationDocument::from_bytes(&bytes)
        {
            let frozen = Frozen { entry: logged.index, document: statement.subject[0].digest.sha256 };
            all.push(Logged { frozen, document });
        }
        Ok::<_, LedgerError>(())
    })?;
    Ok(all)
}

/// Every population that the log froze of a period within `[from, to)` or over an end of it, by period and control: what froze it first.
///
/// # Errors
/// As [`logged`].
pub fn frozen_about(ledger: &Ledger<'_>, from: Utc, to: Utc) -> Result<Vec<FrozenPopulation>, LedgerError> {
    let mut first: BTreeMap<_, FrozenPopulation> = BTreeMap::new();
    for Logged { frozen, document } in logged(ledger)? {
        if !(document.from < to && from < document.to) {
            continue;
        }
        for population in document.populations {
            let which =
                (document.from, document.to, population.control.clone(), population.of, population.kind.clone());
            match first.entry(which) {
                Entry::Vacant(none) => {
                    none.insert(FrozenPopulation {
                        from: document.from,
                        to: document.to,
                        population,
                        judged_up_to: document.as_of.at,
                        entry: frozen.entry,
                        otherwise: Vec::new(),
                        not_after: ledger.not_after(frozen.entry),
                    });
                }
                Entry::Occupied(mut before) if before.get().population != population => {
                    before.get_mut().otherwise.push(frozen.entry);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(first.into_values().collect())
}

/// The first document that freezes this population, which is the one that counts.
pub fn frozen<'l>(logged: &'l [Logged], collected: &Collected) -> Option<&'l Logged> {
    let wanted = &collected.population;
    let same = |logged: &&Logged| {
        let document = &logged.document;
        (document.from, document.to) == (collected.from, collected.to)
            && document.find(&wanted.control, wanted.of, wanted.kind.as_deref()).is_some()
    };
    logged.iter().find(same)
}

/// A population as it was frozen, computed again from what the log held then; where none is, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// As computed.
    pub collected: Collected,
    /// Where it was frozen.
    pub frozen: Option<Frozen>,
    /// How it differs from what was frozen; `None`: it does not.
    pub differs: Option<String>,
}

/// Computes a population, at the state that froze it where one did.
///
/// # Errors
/// As [`collect`].
pub fn compared(ledger: &Ledger<'_>, question: &Question) -> Result<Compared, PopulationError> {
    let collected = collect(ledger, question)?;
    let logged = logged(ledger)?;
    let Some(found) = frozen(&logged, &collected) else {
        return Ok(Compared { collected, frozen: None, differs: None });
    };
    let AsOf { size, root, at } = found.document.as_of;
    let then = ledger.earlier(size, root)?;
    let again = collect(&then, &Question { at, ..question.clone() })?;
    let own = &again.population;
    let wanted = found.document.find(&own.control, own.of, own.kind.as_deref());
    let differs = match wanted {
        Some(wanted) if wanted == own => None,
        Some(wanted) => Some(format!(
            "entry {} froze {} items of the SHA-256 {} at {}; from what the log held then follow {} of the SHA-256 {}",
            found.frozen.entry,
            wanted.count,
            wanted.sha256,
            rfc3339(at),
            own.count,
            own.sha256
        )),
        None => Some(format!("entry {} froze no such population", found.frozen.entry)),
    };
    Ok(Compared { collected: again, frozen: Some(found.frozen), differs })
}

/// How many items each job has.
pub fn by_job(list: &List) -> BTreeMap<&str, u64> {
    let mut jobs = BTreeMap::new();
    list.items.iter().for_each(|item| *jobs.entry(item.job_name()).or_default() += 1);
    jobs
}

#[cfg(test)]
mod tests;
