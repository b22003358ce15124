//! Layers of YAML 1.2, each value with the place that it was read at. Nothing is coerced here, and nothing is known of settings.
//!
//! The crate `config` puts the layers over one another; its own conversions, which would make `no` false and `'1'` a number, are not
//! used.

use std::{collections::BTreeMap, fmt};

use config::{Map, Source, Value, ValueKind};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use serde_saphyr::Spanned;

use super::{problems::Problem, tree::Shape};

/// A YAML value with its lines.
#[derive(Debug, Clone)]
struct Yaml {
    line: u64,
    shape: Shape<Yaml>,
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
