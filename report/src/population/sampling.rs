//! Samples: what was drawn from a population, with the evidence behind each item, ready to be packed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use signing::{
    digest::Digest,
    package::sample::{Parts, StratumOf},
    population::{Frozen, How, Interim, Item, List, Of, Procedure, Sample, SampleItem, Seed, Strata, Why, redraw},
    statement::Body,
    time::{Utc, rfc3339},
};

use super::{Collected, PopulationError, items::id};
use crate::{
    ledger::{Ledger, LedgerError},
    pass::instant,
};

/// The most entries that stand for a unit that was not observed.
const FOR_A_UNIT: usize = 50;

/// How items are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// By a seed.
    Seed {
        /// The auditor's.
        seed: Seed,
        /// How many.
        size: u64,
        /// Where that comes from, in words.
        size_from: String,
        /// `job`, or a field of the records.
        strata: Option<String>,
    },
    /// By ids that the auditor names.
    Ids(Vec<String>),
}

/// An earlier draw: its files as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// `sample.json`.
    pub sample: Vec<u8>,
    /// `population.jsonl`.
    pub population: Vec<u8>,
}

/// A sample that was drawn, with what its package needs beside the archive.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The sample.
    pub sample: Sample,
    /// The rest.
    pub parts: Parts,
}

/// Draws a sample; `earlier` are the draws that it continues, the newest first.
///
/// # Errors
/// Ids that the population lacks; an earlier draw that cannot be read or is of something else; a field that no record has; an archive that
/// cannot be read.
pub fn sample(
    ledger: &Ledger<'_>,
    collected: &Collected,
    frozen: Option<Frozen>,
    choice: &Choice,
    earlier: &[Earlier],
) -> Result<Drawn, PopulationError> {
    let list = &collected.list;
    let mut notes = Vec::new();
    if frozen.is_none() {
        notes.push(
            "The population's hash is not in the log: nothing shows that it was fixed before the seed was chosen."
                .to_owned(),
        );
    }
    let before = chain(earlier, ledger, collected)?;
    let mut strata_of = None;
    let procedure = match choice {
        Choice::Seed { seed, size, size_from, strata } => {
            strata_of = strata.as_deref().map(|by| stratify(ledger, collected, by)).transpose()?;
            let strata = strata.as_ref().map(|by| Strata { by: by.clone(), strata: Vec::new() });
            Procedure { how: How::Seed, seed: Some(seed.clone()), size: *size, size_from: size_from.clone(), strata }
        }
        Choice::Ids(ids) => {
            let size_from = "named by the auditor".to_owned();
            Procedure { how: How::Ids, seed: None, size: ids.len() as u64, size_from, strata: None }
        }
    };
    let mut drawn = redraw(list, &procedure, strata_of.as_ref(), &before).map_err(PopulationError::Question)?;
    if let Choice::Ids(ids) = choice {
        drawn.items = named(list, ids)?.into_iter().map(|item| (item, Why::Named)).collect();
    }
    let chosen = drawn.items.len() as u64;
    let wanted = procedure.size;
    if chosen < wanted {
        notes.push(format!("{wanted} items were asked for; these are all that there are."));
    } else if chosen > wanted && !before.is_empty() {
        notes.push(format!("{wanted} items were asked for; the draw before has more, and all of them stay."));
    } else if chosen > wanted {
        notes.push(format!("{wanted} items were asked for; each stratum has at least one."));
    }
    let mut procedure = procedure;
    if let Some(strata) = &mut procedure.strata {
        strata.strata = drawn.strata;
    }
    let items = evidence(ledger, drawn.items)?;
    let without = items.iter().filter(|item| item.evidence.is_empty()).count();
    if without > 0 {
        notes.push(format!("Of {without} items the log holds nothing: nobody looked, and nothing says why."));
    }
    let sample = Sample {
        format: Sample::FORMAT.to_owned(),
        origin: ledger.verdict().origin.clone(),
        from: collected.from,
        to: collected.to,
        as_of: collected.as_of,
        population: collected.population.clone(),
        completeness: collected.completeness.clone(),
        frozen,
        procedure,
        interim: earlier.first().zip(before.first()).map(|(files, (sample, _))| Interim {
            sample: Digest::of(&files.sample),
            population: sample.population.sha256,
            to: sample.to,
        }),
        items,
        controls: collected.controls.clone(),
        notes,
    };
    let by_field = sample.procedure.strata.as_ref().is_some_and(|strata| strata.by != "job");
    let parts = Parts {
        population: list.to_bytes(),
        strata: strata_of.filter(|_| by_field).map(|strata| lines(list, &strata)),
        interim: earlier.iter().map(|files| (files.sample.clone(), files.population.clone())).collect(),
        page: None,
        readme: readme(&sample, &before, sample.frozen.and_then(|frozen| ledger.not_after(frozen.entry))),
    };
    Ok(Drawn { sample, parts })
}

