//! The merged configuration as a tree, and its strict reading into types: `no` is text, `'1'` is text, and a number is no text. Every
//! mistake is found, not only the first, and carries its key and place.

use std::{collections::BTreeMap, fmt};

use config::{Map, Value, ValueKind};
use serde::{
    Deserialize, Deserializer,
    de::{self, Expected, Unexpected, Visitor},
    forward_to_deserialize_any,
};

use super::problems::{Problem, hides, refused_key};

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Shape<T> {
    Null,
    Bool(bool),
    Whole(i64),
    Big(u64),
    Fraction(f64),
    Text(String),
    List(Vec<T>),
    Map(Vec<(String, T)>),
}

/// A merged value with its path and place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    path: String,
    place: String,
    shape: Shape<Node>,
}

impl Node {
    /// The layers, merged. The places are the layers' own, since merging forgets those of mappings.
    pub(super) fn root(table: Map<String, Value>, places: &BTreeMap<String, String>) -> Self {
        Self::new(String::new(), Value::from(table), places)
    }

    fn new(path: String, value: Value, places: &BTreeMap<String, String>) -> Self {
        let place = places.get(&path).cloned().unwrap_or_default();
        let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let shape = match value.kind {
            ValueKind::Nil => Shape::Null,
            ValueKind::Boolean(value) => Shape::Bool(value),
            ValueKind::I64(value) => Shape::Whole(value),
            ValueKind::U64(value) => Shape::Big(value),
            ValueKind::Float(value) => Shape::Fraction(value),
            // No layer makes these two.
            ValueKind::I128(value) => Shape::Fraction(value as f64),
            ValueKind::U128(value) => Shape::Fraction(value as f64),
            ValueKind::String(value) => Shape::Text(value),
            ValueKind::Array(list) => {
                let list = list.into_iter().enumerate();
                Shape::List(list.map(|(at, value)| Self::new(format!("{path}[{at}]"), value, places)).collect())
            }
            ValueKind::Table(map) => {
                let map: BTreeMap<String, Value> = map.into_iter().collect();
                Shape::Map(
                    map.into_iter().map(|(key, value)| (key.clone(), Self::new(under(&key), value, places))).collect(),
                )
            }
        };
        Self { path, place, shape }
    }

    /// Reads the type. Every mistake is named: what one is at is taken out, and reading goes on.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(mut self) -> Result<T, Vec<Problem>> {
        let mut problems: Vec<Problem> = Vec::new();
        loop {
            let fault = match T::deserialize(&self) {
                Ok(value) if problems.is_empty() => return Ok(value),
                Ok(_) => return Err(problems),
                Err(fault) => fault,
            };
            let path = fault.path.clone().unwrap_or_default();
            // Missing because it was refused and taken out is no second mistake.
            let taken_out = fault.missing.map(|name| format!("{path}.{name}"));
            if !problems.iter().any(|problem| Some(&problem.key) == taken_out.as_ref()) {
                problems.push(fault.into_problem());
            }
            if path.is_empty() || !self.remove(&path) {
                return Err(problems);
            }
        }
    }

    fn remove(&mut self, path: &str) -> bool {
        match &mut self.shape {
            Shape::Map(map) => {
                let before = map.len();
                map.retain(|(_, node)| node.path != path);
                map.len() < before || map.iter_mut().any(|(_, node)| node.remove(path))
            }
            Shape::List(list) => {
                let before = list.len();
                list.retain(|node| node.path != path);
                list.len() < before || list.iter_mut().any(|node| node.remove(path))
            }
            _ => false,
        }
    }
}

/// Why a node is not of the type.
#[derive(Debug)]
pub(super) struct Fault {
    path: Option<String>,
    place: String,
    message: String,
    missing: Option<&'static str>,
}

impl Fault {
    fn at(mut self, path: &str, place: &str) -> Self {
        if self.path.is_none() {
            self.path = Some(path.to_owned());
            place.clone_into(&mut self.place);
        }
        self
    }

