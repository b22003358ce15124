//! The configuration that holds, as YAML, with where each value came from. What may be a secret is never printed.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Loaded, problems::hides};

/// What stands for a value that may be a secret.
const HIDDEN: &str = "(hidden)";

impl Loaded {
    /// YAML that can be read again, each value followed by its place: `# default`, `# evidenced.yaml:12` or the variable.
    pub fn effective(&self) -> String {
        let value = serde_json::to_value(&self.config).expect("settings are text, numbers, lists and mappings of text");
        let mut out = match &self.file {
            Some(file) => format!("# Read from {}\n", file.display()),
            None => "# No file was read: there is no evidenced.yaml here, and none was named\n".to_owned(),
        };
        block(&mut out, &self.places, "", &value, 0, false);
        out
    }
}

/// Writes the members of a mapping or a list, each on lines of its own.
fn block(out: &mut String, places: &BTreeMap<String, String>, path: &str, value: &Value, depth: usize, inline: bool) {
    let indent = |first: bool| if inline && first { String::new() } else { "  ".repeat(depth) };
    match value {
        Value::Object(map) => {
            for (at, (key, value)) in map.iter().enumerate() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                out.push_str(&indent(at == 0));
                out.push_str(&text(key));
                out.push(':');
                let hidden = Value::from(HIDDEN);
                let value = if hides(key) && !value.is_null() { &hidden } else { value };
                member(out, places, &path, value, depth + 1);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                out.push_str(&"  ".repeat(depth));
                out.push('-');
                let path = format!("{path}[{at}]");
                if value.as_object().is_some_and(|map| !map.is_empty()) {
                    out.push(' ');
                    block(out, places, &path, value, depth + 1, true);
                } else {
                    member(out, places, &path, value, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// Writes what follows a key or a dash.
fn member(out: &mut String, places: &BTreeMap<String, String>, path: &str, value: &Value, depth: usize) {
    let scalar = match value {
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Array(list) if list.is_empty() => "[]".to_owned(),
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            return block(out, places, path, value, depth, false);
        }
        Value::String(value) => text(&without_password(value)),
        other => other.to_string(),
    };
    let place = places.get(path).map_or("default", String::as_str);
    out.push_str(&format!(" {scalar}  # {place}\n"));
}

/// `scheme://user:password@host`: `validate` refuses it, and it is not shown here.
fn without_password(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:{HIDDEN}@{host}{}", &rest[end..]),
        None => value.to_owned(),
    }
}

/// Plain where YAML reads it back as the same text, else in quotes; JSON's quotes are YAML's.
fn text(value: &str) -> String {
    let simple = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "/._@+-".contains(c));
    let word =
        !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&value.to_ascii_lowercase().as_str());
    if simple && word && value.parse::<f64>().is_err() && !is_special(value) {
        value.to_owned()
    } else {
        Value::from(value).to_string()
    }
}

/// Other spellings of numbers.
fn is_special(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.starts_with("0x")
        || value.starts_with("0o")
        || value.starts_with("0b")
        || [".inf", ".nan", "..."].contains(&value.as_str())
}