/// The draws that this one may continue, each the one before the other.
fn chain(
    earlier: &[Earlier],
    ledger: &Ledger<'_>,
    collected: &Collected,
) -> Result<Vec<(Sample, List)>, PopulationError> {
    let mut chain: Vec<(Sample, List)> = Vec::new();
    for files in earlier {
        let (sample, list) = read(files, ledger, collected)?;
        if let Some((later, _)) = chain.last()
            && later.interim.as_ref().map(|named| named.sample) != Some(Digest::of(&files.sample))
        {
            let says = "the draw before it is not the one that it names";
            return Err(PopulationError::Question(format!("the draw cannot be continued: {says}")));
        }
        chain.push((sample, list));
    }
    match chain.last().is_some_and(|(first, _)| first.interim.is_some()) {
        true => Err(PopulationError::Question("the draw cannot be continued: the one before it is missing".to_owned())),
        false => Ok(chain),
    }
}

/// An earlier draw that this one may continue.
fn read(first: &Earlier, ledger: &Ledger<'_>, collected: &Collected) -> Result<(Sample, List), PopulationError> {
    let wrong = |says: String| PopulationError::Question(format!("the draw cannot be continued: {says}"));
    let sample = Sample::from_bytes(&first.sample).map_err(wrong)?;
    let list = List::parse(&first.population).map_err(|error| wrong(error.to_string()))?;
    let (own, other) = (&collected.population, &sample.population);
    if sample.origin != ledger.verdict().origin
        || (&own.control, own.of, &own.kind) != (&other.control, other.of, &other.kind)
    {
        return Err(wrong("it is of another log, control or kind of population".to_owned()));
    }
    if list.sha256() != other.sha256 {
        return Err(wrong("its list is not the one that it was drawn from".to_owned()));
    }
    if sample.to > collected.to || sample.from != collected.from {
        let (from, to) = (rfc3339(sample.from), rfc3339(sample.to));
        return Err(wrong(format!("it is of {from} to {to}, which is no beginning of this period")));
    }
    Ok((sample, list))
}

/// The items of these ids, in the list's order.
fn named(list: &List, ids: &[String]) -> Result<Vec<Item>, PopulationError> {
    let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let known: BTreeSet<&str> = list.items.iter().map(|item| item.id.as_str()).collect();
    let unknown: Vec<&str> = wanted.difference(&known).copied().collect();
    if !unknown.is_empty() {
        return Err(PopulationError::Question(format!("the population has no items {unknown:?}")));
    }
    Ok(list.items.iter().filter(|item| wanted.contains(item.id.as_str())).cloned().collect())
}

/// The stratum of each item, by id.
fn stratify(ledger: &Ledger<'_>, collected: &Collected, by: &str) -> Result<BTreeMap<String, String>, PopulationError> {
    let list = &collected.list;
    if by == "job" {
        return Ok(list.items.iter().map(|item| (item.id.clone(), item.job_name().to_owned())).collect());
    }
    let Some(kind) = collected.population.kind.as_ref().filter(|_| collected.population.of != Of::Occurrences) else {
        let says = "occurrences are stratified by job; records of items and events also by a field of theirs";
        return Err(PopulationError::Question(says.to_owned()));
    };
    let mut by_entry: BTreeMap<u64, Vec<&Item>> = BTreeMap::new();
    for item in &list.items {
        by_entry.entry(item.entry.unwrap_or(u64::MAX)).or_default().push(item);
    }
    let mut strata = BTreeMap::new();
    let mut any = list.items.is_empty();
    ledger.entries(|logged| {
        let Some(items) = by_entry.get(&logged.index) else { return Ok::<_, PopulationError>(()) };
        let mut bundle = match ledger.bundle(&logged.statement)? {
            Ok(bundle) => bundle,
            Err(unusable) => return Err(PopulationError::Question(unusable.to_string())),
        };
        let name = format!("records/{kind}.jsonl");
        let bytes = bundle.file(&name).map_err(|error| PopulationError::Question(format!("{name}: {error}")))?;
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let row: Map<String, Value> =
                serde_json::from_slice(line).map_err(|error| PopulationError::Question(format!("{name}: {error}")))?;
            let key = id(&row);
            let value = Value::Object(row);
            let found = by.split('.').try_fold(&value, |value, name| value.get(name));
            any |= found.is_some();
            let text = match found {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => "null".to_owned(),
            };
            rows.insert(format!("{} {key}", items[0].job_name()), text);
        }
        for item in items {
            let stratum = rows.get(&item.id).cloned().unwrap_or_else(|| "null".to_owned());
            strata.insert(item.id.clone(), stratum);
        }
        Ok(())
    })?;
    match any {
        true => Ok(strata),
        false => Err(PopulationError::Question(format!("no record of the kind {kind:?} has the field {by:?}"))),
    }
}

