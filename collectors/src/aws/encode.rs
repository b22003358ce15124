//! A request's parameters as the bytes that each protocol sends: <https://smithy.io/2.0/aws/protocols/index.html>.
//!
//! Strict: an unknown or missing parameter, or one of another type, is an error. Nothing is guessed.

use chrono::{DateTime, SecondsFormat, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Number, Value};

use super::{
    operations::{Operation, Protocol},
    shapes::{Kind, List, Location, Shape, Shapes, Structure, TimeFormat},
};

/// A request, but for its host and signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAsk {
    /// `GET`.
    pub method: String,
    /// `/b1?encryption`: encoded, path style for buckets.
    pub path_and_query: String,
    /// In lower case.
    pub headers: Vec<(String, String)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// What AWS's own endpoints want before the host name: `111122223333.`. An endpoint given by the operator does without it.
    pub host_prefix: Option<String>,
}

/// Makes a request of parameters with the names of the model.
///
/// # Errors
/// Which parameter cannot be sent and why, in words.
pub fn encode(operation: &Operation, parameters: &Map<String, Value>) -> Result<HttpAsk, String> {
    let known = known(&operation.input, parameters)?;
    let host_prefix = operation.host_prefix.as_deref().map(|template| host_prefix(template, &known)).transpose()?;
    let ask = |path_and_query: String, headers, body| HttpAsk {
        method: operation.method.clone(),
        path_and_query,
        headers,
        body,
        host_prefix,
    };
    let header = |name: &str, value: String| (name.to_owned(), value);
    let service = &operation.service;
    let shapes = &operation.inputs;
    Ok(match service.protocol {
        Protocol::Json => {
            let version = service.json_version.as_deref().unwrap_or("1.1");
            let target = service.target_prefix.as_deref().unwrap_or_default();
            let headers = vec![
                header("content-type", format!("application/x-amz-json-{version}")),
                header("x-amz-target", format!("{target}.{}", operation.name)),
            ];
            ask(operation.uri.clone(), headers, json(shapes, known.into_iter())?.to_string().into_bytes())
        }
        Protocol::Query | Protocol::Ec2 => {
            let mut form = vec![
                ("Action".to_owned(), operation.name.clone()),
                ("Version".to_owned(), service.api_version.clone()),
            ];
            for (name, (wire, kind, _), value) in known {
                flatten(&mut form, shapes, wire, kind, value).map_err(|e| format!("{name}: {e}"))?;
            }
            let headers = vec![header("content-type", "application/x-www-form-urlencoded; charset=utf-8".into())];
            ask(operation.uri.clone(), headers, joined(&form).into_bytes())
        }
        Protocol::RestJson | Protocol::RestXml => {
            let mut headers = Vec::new();
            for (name, (wire, kind, location), value) in &known {
                if *location == Some(Location::Header) {
                    let value = scalar(*kind, value).map_err(|e| format!("{name}: {e}"))?;
                    if value.chars().any(char::is_control) {
                        return Err(format!("{name}: a header holds no control characters"));
                    }
                    headers.push((wire.to_ascii_lowercase(), value));
                }
            }
            let path_and_query = path_and_query(operation, &known)?;
            let body = if operation.input.members.values().any(|member| member.location.is_none()) {
                if service.protocol == Protocol::RestXml {
                    return Err("requests with an XML body are not supported".into());
                }
                headers.push(header("content-type", "application/json".into()));
                json(shapes, known.into_iter().filter(|(_, (_, _, location), _)| location.is_none()))?
                    .to_string()
                    .into_bytes()
            } else {
                Vec::new()
            };
            ask(path_and_query, headers, body)
        }
    })
}

/// A parameter: the model's name, then the name on the wire, the type and the place, then the value.
type Given<'a> = (&'a str, (&'a str, Kind, Option<Location>), &'a Value);

fn known<'a>(structure: &'a Structure, parameters: &'a Map<String, Value>) -> Result<Vec<Given<'a>>, String> {
    if let Some(missing) = structure.required.iter().find(|name| !parameters.contains_key(*name)) {
        return Err(format!("{missing} is missing"));
    }
    parameters
        .iter()
        .map(|(name, value)| {
            let member = structure.members.get(name).ok_or_else(|| format!("there is no parameter {name}"))?;
            Ok((name.as_str(), (member.wire.as_str(), member.kind, member.location), value))
        })
        .collect()
}

/// A JSON object of parameters.
fn json<'a>(shapes: &Shapes, given: impl Iterator<Item = Given<'a>>) -> Result<Value, String> {
    let mut object = Map::new();
    for (name, (wire, kind, _), value) in given {
        let value = json_value(shapes, kind, value).map_err(|e| format!("{name}: {e}"))?;
        object.insert(wire.to_owned(), value);
    }
    Ok(Value::Object(object))
}

