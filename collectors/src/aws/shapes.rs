//! What requests and answers are made of, as the files in `definitions/aws/model` have it; `tests/tools/aws_model.py` writes them from
//! botocore's models and settles there what each protocol calls things.

use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;
use serde::Deserialize;

/// A scalar, or a shape of the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Boolean,
    Integer,
    Float,
    Blob,
    Timestamp(TimeFormat),
    /// Whatever JSON it is.
    Any,
    /// A list, a structure or a map whose insides are JSON with the model's own names.
    List,
    Structure,
    Map,
    Shape(usize),
}

/// How a request writes an instant. Answers keep what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeFormat {
    Unix,
    Iso,
    Http,
    AsItIs,
}

/// Where a member of a request goes; a member without one goes into the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Location {
    Uri,
    Query,
    Header,
    Headers,
}

#[derive(Debug)]
pub(super) enum Shape {
    Structure(Structure),
    List(List),
    Map(Map),
}

#[derive(Debug, Default)]
pub(super) struct Structure {
    pub(super) members: IndexMap<String, Member>,
    /// By name on the wire: which of `members`.
    pub(super) by_wire: HashMap<String, usize>,
    pub(super) required: Vec<String>,
    /// The member that is the whole body.
    pub(super) payload: Option<String>,
}

impl Structure {
    /// The member of a name on the wire, and its place among the members.
    pub(super) fn on_the_wire(&self, wire: &str) -> Option<(usize, &str, &Member)> {
        let at = *self.by_wire.get(wire)?;
        self.members.get_index(at).map(|(name, member)| (at, name.as_str(), member))
    }
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) wire: String,
    pub(super) location: Option<Location>,
    /// An XML attribute of the structure's element.
    pub(super) attribute: bool,
}

#[derive(Debug)]
pub(super) struct List {
    pub(super) of: Kind,
    /// In a request of the query protocol: what stands between the list's name and the number.
    pub(super) item: Option<String>,
    /// In an XML answer: the elements stand beside each other without one around them.
    pub(super) flat: bool,
}

/// What its element in XML calls keys and values.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) of: Kind,
    pub(super) key: String,
    pub(super) value: String,
}

/// The shapes of one direction of one service.
#[derive(Debug, Default)]
pub(super) struct Shapes(Vec<Shape>);

impl Shapes {
    /// The shape behind a kind; none for a scalar.
    pub(super) fn of(&self, kind: Kind) -> Option<&Shape> {
        match kind {
            Kind::Shape(at) => self.0.get(at),
            _ => None,
        }
    }

    /// Whether a kind is a list whose XML elements stand without one around them.
    pub(super) fn flat(&self, kind: Kind) -> bool {
        matches!(self.of(kind), Some(Shape::List(list)) if list.flat)
    }
}

/// A shape as the file has it: exactly one of `members`, `list` and `map` is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    members: Option<IndexMap<String, WrittenMember>>,
    #[serde(default)]
    required: Vec<String>,
    payload: Option<String>,
    list: Option<String>,
    item: Option<String>,
    map: Option<String>,
    key: Option<String>,
    value: Option<String>,
    #[serde(default)]
    flat: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WrittenMember {
    Plain(String),
    Full(WrittenFull),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFull {
    is: String,
    wire: Option<String>,
    #[serde(rename = "in")]
    location: Option<Location>,
    #[serde(default)]
    attribute: bool,
}

/// Numbers the shapes of a table.
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    pub(super) fn of(table: &BTreeMap<String, Written>) -> Self {
        Self(table.keys().cloned().zip(0..).collect())
    }

    /// The shapes of the table that the names were taken from.
    pub(super) fn shapes(&self, table: BTreeMap<String, Written>) -> Result<Shapes, String> {
        table.into_values().map(|written| self.shape(written)).collect::<Result<_, _>>().map(Shapes)
    }

    pub(super) fn structure(&self, written: Written) -> Result<Structure, String> {
        match self.shape(written)? {
            Shape::Structure(structure) => Ok(structure),
            other => Err(format!("{other:?} is no structure")),
        }
    }

    fn shape(&self, written: Written) -> Result<Shape, String> {
        let Written { members, required, payload, list, item, map, key, value, flat } = written;
        match (members, list, map) {
            (Some(members), None, None) => {
                let members: IndexMap<String, Member> =
                    members.into_iter().map(|(name, member)| self.member(name, member)).collect::<Result<_, _>>()?;
                let by_wire = members.values().map(|member| member.wire.clone()).zip(0..).collect();
                Ok(Shape::Structure(Structure { members, by_wire, required, payload }))
            }
            (None, Some(of), None) => Ok(Shape::List(List { of: self.kind(&of)?, item, flat })),
            (None, None, Some(of)) => Ok(Shape::Map(Map {
                of: self.kind(&of)?,
                key: key.unwrap_or_else(|| "key".into()),
                value: value.unwrap_or_else(|| "value".into()),
            })),
            other => Err(format!("a shape is a structure, a list or a map, not {other:?}")),
        }
    }

    fn member(&self, name: String, written: WrittenMember) -> Result<(String, Member), String> {
        let full = match written {
            WrittenMember::Plain(is) => WrittenFull { is, wire: None, location: None, attribute: false },
            WrittenMember::Full(full) => full,
        };
        let member = Member {
            kind: self.kind(&full.is)?,
            wire: full.wire.unwrap_or_else(|| name.clone()),
            location: full.location,
            attribute: full.attribute,
        };
        Ok((name, member))
    }

    fn kind(&self, word: &str) -> Result<Kind, String> {
        if let Some(name) = word.strip_prefix('#') {
            return self.0.get(name).copied().map(Kind::Shape).ok_or_else(|| format!("there is no shape {name}"));
        }
        Ok(match word {
            "string" => Kind::String,
            "boolean" => Kind::Boolean,
            "integer" => Kind::Integer,
            "float" => Kind::Float,
            "blob" => Kind::Blob,
            "timestamp" => Kind::Timestamp(TimeFormat::AsItIs),
            "timestamp:unixtimestamp" => Kind::Timestamp(TimeFormat::Unix),
            "timestamp:iso8601" => Kind::Timestamp(TimeFormat::Iso),
            "timestamp:rfc822" => Kind::Timestamp(TimeFormat::Http),
            "any" => Kind::Any,
            "list" => Kind::List,
            "structure" => Kind::Structure,
            "map" => Kind::Map,
            _ => return Err(format!("{word} is no type")),
        })
    }
}
