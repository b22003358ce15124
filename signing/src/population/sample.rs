//! `sample.json`: what was drawn, from what, and how, so that it can be drawn again from the list beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{AsOf, Item, List, Population, Seed, draw, stratified};
use crate::{digest::Digest, time::Utc};

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// `evidenced-sample/1`.
    pub format: String,
    /// The log.
    pub origin: String,
    /// `[from, to)`: the population's period.
    pub from: Utc,
    /// The first instant after it.
    pub to: Utc,
    /// What the population was read from.
    pub as_of: AsOf,
    /// What was drawn from. Its list lies beside this file.
    pub population: Population,
    /// How complete the population is, in words.
    pub completeness: String,
    /// The document in the log that froze it; `None`: none did.
    pub frozen: Option<Frozen>,
    /// How items were chosen.
    pub procedure: Procedure,
    /// The draw that this one continues, which may itself continue another.
    pub interim: Option<Interim>,
    /// The items, in the order in which they were chosen.
    pub items: Vec<SampleItem>,
    /// Entries of the controls documents that were in force.
    pub controls: Vec<u64>,
    /// What a reader of the sample must know, in words.
    pub notes: Vec<String>,
}

/// Where a population was frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    /// The entry in the log.
    pub entry: u64,
    /// The document's SHA-256.
    pub document: Digest,
}

/// How items were chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Procedure {
    /// By a seed, or named by the auditor.
    pub how: How,
    /// The seed; `None` where items were named.
    pub seed: Option<Seed>,
    /// Items that were asked for.
    pub size: u64,
    /// Where the size comes from, in words.
    pub size_from: String,
    /// The strata; `None`: the population as one.
    pub strata: Option<Strata>,
}

/// Who chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A seed.
    Seed,
    /// The auditor, by ids.
    Ids,
}

/// The strata of a draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strata {
    /// `job`, or the field of the records (then `strata.jsonl` lies beside this file).
    pub by: String,
    /// By name.
    pub strata: Vec<Stratum>,
}

/// A stratum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stratum {
    /// The job, or the field's value.
    pub name: String,
    /// Items that could be drawn.
    pub count: u64,
    /// Items that were.
    pub size: u64,
}

/// The draw before one that is rolled forward. Its files lie below `interim/`, those of the one before it below `interim/interim/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interim {
    /// The SHA-256 of its `sample.json`.
    pub sample: Digest,
    /// Its population's hash.
    pub population: Digest,
    /// The end of its period.
    pub to: Utc,
}

/// An item of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleItem {
    /// As in the population's list.
    pub item: Item,
    /// Why it is here.
    pub why: Why,
    /// Entries of the log that are in the package for it: the item's own, or what the log has of a unit that was not observed.
    pub evidence: Vec<u64>,
}

/// Why an item is in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The seed drew it.
    Drawn,
    /// The auditor named it.
    Named,
    /// It stays from the draw before.
    Interim,
}

/// What a procedure gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrawn {
    /// The items, in order.
    pub items: Vec<(Item, Why)>,
    /// The strata; empty without.
    pub strata: Vec<Stratum>,
}

impl Sample {
    /// The value of [`Sample::format`].
    pub const FORMAT: &'static str = "evidenced-sample/1";

    /// Its file: JSON for people too, and a line feed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("strings and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Parses a file of this format.
    ///
    /// # Errors
    /// In words.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let sample: Self = serde_json::from_slice(bytes).map_err(|e| format!("it is no sample: {e}"))?;
        match sample.format == Self::FORMAT {
            true => Ok(sample),
            false => Err(format!("its format is {:?}, not {:?}", sample.format, Self::FORMAT)),
        }
    }

    /// Every entry that its package has.
    pub fn entries(&self) -> BTreeSet<u64> {
        let evidence = self.items.iter().flat_map(|item| item.evidence.iter().copied());
        evidence.chain(self.controls.iter().copied()).chain(self.frozen.map(|frozen| frozen.entry)).collect()
    }
}

/// Chooses the items of a seed: those of the draw before stay; the rest is drawn from what was in no earlier population. `strata` names the
/// stratum of each item by id, where there are strata; `before` are the draws that are continued, the newest first.
///
/// # Errors
/// An item without a stratum, in words.
pub fn redraw(
    list: &List,
    procedure: &Procedure,
    strata: Option<&BTreeMap<String, String>>,
    before: &[(Sample, List)],
) -> Result<Redrawn, String> {
    let mut items: Vec<(Item, Why)> = Vec::new();
    let mut known = BTreeSet::new();
    if let Some((newest, _)) = before.first() {
        items.extend(newest.items.iter().map(|kept| (kept.item.clone(), Why::Interim)));
    }
    known.extend(before.iter().flat_map(|(_, list)| &list.items).map(|item| item.id.as_str()));
    let Some(seed) = &procedure.seed else { return Ok(Redrawn { items, strata: Vec::new() }) };
    let among: Vec<usize> =
        (0..list.items.len()).filter(|place| !known.contains(list.items[*place].id.as_str())).collect();
    let (population, size) = (list.sha256(), procedure.size.saturating_sub(items.len() as u64));
    let (drawn, shares) = match strata {
        None => (draw(seed, population, &list.lines, &among, size), Vec::new()),
        Some(strata) => {
            let named = |item: &Item| strata.get(&item.id).cloned().ok_or_else(|| item.id.clone());
            let strata: Vec<String> = list
                .items
                .iter()
                .map(named)
                .collect::<Result<_, _>>()
                .map_err(|id| format!("no stratum is given for the item {id:?}"))?;
            stratified(seed, population, &list.lines, &among, &strata, size)
        }
    };
    items.extend(drawn.into_iter().map(|place| (list.items[place].clone(), Why::Drawn)));
    let strata = shares.into_iter().map(|s| Stratum { name: s.stratum, count: s.count, size: s.size }).collect();
    Ok(Redrawn { items, strata })
}
