//! Drawing: which items a seed takes. Anybody can do it again with sha256sum, sort and head.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// What the auditor chooses once the population's hash can no longer change: one line of 1 to 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed(String);

/// Text that is no seed.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no seed: that is one line of 1 to 200 bytes, such as the digits of a die")]
pub struct BadSeed(pub String);

impl FromStr for Seed {
    type Err = BadSeed;
    fn from_str(text: &str) -> Result<Self, BadSeed> {
        match (1..=200).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadSeed(text.to_owned())),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An item's place in the order of drawing: SHA-256 of the seed, a line feed, the population's hash in hexadecimal, a line feed, and the
/// item's line without its line feed. The smallest is drawn first.
pub fn rank(seed: &Seed, population: Digest, line: &str) -> Digest {
    Digest::of(format!("{seed}\n{population}\n{line}").as_bytes())
}

/// The first `size` of `among` (places in `lines`) in the order of drawing; all of them where there are no more.
pub fn draw(seed: &Seed, population: Digest, lines: &[String], among: &[usize], size: u64) -> Vec<usize> {
    let mut ranked: Vec<(Digest, usize)> =
        among.iter().map(|place| (rank(seed, population, &lines[*place]), *place)).collect();
    ranked.sort_unstable();
    ranked.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    ranked.into_iter().map(|(_, place)| place).collect()
}

/// A stratum's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Its name.
    pub stratum: String,
    /// Items to draw from.
    pub count: u64,
    /// Items to draw.
    pub size: u64,
}

/// Shares `size` among strata in proportion to their items: each gets the whole part of its share, the rest goes one by one to the
/// largest remainders (of equal ones to the name that comes first by its bytes); then each stratum without one takes one from the largest
/// allocation. Where there are more strata than `size`, each has one.
pub fn allocate(strata: &BTreeMap<String, u64>, size: u64) -> Vec<Allocation> {
    let total: u64 = strata.values().sum();
    let size = size.min(total);
    let mut shares: Vec<Allocation> = Vec::new();
    let mut remainders: Vec<(u128, usize)> = Vec::new();
    for (stratum, count) in strata.iter().filter(|(_, count)| **count > 0) {
        let (exact, total) = (u128::from(size) * u128::from(*count), u128::from(total));
        remainders.push((exact % total, shares.len()));
        shares.push(Allocation { stratum: stratum.clone(), count: *count, size: (exact / total) as u64 });
    }
    if size > 0 && shares.len() as u64 >= size {
        shares.iter_mut().for_each(|share| share.size = 1);
        return shares;
    }
    let left = size - shares.iter().map(|share| share.size).sum::<u64>();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, at) in remainders.into_iter().take(left as usize) {
        shares[at].size += 1;
    }
    while let Some(empty) = shares.iter().position(|share| share.size == 0).filter(|_| size > 0) {
        let largest = shares.iter().map(|share| share.size).max().unwrap_or_default();
        let from = shares.iter().position(|share| share.size == largest).expect("one is the largest");
        shares[from].size -= 1;
        shares[empty].size += 1;
    }
    shares
}

/// Draws from each stratum its share, in the order of the strata's names. `strata` names that of each line.
pub fn stratified(
    seed: &Seed,
    population: Digest,
    lines: &[String],
    among: &[usize],
    strata: &[String],
    size: u64,
) -> (Vec<usize>, Vec<Allocation>) {
    let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for place in among {
        members.entry(strata[*place].clone()).or_default().push(*place);
    }
    let counts = members.iter().map(|(name, places)| (name.clone(), places.len() as u64)).collect();
    let shares = allocate(&counts, size);
    let drawn = shares.iter().flat_map(|share| draw(seed, population, lines, &members[&share.stratum], share.size));
    (drawn.collect(), shares)
}
