//! YAML 1.2 with the place of every key and value, and its strict reading into types. Nothing is coerced: `no` is text, `'1'` is text,
//! and a number is no text.
//!
//! The crate `config` puts the layers over one another; its own conversions, which would make `no` false and `'1'` a number, are not
//! used.

use std::{collections::BTreeMap, fmt};

use config::{Map, Source, Value, ValueKind};
use serde::{
    Deserialize, Deserializer,
    de::{self, Expected, Unexpected, Visitor},
    forward_to_deserialize_any,
};
use serde_saphyr::Spanned;

use super::problems::{Problem, hides, refused_key};

/// A YAML value with its lines.
#[derive(Debug, Clone)]
struct Yaml {
    line: u64,
    shape: Shape<Yaml>,
}

#[derive(Debug, Clone)]
enum Shape<T> {
    Null,
    Bool(bool),
    Whole(i64),
    Big(u64),
    Fraction(f64),
    Text(String),
    List(Vec<T>),
    Map(Vec<(String, T)>),
}

struct Key(Spanned<String>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Key)
    }
}

/// A value, or a map's with the lines of its keys.
struct Read(Shape<Yaml>, Vec<u64>);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Read;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_unit<E>(self) -> Result<Read, E> {
                Ok(Read(Shape::Null, vec![]))
            }
            fn visit_none<E>(self) -> Result<Read, E> {
                Ok(Read(Shape::Null, vec![]))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Read, E> {
                Ok(Read(Shape::Bool(value), vec![]))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Read, E> {
                Ok(Read(Shape::Whole(value), vec![]))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Read, E> {
                Ok(Read(i64::try_from(value).map_or(Shape::Big(value), Shape::Whole), vec![]))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Read, E> {
                Ok(Read(Shape::Fraction(value), vec![]))
            }
            fn visit_str<E>(self, value: &str) -> Result<Read, E> {
                Ok(Read(Shape::Text(value.to_owned()), vec![]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Read, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = list.next_element::<Yaml>()? {
                    all.push(value);
                }
                Ok(Read(Shape::List(all), vec![]))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let (mut all, mut lines) = (Vec::new(), Vec::new());
                while let Some((key, value)) = map.next_entry::<Key, Yaml>()? {
                    lines.push(key.0.referenced.line());
                    all.push((key.0.value, value));
                }
                Ok(Read(Shape::Map(all), lines))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: Read(mut shape, lines), referenced, .. } = Spanned::<Read>::deserialize(deserializer)?;
        if let Shape::Map(map) = &mut shape {
            // A block mapping begins on the line after its key; its key's line is what a person looks for.
            for ((_, value), line) in map.iter_mut().zip(lines) {
                value.line = line;
            }
        }
        Ok(Self { line: referenced.line(), shape })
    }
}

/// One layer for the crate `config`: values at paths, each with its place as its origin.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer(Vec<(Vec<String>, Value)>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let mut root = Map::new();
        for (path, value) in &self.0 {
            put(&mut root, path, value);
        }
        Ok(root)
    }
}

fn put(map: &mut Map<String, Value>, path: &[String], value: &Value) {
    match path {
        [] => {}
        [key] => {
            map.insert(key.clone(), value.clone());
        }
        [key, rest @ ..] => {
            let within = map.entry(key.clone()).or_insert_with(|| Map::<String, Value>::new().into());
            if !matches!(within.kind, ValueKind::Table(_)) {
                *within = Map::<String, Value>::new().into();
            }
            if let ValueKind::Table(map) = &mut within.kind {
                put(map, rest, value);
            }
        }
    }
}

fn read(text: &str, place: impl Fn(u64) -> String) -> Result<Yaml, Problem> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        with_snippet: false,
    };
    if text.trim().is_empty() {
        return Ok(Yaml { line: 1, shape: Shape::Null });
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        Problem { place: place(line), key: String::new(), message: plain_message(&error) }
    })
}

/// The parser's message without its own words for the place.
fn plain_message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = match error.location() {
        Some(at) => text
            .replace(&format!("line {} column {}: ", at.line(), at.column()), "")
            .replace(&format!(" at line {}, column {}", at.line(), at.column()), ""),
        None => text,
    };
    // The parser's advice is for programmers.
    let text =
        text.split(", set ").next().and_then(|text| text.split(" by configured policy").next()).unwrap_or_default();
    format!("not YAML as it is read here: {}", text.trim_end_matches('.'))
}

impl Layer {
    /// A file's text; `file` is its name in messages.
    pub(super) fn of_file(file: &str, text: &str) -> (Self, Vec<Problem>) {
        let place = |line: u64| format!("{file}:{line}");
        let refuse = |line: u64, key: &str, message: &str| Problem {
            place: place(line),
            key: key.to_owned(),
            message: message.to_owned(),
        };
        let (mut layer, mut problems) = (Self::default(), Vec::new());
        match read(text, place) {
            Err(problem) => problems.push(problem),
            Ok(Yaml { shape: Shape::Null, .. }) => {}
            Ok(Yaml { shape: Shape::Map(map), .. }) => {
                for (key, value) in map {
                    // `config` would take these for paths.
                    if key.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-') {
                        problems.push(refuse(
                            value.line,
                            &key,
                            "unknown key; what is inside is written inside, indented",
                        ));
                    } else {
                        layer.0.push((vec![key], value.into_value(&place)));
                    }
                }
            }
            Ok(other) => problems.push(refuse(other.line, "", "the file must be a mapping of keys to values")),
        }
        (layer, problems)
    }

    /// Variables, by name, with the path that each stands for.
    pub(super) fn of_variables(variables: &[(String, Vec<String>, String)]) -> (Self, Vec<Problem>) {
        let (mut layer, mut problems) = (Self::default(), Vec::new());
        for (name, path, text) in variables {
            match read(text, |_| name.clone()) {
                Ok(yaml) => layer.0.push((path.clone(), yaml.into_value(&|_| name.clone()))),
                Err(problem) => problems.push(Problem { key: path.join("."), ..problem }),
            }
        }
        (layer, problems)
    }

    /// Where each of its keys and values is, by path.
    pub(super) fn places(&self, places: &mut BTreeMap<String, String>) {
        for (path, value) in &self.0 {
            add_places(path.join("."), value, places);
        }
    }
}

fn add_places(path: String, value: &Value, places: &mut BTreeMap<String, String>) {
    match &value.kind {
        ValueKind::Table(map) => {
            map.iter().for_each(|(key, value)| add_places(format!("{path}.{key}"), value, places));
        }
        ValueKind::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| add_places(format!("{path}[{at}]"), value, places));
        }
        _ => {}
    }
    places.insert(path, value.origin().unwrap_or_default().to_owned());
}

impl Yaml {
    fn into_value(self, place: &impl Fn(u64) -> String) -> Value {
        let origin = place(self.line);
        let kind = match self.shape {
            Shape::Null => ValueKind::Nil,
            Shape::Bool(value) => ValueKind::Boolean(value),
            Shape::Whole(value) => ValueKind::I64(value),
            Shape::Big(value) => ValueKind::U64(value),
            Shape::Fraction(value) => ValueKind::Float(value),
            Shape::Text(value) => ValueKind::String(value),
            Shape::List(list) => ValueKind::Array(list.into_iter().map(|value| value.into_value(place)).collect()),
            Shape::Map(map) => {
                ValueKind::Table(map.into_iter().map(|(key, value)| (key, value.into_value(place))).collect())
            }
        };
        Value::new(Some(&origin), kind)
    }
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