    fn into_problem(self) -> Problem {
        let key = self.path.unwrap_or_default();
        let message = match self.message.split_once(", found ") {
            Some((expected, _)) if key.split(['.', '[']).any(hides) => {
                format!("{expected}, found another value (not shown)")
            }
            _ => self.message,
        };
        Problem { place: self.place, key, message }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: None, place: String::new(), message: message.to_string(), missing: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = expected.to_string();
        let (wanted, number, text) = match wanted.as_str() {
            "a boolean" => ("true or false".to_owned(), false, false),
            "a string" | "string" | "path string" => ("text".to_owned(), false, true),
            "a sequence" => ("a list".to_owned(), false, false),
            other if is_whole(other) => ("a whole number".to_owned(), true, false),
            other if other.starts_with("struct ") || other == "a map" => {
                ("a mapping of keys to values".to_owned(), false, false)
            }
            other => (other.to_owned(), false, false),
        };
        let hint = match found {
            Unexpected::Str(found) if number && found.parse::<f64>().is_ok() => "; write it without quotes",
            Unexpected::Str("true" | "false") if wanted == "true or false" => "; write it without quotes",
            Unexpected::Str("no" | "No" | "NO" | "off" | "Off" | "OFF") if wanted == "true or false" => {
                "; YAML 1.2 takes it for text: write false"
            }
            Unexpected::Str("yes" | "Yes" | "YES" | "on" | "On" | "ON") if wanted == "true or false" => {
                "; YAML 1.2 takes it for text: write true"
            }
            Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_) if text => {
                "; put it in quotes"
            }
            _ => "",
        };
        let found = match found {
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Signed(value) => value.to_string(),
            Unexpected::Unsigned(value) => value.to_string(),
            Unexpected::Float(value) => format!("{value:?}"),
            Unexpected::Str(value) => format!("the text {value:?}"),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            other => other.to_string(),
        };
        Self::custom(format!("expected {wanted}, found {found}{hint}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = expected.to_string();
        let wanted = match wanted.as_str() {
            "u8" => "a whole number from 0 to 255".to_owned(),
            "u16" => format!("a whole number from 0 to {}", u16::MAX),
            "u32" => format!("a whole number from 0 to {}", u32::MAX),
            other if is_whole(other) => "a whole number that is not negative".to_owned(),
            other => other.to_owned(),
        };
        let found = match found {
            Unexpected::Signed(value) => value.to_string(),
            Unexpected::Unsigned(value) => value.to_string(),
            other => other.to_string(),
        };
        Self::custom(format!("expected {wanted}, found {found}"))
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(refused_key(name, expected))
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("{name:?} is none of {}", expected.join(", ")))
    }

    fn missing_field(name: &'static str) -> Self {
        Self { missing: Some(name), ..Self::custom(format!("the key `{name}` is missing")) }
    }
}

fn is_whole(expected: &str) -> bool {
    let bits = expected.strip_prefix(['u', 'i']).unwrap_or_default();
    bits == "size" || bits.parse::<u8>().is_ok() || expected.starts_with("a nonzero")
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let value = match &self.shape {
            Shape::Null => visitor.visit_unit(),
            Shape::Bool(value) => visitor.visit_bool(*value),
            Shape::Whole(value) => visitor.visit_i64(*value),
            Shape::Big(value) => visitor.visit_u64(*value),
            Shape::Fraction(value) => visitor.visit_f64(*value),
            Shape::Text(value) => visitor.visit_str(value),
            Shape::List(list) => visitor.visit_seq(de::value::SeqDeserializer::new(list.iter())),
            Shape::Map(map) => visitor.visit_map(Entries { rest: map, value: None }),
        };
        value.map_err(|fault| fault.at(&self.path, &self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.shape {
            Shape::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|fault| fault.at(&self.path, &self.place))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(&self.path, &self.place))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.shape {
            Shape::Text(name) => visitor.visit_enum(de::value::StrDeserializer::new(name)),
            _ => Err(de::Error::custom(format!("expected one of {}", names.join(", ")))),
        }
        .map_err(|fault: Fault| fault.at(&self.path, &self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> de::IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

struct Entries<'de> {
    rest: &'de [(String, Node)],
    value: Option<&'de Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(((key, node), rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        self.value = Some(node);
        let key = de::value::BorrowedStrDeserializer::new(key);
        seed.deserialize(key).map(Some).map_err(|fault: Fault| fault.at(&node.path, &node.place))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        seed.deserialize(node).map_err(|fault| fault.at(&node.path, &node.place))
    }
}
