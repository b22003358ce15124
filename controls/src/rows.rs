//! The rows of a check by result, in little memory: the ids of a kind are held once for all checks on it, packed, and for each check a
//! byte for each row. In JSON they are the four lists that `results.json` has.

use std::{fmt, iter, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeStruct,
};

use crate::kept::Kept;

/// The rows of a check by result, in the order of the records.
#[derive(Clone, Default)]
pub struct Rows {
    /// The ids of all rows of the kind.
    ids: Arc<Kept>,
    /// What became of each of these rows, and after them of what was not read.
    fates: Vec<Fate>,
    /// Of those that fail or are unknown, in order.
    reasons: Kept,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The check does not ask of it.
    Outside,
    Pass,
    Exempt,
    Fail,
    Unknown,
    /// Unknown, and without an id.
    Nameless,
}

/// A row with the reason for its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The record's id; null for what was not read.
    pub id: Option<String>,
    /// Why.
    pub reason: String,
}

impl Rows {
    /// Adds what became of the next row; a reason where it fails or is unknown.
    pub(crate) fn push(&mut self, fate: Fate, reason: Option<&str>) {
        debug_assert_eq!(reason.is_some(), fate.has_reason());
        self.fates.push(fate);
        reason.into_iter().for_each(|reason| self.reasons.push(reason.as_bytes()));
    }

    /// The ids of the rows that were added.
    pub(crate) fn named(self, ids: &Arc<Kept>) -> Self {
        Self { ids: ids.clone(), ..self }
    }

    /// How many rows of a fate there are.
    pub(crate) fn count(&self, fate: Fate) -> u64 {
        self.fates.iter().filter(|other| **other == fate).count() as u64
    }

    /// Ids of rows shown to pass.
    pub fn pass(&self) -> impl Iterator<Item = String> + '_ {
        self.of(|fate| fate == Fate::Pass).map(|(id, ..)| id)
    }

    /// Ids of rows that the check names as exempt.
    pub fn exempt(&self) -> impl Iterator<Item = String> + '_ {
        self.of(|fate| fate == Fate::Exempt).map(|(id, ..)| id)
    }

    /// Rows shown not to pass, with what the check says of them.
    pub fn fail(&self) -> impl Iterator<Item = Row> + '_ {
        self.reasoned(|fate| fate == Fate::Fail)
    }

    /// Rows not shown either way, with why.
    pub fn unknown(&self) -> impl Iterator<Item = Row> + '_ {
        self.reasoned(|fate| matches!(fate, Fate::Unknown | Fate::Nameless))
    }

    fn reasoned(&self, wanted: impl Fn(Fate) -> bool + Copy + 'static) -> impl Iterator<Item = Row> + '_ {
        let had = self.fates.iter().filter(|fate| fate.has_reason());
        let reasons = had.zip(self.reasons.texts()).filter(move |(fate, _)| wanted(**fate));
        self.of(wanted)
            .zip(reasons)
            .map(|((id, fate), (_, reason))| Row { id: (fate != Fate::Nameless).then_some(id), reason })
    }

    /// The ids of the rows of some fates; empty for what was not read.
    fn of(&self, wanted: impl Fn(Fate) -> bool + Copy + 'static) -> impl Iterator<Item = (String, Fate)> + '_ {
        // Nothing is unpacked for a list that is empty.
        let any = self.fates.iter().any(|fate| wanted(*fate));
        let ids = any.then(|| self.ids.texts().chain(iter::repeat(String::new()))).into_iter().flatten();
        ids.zip(self.fates.iter().copied()).filter(move |(_, fate)| wanted(*fate))
    }
}

impl Fate {
    fn has_reason(self) -> bool {
        matches!(self, Self::Fail | Self::Unknown | Self::Nameless)
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.pass().eq(other.pass())
            && self.exempt().eq(other.exempt())
            && self.fail().eq(other.fail())
            && self.unknown().eq(other.unknown())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("pass", &self.pass().collect::<Vec<_>>())
            .field("exempt", &self.exempt().collect::<Vec<_>>())
            .field("fail", &self.fail().collect::<Vec<_>>())
            .field("unknown", &self.unknown().collect::<Vec<_>>())
            .finish()
    }
}

/// A list that is written as it is gone through.
struct List<F>(F);

impl<F: Fn() -> I, I: Iterator<Item: Serialize>> Serialize for List<F> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq((self.0)())
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut rows = s.serialize_struct("Rows", 4)?;
        rows.serialize_field("pass", &List(|| self.pass()))?;
        rows.serialize_field("exempt", &List(|| self.exempt()))?;
        rows.serialize_field("fail", &List(|| self.fail()))?;
        rows.serialize_field("unknown", &List(|| self.unknown()))?;
        rows.end()
    }
}

/// A list of ids as it is read.
#[derive(Default)]
struct Ids(Kept);

/// A list of rows as it is read.
#[derive(Default)]
struct Reasoned {
    ids: Kept,
    nameless: Vec<bool>,
    reasons: Kept,
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "Rows")]
        struct Lists {
            pass: Ids,
            exempt: Ids,
            fail: Reasoned,
            unknown: Reasoned,
        }
        let lists = Lists::deserialize(d)?;
        if lists.fail.nameless.contains(&true) {
            return Err(D::Error::custom("a row that fails has no id"));
        }
        let (mut ids, mut rows) = (Kept::default(), Self::default());
        for (fate, list) in [(Fate::Pass, lists.pass), (Fate::Exempt, lists.exempt)] {
            for id in list.0.iter() {
                ids.push(&id);
                rows.push(fate, None);
            }
        }
        for (fate, list) in [(Fate::Fail, lists.fail), (Fate::Unknown, lists.unknown)] {
            for ((id, reason), nameless) in list.ids.iter().zip(list.reasons.texts()).zip(list.nameless) {
                ids.push(&id);
                rows.push(if nameless { Fate::Nameless } else { fate }, Some(&reason));
            }
        }
        Ok(rows.named(&Arc::new(ids)))
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        d.deserialize_seq(Each(|id: String| list.0.push(id.as_bytes()), PhantomData))?;
        Ok(list)
    }
}

impl<'de> Deserialize<'de> for Reasoned {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        let take = |row: Row| {
            list.nameless.push(row.id.is_none());
            list.ids.push(row.id.unwrap_or_default().as_bytes());
            list.reasons.push(row.reason.as_bytes());
        };
        d.deserialize_seq(Each(take, PhantomData))?;
        Ok(list)
    }
}

/// Takes the items of a list one by one.
struct Each<T, F>(F, PhantomData<T>);

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}
