//! A definition as its author writes it: YAML, read strictly. What every field means to a reader is in docs/COLLECTORS.md.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// One collector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// `aws/backup-jobs`.
    pub id: String,
    /// Raised whenever the same exchanges would give other records, or other exchanges are made.
    pub version: u32,
    /// One line for a person.
    pub title: String,
    /// The kind of source.
    pub source: String,
    /// Permissions beside those that the calls themselves name.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Five fields as in crontab.
    pub schedule: String,
    /// How long a run may take with all its attempts.
    #[serde(default = "a_quarter_of_an_hour", deserialize_with = "length")]
    pub deadline: Duration,
    /// For events: how far back they are read.
    #[serde(default)]
    pub window: Option<WindowText>,
    /// In which cells requests are made that do not say otherwise.
    #[serde(default = "the_source")]
    pub cells: String,
    /// What is asked, in this order.
    pub requests: IndexMap<String, Request>,
    /// The kinds of records, and how they follow from the answers.
    #[serde(default)]
    pub records: IndexMap<String, OneOrMore<RecordSpec>>,
    /// The kinds of records that code makes of the answers, where jq is not enough.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Questions asked of the records, in the form that `controls` reads.
    #[serde(default)]
    pub checks: Vec<Value>,
}

/// `window`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowText {
    /// Which of an event's times the window is about; for a reader.
    pub by: String,
    /// What is read again.
    #[serde(deserialize_with = "length")]
    pub overlap: Duration,
    /// How long the source keeps events.
    #[serde(deserialize_with = "length")]
    pub retained: Duration,
}

/// One of `requests`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The operation: `backup.ListBackupJobs`.
    pub call: String,
    /// Its parameters. `{window.from}`, `{window.to}`, `{cell.account}` and `{<for_each name>.<field>}` are replaced in texts; a text
    /// that is nothing but one of them takes its value as it is.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Other cells than the definition's.
    #[serde(default)]
    pub cells: Option<String>,
    /// Where it is asked, other than in the cell's own region: `{bucket.BucketRegion}`. Where that has no value, in the cell's own.
    #[serde(default)]
    pub region: Option<String>,
    /// How it goes on; none: the one answer is whole.
    #[serde(default)]
    pub pages: Option<Pages>,
    /// jq: the array of rows in an answer; none: the answer is one row. It sees `$item`, the key that the answer was asked for.
    #[serde(default)]
    pub rows: Option<String>,
    /// Asked once for each row of another request (or for each batch of them).
    #[serde(default)]
    pub for_each: Option<ForEach>,
    /// Errors that prove that there is none: `NoSuchBucketPolicy`; or, where the code says other things too, the code and words of its
    /// message: `InvalidAccessException: not subscribed`.
    #[serde(default)]
    pub absent: Vec<String>,
    /// jq: whether the answer means anything; false or null: whatever `requires` it is unknown.
    #[serde(default)]
    pub usable: Option<String>,
    /// A request without whose usable answer, in the same cell, this one is not asked.
    #[serde(default)]
    pub requires: Option<String>,
    /// Asked again until something holds.
    #[serde(default)]
    pub poll: Option<Poll>,
}

/// How a list goes on, and what shows its end: an answer without the token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// The member of the answer that holds the next token.
    pub token: String,
    /// The parameter that takes it.
    pub into: String,
    /// A member that says whether there is more (`IsTruncated`): it and the token must agree.
    #[serde(default)]
    pub more: Option<String>,
}

/// `for_each: {bucket: buckets, key: .Name, when: …, batch: 50}`.
#[derive(Debug, Clone)]
pub struct ForEach {
    /// The name that templates use for the row.
    pub name: String,
    /// The request whose rows are taken, those of the same cell.
    pub rows: String,
    /// jq: the row's key, by which joins find the answer; `$item` is the key that the row itself was asked for, in a fan-out of a fan-out,
    /// and templates have it by the name that the first fan-out gives it. Rows of the same key are asked for once, with the first one's values.
    pub key: String,
    /// jq: which rows; none: all.
    pub when: Option<String>,
    /// So many keys in one request, as `{<name>.keys}`. Where the rows are those of a fan-out too, a batch has rows of one item.
    pub batch: Option<usize>,
}