fn json_value(shapes: &Shapes, kind: Kind, value: &Value) -> Result<Value, String> {
    match shapes.of(kind) {
        Some(Shape::Structure(structure)) => json(shapes, known(structure, object(value)?)?.into_iter()),
        Some(Shape::List(list)) => array(value)?.iter().map(|value| json_value(shapes, list.of, value)).collect(),
        Some(Shape::Map(map)) => object(value)?
            .iter()
            .map(|(key, value)| Ok((key.clone(), json_value(shapes, map.of, value)?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
        None => match kind {
            Kind::Any => Ok(value.clone()),
            Kind::Timestamp(TimeFormat::Unix) => Ok(epoch(instant(value)?)),
            Kind::Timestamp(_) => scalar(kind, value).map(Value::String),
            _ => scalar(kind, value).map(|_| value.clone()),
        },
    }
}

/// The members of a form: `Filter.1.Value.1=…`.
fn flatten(
    form: &mut Vec<(String, String)>,
    shapes: &Shapes,
    name: &str,
    kind: Kind,
    value: &Value,
) -> Result<(), String> {
    match shapes.of(kind) {
        Some(Shape::Structure(structure)) => {
            for (member, (wire, kind, _), value) in known(structure, object(value)?)? {
                flatten(form, shapes, &format!("{name}.{wire}"), kind, value).map_err(|e| format!("{member}: {e}"))?;
            }
        }
        Some(Shape::List(List { of, item, .. })) => {
            let values = some(array(value)?)?;
            let name = item.as_ref().map_or_else(|| name.to_owned(), |item| format!("{name}.{item}"));
            for (number, value) in (1..).zip(values) {
                flatten(form, shapes, &format!("{name}.{number}"), *of, value).map_err(|e| format!("{number}: {e}"))?;
            }
        }
        Some(Shape::Map(_)) => return Err("a map cannot be sent in a form".into()),
        None => form.push((name.to_owned(), scalar(kind, value)?)),
    }
    Ok(())
}

fn path_and_query(operation: &Operation, known: &[Given<'_>]) -> Result<String, String> {
    let (template, fixed) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (label, after) = after.split_once('}').ok_or("the path's template has no end")?;
        let (label, kept) = label.strip_suffix('+').map_or((label, UNRESERVED), |label| (label, UNRESERVED_AND_SLASH));
        let given = known.iter().find(|(_, (wire, _, location), _)| *wire == label && *location == Some(Location::Uri));
        let (name, (_, kind, _), value) = given.ok_or_else(|| format!("{label} is missing"))?;
        let text = scalar(*kind, value).map_err(|e| format!("{name}: {e}"))?;
        // An empty label, or one that a server takes for a step in the path, would ask something else.
        if text.is_empty() || text.split('/').any(|step| step == "." || step == "..") {
            return Err(format!("{name}: {text:?} cannot stand in a path"));
        }
        path.push_str(before);
        path.extend(utf8_percent_encode(&text, kept));
        rest = after;
    }
    path.push_str(rest);

    let mut query = Vec::new();
    for (name, (wire, kind, location), value) in known {
        if *location != Some(Location::Query) {
            continue;
        }
        let mut push = |wire: &str, kind, value| {
            query.push((wire.to_owned(), scalar(kind, value).map_err(|e| format!("{name}: {e}"))?));
            Ok::<_, String>(())
        };
        match operation.inputs.of(*kind) {
            Some(Shape::List(list)) => some(array(value)?)?.iter().try_for_each(|value| push(wire, list.of, value))?,
            _ => push(wire, *kind, value)?,
        }
    }
    let query = joined(&query);
    let between = if fixed.is_empty() || query.is_empty() { "" } else { "&" };
    Ok(match (fixed.is_empty(), query.is_empty()) {
        (true, true) => path,
        _ => format!("{path}?{fixed}{between}{query}"),
    })
}

fn host_prefix(template: &str, known: &[Given<'_>]) -> Result<String, String> {
    let mut prefix = template.to_owned();
    for (name, _, value) in known {
        let Some(text) = value.as_str() else { continue };
        let label = format!("{{{name}}}");
        if prefix.contains(&label) {
            let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
            if text.is_empty() || text.len() > 63 || !fits {
                return Err(format!("{name}: {text:?} cannot stand in a host name"));
            }
            prefix = prefix.replace(&label, text);
        }
    }
    if prefix.contains('{') { Err(format!("a part of the host name {prefix:?} is missing")) } else { Ok(prefix) }
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            format!("{}={}", utf8_percent_encode(name, UNRESERVED), utf8_percent_encode(value, UNRESERVED))
        })
        .collect();
    pairs.join("&")
}

fn scalar(kind: Kind, value: &Value) -> Result<String, String> {
    match (kind, value) {
        (Kind::String, Value::String(text)) => Ok(text.clone()),
        (Kind::Boolean, Value::Bool(value)) => Ok(value.to_string()),
        (Kind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        (Kind::Float, Value::Number(number)) => Ok(number.to_string()),
        (Kind::Timestamp(format), _) => {
            let at = instant(value)?;
            Ok(match format {
                TimeFormat::Unix => epoch(at).to_string(),
                TimeFormat::Http => at.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                TimeFormat::Iso | TimeFormat::AsItIs => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            })
        }
        _ => Err(format!("{value} is not {}", kind_in_words(kind))),
    }
}

fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "a text",
        Kind::Boolean => "true or false",
        Kind::Integer => "a whole number",
        Kind::Float => "a number",
        Kind::Timestamp(_) => "an instant",
        _ => "a scalar that can be sent",
    }
}

/// RFC 3339 text, or seconds since 1970.
fn instant(value: &Value) -> Result<DateTime<Utc>, String> {
    let at = match value {
        Value::String(text) => text.parse::<DateTime<Utc>>().ok(),
        Value::Number(number) => number.as_i64().and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        _ => None,
    };
    at.ok_or_else(|| format!("{value} is no instant"))
}

fn epoch(at: DateTime<Utc>) -> Value {
    if at.timestamp_subsec_nanos() == 0 {
        return at.timestamp().into();
    }
    // A double holds microseconds of our time exactly enough, and milliseconds are all that services take.
    Number::from_f64(at.timestamp_micros() as f64 / 1e6).map_or(Value::Null, Value::Number)
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{value} is not an object"))
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("{value} is not a list"))
}

/// A list that is not empty: one that is would vanish from the request, which then asks for everything.
fn some(values: &[Value]) -> Result<&[Value], String> {
    if values.is_empty() { Err("an empty list would ask for everything".into()) } else { Ok(values) }
}

#[cfg(test)]
mod tests;
