//! A validator for the part of JSON Schema 2020-12 that our schemas use. A keyword that it does not know is a panic, so that no part of a
//! schema goes unchecked.

use std::path::Path;

use serde_json::Value;

/// A schema of `signing/schemas`.
pub fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../signing/schemas/{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// What is wrong with a value, each with its place; nothing when it is valid.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, value, "$", &mut faults);
    faults
}

fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut faults = Vec::new();
    check(root, schema, value, "", &mut faults);
    faults.is_empty()
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return faults.push(format!("{place}: nothing may be here")),
        Value::Object(keywords) => keywords,
        other => panic!("{other} is no schema"),
    };
    for (keyword, said) in keywords {
        let mut wrong = |bad: bool| {
            if bad {
                faults.push(format!("{place}: {value} against {keyword} {said}"));
            }
        };
        let number = || said.as_f64().unwrap();
        let length = || said.as_u64().unwrap() as usize;
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let pointer = said.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, place, faults);
            }
            "type" => wrong(!is(value, said.as_str().unwrap())),
            "const" => wrong(value != said),
            "enum" => wrong(!said.as_array().unwrap().contains(value)),
            "anyOf" => wrong(!said.as_array().unwrap().iter().any(|s| valid(root, s, value))),
            "oneOf" => wrong(said.as_array().unwrap().iter().filter(|s| valid(root, s, value)).count() != 1),
            "minimum" => wrong(value.as_f64().is_some_and(|n| n < number())),
            "maximum" => wrong(value.as_f64().is_some_and(|n| n > number())),
            "minLength" => wrong(value.as_str().is_some_and(|s| s.chars().count() < length())),
            "maxLength" => wrong(value.as_str().is_some_and(|s| s.chars().count() > length())),
            "pattern" => wrong(value.as_str().is_some_and(|s| !matches(said.as_str().unwrap(), s))),
            "minItems" => wrong(value.as_array().is_some_and(|a| a.len() < length())),
            "maxItems" => wrong(value.as_array().is_some_and(|a| a.len() > length())),
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                wrong(value.is_object() && said.as_array().unwrap().iter().any(|n| missing(&n)));
            }
            "properties" => {
                for (name, schema) in said.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check(root, schema, member, &format!("{place}.{name}"), faults);
                    }
                }
            }
            "additionalProperties" => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if named.is_none_or(|n| !n.contains_key(name)) {
                        check(root, said, member, &format!("{place}.{name}"), faults);
                    }
                }
            }
            "prefixItems" => {
                for (n, (schema, item)) in said.as_array().unwrap().iter().zip(items(value)).enumerate() {
                    check(root, schema, item, &format!("{place}[{n}]"), faults);
                }
            }
            "items" => {
                let before = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                for (n, item) in items(value).iter().enumerate().skip(before) {
                    check(root, said, item, &format!("{place}[{n}]"), faults);
                }
            }
            unknown => panic!("{unknown} is a keyword that this validator does not know"),
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is a type that this validator does not know"),
    }
}

/// The patterns of our schemas, by hand: there is no other use for regular expressions here.
fn matches(pattern: &str, text: &str) -> bool {
    let all = |set: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(set);
    match pattern {
        "^[0-9a-f]{64}$" => text.len() == 64 && all(&|c| c.is_ascii_digit() || ('a'..='f').contains(&c)),
        "^[A-Za-z0-9_][A-Za-z0-9_.-]*$" => {
            !text.starts_with(['.', '-']) && all(&|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        }
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" => {
            let fits = |(a, b): (char, char)| if b == '0' { a.is_ascii_digit() } else { a == b };
            text.len() == 10 && text.chars().zip("0000-00-00".chars()).all(fits)
        }
        "^[a-z0-9-]+$" => all(&|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
        r"^[^\s+]+$" => all(&|c| !c.is_whitespace() && c != '+'),
        "^SHA256:[A-Za-z0-9+/]{43}$" => text
            .strip_prefix("SHA256:")
            .is_some_and(|s| s.len() == 43 && s.chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c))),
        "^[A-Za-z0-9_./-]+@[A-Za-z0-9_./-]+$" => {
            let part = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
            text.split_once('@').is_some_and(|(a, b)| part(a) && part(b))
        }
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z$" => {
            let Some((whole, rest)) = text.split_at_checked(19) else { return false };
            let fits = |(a, b): (char, char)| if b == '0' { a.is_ascii_digit() } else { a == b };
            let fraction = rest.strip_suffix('Z').map(|f| f.strip_prefix('.').unwrap_or(f));
            whole.chars().zip("0000-00-00T00:00:00".chars()).all(fits)
                && fraction.is_some_and(|f| {
                    f.len() <= 3 && f.chars().all(|c| c.is_ascii_digit()) && f.is_empty() == (rest == "Z")
                })
        }
        "^[^/]+(/[^/]+)+$" => text.contains('/') && text.split('/').all(|part| !part.is_empty()),
        "^D-[0-9a-f]{12}$" => text
            .strip_prefix("D-")
            .is_some_and(|hex| hex.len() == 12 && hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))),
        "^164[.][0-9]{3}[()A-Za-z0-9]*$" => {
            text.strip_prefix("164.").and_then(|t| t.split_at_checked(3)).is_some_and(|(section, rest)| {
                section.chars().all(|c| c.is_ascii_digit())
                    && rest.chars().all(|c| c.is_ascii_alphanumeric() || "()".contains(c))
            })
        }
        other => panic!("{other} is a pattern that this validator does not know"),
    }
}