/// `poll`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// jq over the answer: true ends it.
    pub until: String,
    /// How long to wait between two.
    #[serde(deserialize_with = "length")]
    pub every: Duration,
    /// At most so many; after them the answer is not full.
    pub times: u32,
}

/// How records of a kind follow from a request's rows.
///
/// Expressions see the row as `.`, and `$cell`, `$item` (the key that the answer was asked for, else null), `$at` (when it was asked) and the
/// joins by their names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSpec {
    /// The request; or a kind of cells (`accounts x regions`): one row for each that is expected, its coordinates, whatever was answered
    /// there.
    pub rows: String,
    /// jq: which rows; none: all. Joins are not known to it.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
    /// jq: the record's id.
    pub id: String,
    /// jq: the source's own time, RFC 3339 or epoch seconds; none: the source gives none.
    #[serde(default)]
    pub as_of: Option<String>,
    /// Rows of other requests, found by key.
    #[serde(default)]
    pub join: BTreeMap<String, RowJoin>,
    /// jq: the record's members; `account`, `region` and other coordinates of the cell are added.
    pub fields: IndexMap<String, String>,
}

/// One of a record's `join`s: as `$<name>` it has `.known`, `.why` (where not known), `.absent` (proved by an error that `absent` names) and
/// `.row` (null where there is none), or with `many` `.rows`.
///
/// A fan-out is looked up by the key that it was asked for. A list is looked up by `key` among its rows of the same cell, or of the cells
/// that this one lies in (a region's volumes find the account's users, never another account's).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowJoin {
    /// The other request.
    pub with: String,
    /// jq over the record's row: the key. None, with `with` a request asked once in a cell: the whole answer; none with `many`: all rows, and
    /// those that were read where not all were (`.known` is false, and `.rows` is there).
    #[serde(default)]
    pub on: Option<String>,
    /// jq over the other request's row: its key; none: the same expression as `on`.
    #[serde(default)]
    pub key: Option<String>,
    /// Whether several rows may have one key.
    #[serde(default)]
    pub many: bool,
    /// jq over the other row: what is kept of it while the join is in memory; none: all.
    #[serde(default)]
    pub keep: Option<String>,
}

/// One, or a list of them.
#[derive(Debug, Clone)]
pub struct OneOrMore<T>(pub Vec<T>);

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |value| serde_json::from_value(value).map_err(de::Error::custom);
        match Value::deserialize(deserializer)? {
            Value::Array(values) => values.into_iter().map(read).collect::<Result<_, _>>().map(Self),
            value => Ok(Self(vec![read(value)?])),
        }
    }
}

impl<'de> Deserialize<'de> for ForEach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(de::Error::custom(format!("`{name}` of for_each is a text, not {other}"))),
        };
        let (key, when) = (text("key")?, text("when")?);
        let key = key.ok_or_else(|| de::Error::missing_field("key"))?;
        let batch = match members.remove("batch") {
            None => None,
            Some(value) => match value.as_u64() {
                Some(size @ 1..=1000) => Some(size as usize),
                _ => return Err(de::Error::custom(format!("`batch` of for_each is from 1 to 1000, not {value}"))),
            },
        };
        let mut rest = members.into_iter();
        match (rest.next(), rest.next()) {
            (Some((name, Value::String(rows))), None) => Ok(Self { name, rows, key, when, batch }),
            _ => Err(de::Error::custom("for_each names one request: `for_each: {bucket: buckets, key: .Name}`")),
        }
    }
}

fn a_quarter_of_an_hour() -> Duration {
    Duration::from_secs(900)
}

fn the_source() -> String {
    "source".into()
}

/// `90s`, `15m`, `36h`, `30d`.
fn length<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || de::Error::custom(format!("{text:?} is no length of time: write `90s`, `15m`, `36h` or `30d`"));
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().map(|number| Duration::from_secs(number * seconds)).map_err(|_| wrong())
}