fn lines(list: &List, strata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in &list.items {
        let line = StratumOf { id: item.id.clone(), stratum: strata[&item.id].clone() };
        bytes.extend(serde_json::to_vec(&line).expect("strings are always JSON"));
        bytes.push(b'\n');
    }
    bytes
}

/// The entries behind each item: its own; of a unit that nobody observed what the log has of it, missed slots and runs that were not whole.
fn evidence(ledger: &Ledger<'_>, chosen: Vec<(Item, Why)>) -> Result<Vec<SampleItem>, LedgerError> {
    let mut items: Vec<SampleItem> = chosen
        .into_iter()
        .map(|(item, why)| SampleItem { evidence: item.entry.into_iter().collect(), item, why })
        .collect();
    let unseen = |chosen: &SampleItem| chosen.item.state == "not_observed" && chosen.why != Why::Interim;
    if !items.iter().any(unseen) {
        return Ok(items);
    }
    ledger.entries(|logged| {
        let (job, first, last) = match &logged.statement.body {
            Body::Receipt(receipt) => (&receipt.job, instant(receipt), instant(receipt)),
            Body::Missed(missed) => (&missed.job, missed.first, missed.last),
            Body::Document(_) => return Ok::<_, LedgerError>(()),
        };
        for chosen in items.iter_mut().filter(|chosen| unseen(chosen) && chosen.item.job.as_ref() == Some(job)) {
            let within = first < chosen.item.to && last >= chosen.item.from;
            let known = chosen.evidence.contains(&logged.index);
            if within && !known && chosen.evidence.len() < FOR_A_UNIT {
                chosen.evidence.push(logged.index);
            }
        }
        Ok(())
    })?;
    Ok(items)
}

/// For who opens the package without a program. `fixed`: the trusted time by which the log had the population.
fn readme(sample: &Sample, before: &[(Sample, List)], fixed: Option<Utc>) -> String {
    let population = &sample.population;
    let (from, to) = (rfc3339(sample.from), rfc3339(sample.to));
    let mut text = format!(
        "A sample of {} of the log {}, {from} to {to}: {} of {} {}.\n",
        population.control,
        sample.origin,
        sample.items.len(),
        population.count,
        population.of.as_str()
    );
    for (stage, _) in before.iter().rev() {
        text.push_str(&format!("Continues the draw up to {}: {} items stay.\n", rfc3339(stage.to), stage.items.len()));
    }
    for note in &sample.notes {
        text.push_str(&format!("{note}\n"));
    }
    text.push_str(&format!(
        "\nPopulation: {}\nNot observed: {} stretches, each named in sample.json.\n",
        sample.completeness,
        population.not_observed.len()
    ));
    if let Some(frozen) = sample.frozen {
        let by = match fixed {
            Some(by) => format!("not after {} (trusted time): was the seed chosen later?", rfc3339(by)),
            None => "at no trusted time".to_owned(),
        };
        let (hash, entry) = (population.sha256, frozen.entry);
        text.push_str(&format!("Its hash {hash} was frozen in entry {entry} of the log, {by}.\n"));
    }
    text.push_str(
        "\n\
         sample.json        how items were chosen, which they are, and the entries behind them\n\
         population.jsonl   the list that they were chosen from, one line an item\n\
         entry/<n>/         entry n of the log: the statement, and the proof that it is in the log\n\
         bundle/            what the runs received and derived; each is a ZIP\n\
         seal/              the signatures over the entries\n\
         document/          keys, plans, controls, and the frozen population\n\
         anchor/            timestamps and witnesses' signatures over checkpoints of the log\n\
         \n\
         With a program:\n\
         \x20 evidenced verify THIS --trust SHA256:...\n\
         \x20 evidenced-verify THIS --trust SHA256:...\n\
         \x20     check all of it; the fingerprint of the owner's root key comes to you by another way.\n\
         \n\
         In a browser: open verify.html, where it is here; it needs no network.\n\
         \n\
         With sha256sum alone: the list's hash, and that each file is as it was packed.\n\
         \x20 sha256sum population.jsonl\n\
         \x20 sha256sum -c SHA256SUMS\n",
    );
    if let Some(seed) = &sample.procedure.seed
        && sample.procedure.strata.is_none()
        && sample.interim.is_none()
    {
        text.push_str(&format!(
            "\n\
             Draw again, in a shell, in this directory:\n\
             \x20 SEED='{}'\n\
             \x20 hash=$(sha256sum < population.jsonl | cut -c 1-64)\n\
             \x20 while IFS= read -r line; do\n\
             \x20   printf '%s %s\\n' \"$(printf '%s\\n%s\\n%s' \"$SEED\" \"$hash\" \"$line\" | sha256sum | cut -c 1-64)\" \"$line\"\n\
             \x20 done < population.jsonl | LC_ALL=C sort | head -n {} | cut -c 66-\n\
             Is it the seed that you chose?\n",
            seed.to_string().replace('\'', r"'\''"),
            sample.procedure.size
        ));
    }
    text
}
