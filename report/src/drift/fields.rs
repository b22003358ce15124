//! Two records of one id, field by field.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::rules::{Record, Shape};
use crate::model::FieldChange;

/// The first half of a SHA-256.
pub(crate) type Print = [u8; 16];

fn half(hasher: Sha256) -> Print {
    let mut print = [0; 16];
    print.copy_from_slice(&hasher.finalize()[..16]);
    print
}

/// Of text.
pub(crate) fn print(text: &str) -> Print {
    half(Sha256::new_with_prefix(text))
}

/// Of a record, without what is volatile: the same for records between which [`differences`] finds none.
pub(crate) fn print_of(record: &Record, shape: &Shape) -> Print {
    let mut text = String::new();
    write_members(record, shape, &mut String::new(), &mut text);
    print(&text)
}

/// The fields that differ, by name. A field that is not there is null.
pub(crate) fn differences(before: &Record, after: &Record, shape: &Shape) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(before, after, shape, &mut String::new(), &mut changes);
    changes
}

fn compare(before: &Record, after: &Record, shape: &Shape, path: &mut String, changes: &mut Vec<FieldChange>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let outer = enter(path, name);
        if !shape.volatile.contains(path.as_str()) {
            let of = |record: &Record| record.get(name).cloned().unwrap_or_default();
            match (of(before), of(after)) {
                (Value::Object(before), Value::Object(after)) => compare(&before, &after, shape, path, changes),
                (before, after) => {
                    if canonical(&before, shape, path) != canonical(&after, shape, path) {
                        changes.push(FieldChange { field: path.clone(), before, after });
                    }
                }
            }
        }
        path.truncate(outer);
    }
}

/// Whether two values of a field are the same but for order.
pub(crate) fn same(one: &Value, other: &Value, shape: &Shape, field: &str) -> bool {
    canonical(one, shape, &mut field.to_owned()) == canonical(other, shape, &mut field.to_owned())
}

fn canonical(value: &Value, shape: &Shape, path: &mut String) -> String {
    let mut text = String::new();
    write(value, shape, path, &mut text);
    text
}

fn enter(path: &mut String, name: &str) -> usize {
    let outer = path.len();
    if outer > 0 {
        path.push('.');
    }
    path.push_str(name);
    outer
}

/// JSON with sorted members, sets sorted, numbers in one spelling, without nulls in objects.
fn write(value: &Value, shape: &Shape, path: &mut String, out: &mut String) {
    match value {
        Value::Object(members) => write_members(members, shape, path, out),
        Value::Array(values) => {
            let mut texts: Vec<String> = values.iter().map(|value| canonical(value, shape, path)).collect();
            if !shape.ordered.contains(path.as_str()) {
                texts.sort();
            }
            out.push('[');
            for text in texts {
                out.push_str(&text);
                out.push(',');
            }
            out.push(']');
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => *out += &format!("{float:.0}"),
            _ => *out += &number.to_string(),
        },
        other => *out += &other.to_string(),
    }
}

fn write_members(members: &Record, shape: &Shape, path: &mut String, out: &mut String) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    sorted.sort_by_key(|(name, _)| *name);
    out.push('{');
    for (name, value) in sorted {
        let outer = enter(path, name);
        if !shape.volatile.contains(path.as_str()) {
            *out += &Value::from(name.as_str()).to_string();
            out.push(':');
            write(value, shape, path, out);
            out.push(',');
        }
        path.truncate(outer);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(volatile: &[&str], ordered: &[&str]) -> Shape {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shape { volatile: set(volatile), ordered: set(ordered), turnover: false, compared: true }
    }

    fn record(value: Value) -> Record {
        serde_json::from_value(value).unwrap_or_default()
    }

    #[test]
    fn only_what_differs_is_named_with_dots_for_what_lies_inside() {
        let shape = shape(&["as_of", "status.seen"], &["chain"]);
        for (before, after, fields) in [
            (json!({"a": 1, "b": [1, 2]}), json!({"b": [2, 1], "a": 1.0}), &[][..]),
            (json!({"a": 1, "as_of": 1}), json!({"a": 1, "as_of": 2}), &[]),
            (json!({"a": null}), json!({}), &[]),
            (json!({"a": {"x": null}}), json!({"a": {}}), &[]),
            (json!({"status": {"seen": 1, "on": true}}), json!({"status": {"seen": 2, "on": false}}), &["status.on"]),
            (json!({"chain": [1, 2]}), json!({"chain": [2, 1]}), &["chain"]),
            (json!({"l": [{"x": 1, "y": 2}, 3]}), json!({"l": [3, {"y": 2, "x": 1}]}), &[]),
            (json!({"l": [1, 1]}), json!({"l": [1]}), &["l"]),
            (json!({"a": {"x": 1}, "z": 1}), json!({"a": null}), &["a", "z"]),
            (json!({"a": "1"}), json!({"a": 1}), &["a"]),
            (json!({"a": false}), json!({}), &["a"]),
        ] {
            let (before, after) = (record(before), record(after));
            let found = differences(&before, &after, &shape);
            assert_eq!(found.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), fields, "{before:?}");
            assert_eq!(print_of(&before, &shape) == print_of(&after, &shape), fields.is_empty(), "{before:?}");
        }
        let found = differences(&record(json!({"a": 1})), &record(json!({"b": 2})), &shape);
        assert_eq!(found[0], FieldChange { field: "a".into(), before: json!(1), after: Value::Null });
        assert_eq!(found[1], FieldChange { field: "b".into(), before: Value::Null, after: json!(2) });
    }
}
