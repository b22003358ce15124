//! A package of several entries: a sample, the population that it was drawn from, and of each entry what proves it. What comes from the
//! archive has its name there; `docs/FORMAT.md`, section 12b, lists the others.

use super::{ABOUT, Made, PackageError, Put, README, make::Making};
use crate::{population::Sample, store::Reader};

/// The value of `format` in `package.json`.
pub const FORMAT: &str = "evidenced-sample-package/1";

/// See [`Sample`].
pub const SAMPLE: &str = "sample.json";

/// The population's list.
pub const POPULATION: &str = "population.jsonl";

/// The stratum of each item of the list, where strata are by a field: `{"id":…,"stratum":…}`, in the list's order.
pub const STRATA: &str = "strata.jsonl";

/// The most draws that one may continue, each the one before it.
pub const MOST_BEFORE: usize = 12;

/// The name of [`SAMPLE`] or [`POPULATION`] of an earlier draw: the draw before is 1, the one before that 2.
pub fn interim(back: usize, name: &str) -> String {
    format!("{}{name}", "interim/".repeat(back))
}

/// A page that verifies bundles in a browser. Nothing rests on it.
pub const PAGE: &str = "verify.html";

/// `entry/<index>/statement.json`.
pub fn leaf(index: u64) -> String {
    format!("entry/{index}/statement.json")
}

/// `entry/<index>/<tree size>.tlog-proof`.
pub fn proof(index: u64, size: u64) -> String {
    format!("entry/{index}/{size}.tlog-proof")
}

/// The entry and the size of a proof's name; `None` for any other spelling.
pub fn parse_proof(name: &str) -> Option<(u64, u64)> {
    let (index, size) = name.strip_prefix("entry/")?.strip_suffix(".tlog-proof")?.split_once('/')?;
    let (index, size) = (index.parse().ok()?, size.parse().ok()?);
    (proof(index, size) == name).then_some((index, size))
}

/// A line of [`STRATA`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StratumOf {
    /// The item.
    pub id: String,
    /// Its stratum.
    pub stratum: String,
}

/// What a package has beside objects of the archive.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// [`POPULATION`].
    pub population: Vec<u8>,
    /// [`STRATA`].
    pub strata: Option<Vec<u8>>,
    /// [`SAMPLE`] and [`POPULATION`] of the draws before, the newest first ([`interim`]).
    pub interim: Vec<(Vec<u8>, Vec<u8>)>,
    /// [`PAGE`].
    pub page: Option<Vec<u8>>,
    /// [`README`].
    pub readme: String,
}

/// Makes the package of a sample: gives each of its objects once. Objects are copied as they are; verifying is the reader's.
///
/// # Errors
/// As [`super::make`].
pub fn make(reader: &dyn Reader, sample: &Sample, parts: &Parts, put: &mut Put<'_>) -> Result<Made, PackageError> {
    let (mut making, note) = Making::new(reader, put)?;
    let about = serde_json::json!({"format": FORMAT, "origin": sample.origin});
    making.bytes(ABOUT, about.to_string().as_bytes())?;
    making.bytes(README, parts.readme.as_bytes())?;
    making.bytes(SAMPLE, &sample.to_bytes())?;
    making.bytes(POPULATION, &parts.population)?;
    for (name, bytes) in [(STRATA, &parts.strata), (PAGE, &parts.page)] {
        if let Some(bytes) = bytes {
            making.bytes(name, bytes)?;
        }
    }
    for (back, (sample, population)) in (1..).zip(&parts.interim) {
        making.bytes(&interim(back, SAMPLE), sample)?;
        making.bytes(&interim(back, POPULATION), population)?;
    }
    for index in sample.entries() {
        making.one_of(index, &note)?;
    }
    Ok(making.made())
}
