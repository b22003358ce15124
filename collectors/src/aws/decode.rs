//! Kept bytes as JSON with the names of the service's model, as boto3 would give them, from nothing but the bytes and the model.
//!
//! Lists are lists also with one element, booleans and numbers are typed, texts, instants and base64 stay as they were sent, and members that the
//! model does not know are kept. What is cut short or is no answer of the operation is an error, never half a value.

use serde_json::{Map, Value};

use super::{
    operations::{Operation, Protocol},
    shapes::{Kind, Shape, Shapes, Structure},
    xml,
};

/// Reads a full answer of an operation.
///
/// # Errors
/// Why it is none, in words.
pub fn decode(operation: &Operation, body: &[u8]) -> Result<Value, String> {
    match operation.service.protocol {
        Protocol::Json | Protocol::RestJson => json(operation, body),
        Protocol::RestXml if operation.root.is_none() => document(operation, body),
        Protocol::RestXml | Protocol::Query | Protocol::Ec2 => xml::decode(operation, body),
    }
}

/// An answer that is a JSON document, which the model gives as the text of one member.
fn document(operation: &Operation, body: &[u8]) -> Result<Value, String> {
    let name = operation.output.payload.as_deref().ok_or("the model says neither a root element nor a payload")?;
    let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
    parse(text.as_bytes())?;
    Ok(Value::Object(Map::from_iter([(name.to_owned(), text.into())])))
}

fn json(operation: &Operation, body: &[u8]) -> Result<Value, String> {
    let object = parse(body)?;
    let output = &operation.output;
    let known = |name: &String| output.by_wire.contains_key(name);
    if !object.is_empty() && !object.keys().any(known) {
        return Err(format!("it has no member that {} answers with", operation.call()));
    }
    structure(&operation.outputs, output, object).map(Value::Object)
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is JSON, but no object".into()),
        Err(e) => Err(format!("it is no JSON: {e}")),
    }
}

fn structure(shapes: &Shapes, shape: &Structure, object: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    for (wire, value) in object {
        match shape.on_the_wire(&wire) {
            // To boto3, too, null is not there.
            Some(_) if value.is_null() => {}
            Some((_, name, member)) => {
                let value = typed(shapes, member.kind, value).map_err(|e| format!("{name}: {e}"))?;
                found.insert(name.to_owned(), value);
            }
            None if shape.members.contains_key(&wire) => {}
            None => {
                found.insert(wire, value);
            }
        }
    }
    Ok(found)
}

fn typed(shapes: &Shapes, kind: Kind, value: Value) -> Result<Value, String> {
    match (shapes.of(kind), value) {
        (_, Value::Null) => Ok(Value::Null),
        (Some(Shape::Structure(shape)), Value::Object(object)) => structure(shapes, shape, object).map(Value::Object),
        (Some(Shape::List(list)), Value::Array(values)) => {
            values.into_iter().map(|value| typed(shapes, list.of, value)).collect()
        }
        (Some(Shape::Map(map)), Value::Object(object)) => object
            .into_iter()
            .map(|(key, value)| Ok((key, typed(shapes, map.of, value)?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
        (None, value) if fits(kind, &value) => Ok(value),
        (_, value) => Err(format!("{} is of another type than the model says", shortened(&value))),
    }
}

/// Whether a value is of a type. Instants come as numbers and as texts.
fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::String | Kind::Blob => value.is_string(),
        Kind::Boolean => value.is_boolean(),
        Kind::Integer => value.is_number(),
        Kind::Float | Kind::Timestamp(_) => value.is_number() || value.is_string(),
        Kind::List => value.is_array(),
        Kind::Structure | Kind::Map => value.is_object(),
        Kind::Any => true,
        Kind::Shape(_) => false,
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
