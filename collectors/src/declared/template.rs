//! `{bucket.Name}` in the parameters of a request. A text that is nothing but one of them takes the value as it is; within other text the
//! value must be a text, a number or a boolean.

use serde_json::{Map, Value};

/// Parameters with their places to fill.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// As written.
    Literal(Value),
    /// A place, by its path.
    Place(Vec<String>),
    /// Text with places.
    Text(Vec<Part>),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// As written.
    Text(String),
    /// A place, by its path.
    Place(Vec<String>),
}

impl Template {
    /// Reads a value as written. `names` are the first parts that places may have.
    ///
    /// # Errors
    /// A place that is not closed, or of another name.
    pub fn parse(written: &Value, names: &[&str]) -> Result<Self, String> {
        Ok(match written {
            Value::String(text) => Self::text(text, names)?,
            Value::Array(values) => {
                Self::List(values.iter().map(|value| Self::parse(value, names)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(value, names)?)))
                    .collect::<Result<_, String>>()?,
            ),
            other => Self::Literal(other.clone()),
        })
    }

    fn text(text: &str, names: &[&str]) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| format!("{text:?}: a `{{` is not closed"))? + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let path: Vec<String> = rest[open + 1..close].split('.').map(str::to_owned).collect();
            if !names.contains(&path[0].as_str()) {
                return Err(format!("{text:?}: there is no {:?}; there is {}", path[0], names.join(", ")));
            }
            parts.push(Part::Place(path));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(match parts.as_slice() {
            [] => Self::Literal(Value::String(String::new())),
            [Part::Text(text)] => Self::Literal(Value::String(text.clone())),
            [Part::Place(path)] => Self::Place(path.clone()),
            _ => Self::Text(parts),
        })
    }

    /// Fills the places.
    ///
    /// # Errors
    /// A place without a value, or with one that fits no text.
    pub fn fill(&self, values: &Map<String, Value>) -> Result<Value, String> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Place(path) => find(values, path)?.clone(),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(written) => text.push_str(written),
                        Part::Place(path) => match find(values, path)? {
                            Value::String(value) => text.push_str(value),
                            value @ (Value::Number(_) | Value::Bool(_)) => text.push_str(&value.to_string()),
                            other => return Err(format!("{{{}}} is {other}, which is no text", path.join("."))),
                        },
                    }
                }
                Value::String(text)
            }
            Self::List(list) => list.iter().map(|template| template.fill(values)).collect::<Result<_, _>>()?,
            Self::Object(members) => {
                let filled = members.iter().map(|(name, template)| Ok((name.clone(), template.fill(values)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
        })
    }
}

fn find<'a>(values: &'a Map<String, Value>, path: &[String]) -> Result<&'a Value, String> {
    let mut at = values.get(&path[0]);
    for name in &path[1..] {
        at = at.and_then(|value| value.get(name));
    }
    match at {
        None | Some(Value::Null) => Err(format!("{{{}}} has no value", path.join("."))),
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn filled(written: Value) -> Result<Value, String> {
        let values = json!({"bucket": {"Name": "b", "n": 7, "list": [1]}, "window": {"from": "2026-11-22T00:00:00Z"}});
        Template::parse(&written, &["bucket", "window"])?.fill(values.as_object().unwrap())
    }

    #[test]
    fn places_are_filled_wherever_they_stand() {
        assert_eq!(filled(json!("{bucket.Name}")).unwrap(), json!("b"));
        assert_eq!(filled(json!("{bucket.list}")).unwrap(), json!([1]));
        assert_eq!(filled(json!("x/{bucket.Name}/{bucket.n}")).unwrap(), json!("x/b/7"));
        assert_eq!(
            filled(json!({"a": ["{window.from}", 1, true], "b": ""})).unwrap(),
            json!({"a": ["2026-11-22T00:00:00Z", 1, true], "b": ""})
        );
    }

    #[test]
    fn a_place_without_a_value_is_refused_and_never_left_empty() {
        assert!(filled(json!("{bucket.Other}")).unwrap_err().contains("has no value"));
        assert!(filled(json!("x{bucket.list}")).unwrap_err().contains("no text"));
        assert!(filled(json!("{user.x}")).unwrap_err().contains("there is no \"user\""));
        assert!(filled(json!("{bucket.x")).unwrap_err().contains("not closed"));
    }
}
