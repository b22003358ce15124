//! XML answers read along the shapes of the model, in one pass.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use serde_json::{Map, Number, Value};

use super::{
    operations::{Operation, Protocol},
    shapes::{self, Kind, Shape, Shapes, Structure},
};

/// Deeper than any answer goes, and far from the stack's end.
const DEEPEST: usize = 64;

/// An answer of a protocol that answers in XML.
///
/// # Errors
/// Why it is none, in words.
pub(super) fn decode(operation: &Operation, body: &[u8]) -> Result<Value, String> {
    let mut xml = Xml::new(&operation.outputs, body)?;
    let start = xml.root()?;
    let root = operation.root.as_deref().unwrap_or_default();
    let local = start.local_name();
    let name = std::str::from_utf8(local.as_ref()).map_err(|e| e.to_string())?;
    // What stands in for S3 may name the root after the operation, as the other protocols do.
    if name != root && name.strip_suffix("Response") != Some(&operation.name) {
        return Err(format!("it is <{name}>, not <{root}>"));
    }
    let output = &operation.output;
    let answer = if let Some(member) = &operation.text_root {
        let text = xml.text()?;
        let value = if text.is_empty() { Value::Null } else { text.into() };
        Map::from_iter([(member.clone(), value)])
    } else if let Some(wrapper) = &operation.wrapper {
        xml.wrapped(output, wrapper)?
    } else if let Some(payload) = &output.payload {
        let kind = output.members.get(payload).map_or(Kind::Any, |member| member.kind);
        Map::from_iter([(payload.clone(), xml.value(kind, &start)?)])
    } else {
        let apart = if operation.service.protocol == Protocol::Ec2 { "requestId" } else { "" };
        xml.structure(output, &start, apart)?
    };
    xml.end()?;
    Ok(Value::Object(answer))
}

/// The text of the first element of a name, wherever it is, for answers that follow no model: errors.
pub(super) fn find<const N: usize>(body: &[u8], within: &str, names: [&str; N]) -> Option<[String; N]> {
    let none = Shapes::default();
    let mut xml = Xml::new(&none, body).ok()?;
    let root = xml.root().ok()?;
    let value = if root.local_name().as_ref() == within.as_bytes() {
        Some(xml.anything().ok()?)
    } else {
        xml.first(within).ok()?
    };
    let text = |name: &str| value.as_ref().and_then(|value| value[name].as_str()).unwrap_or_default().to_owned();
    value.is_some().then(|| names.map(text))
}

struct Xml<'a> {
    reader: Reader<&'a [u8]>,
    shapes: &'a Shapes,
    depth: usize,
}

impl<'a> Xml<'a> {
    fn new(shapes: &'a Shapes, body: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|e| format!("it is no UTF-8: {e}"))?;
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Ok(Self { reader, shapes, depth: 0 })
    }

    fn next(&mut self) -> Result<Event<'a>, String> {
        self.reader.read_event().map_err(|e| format!("it is no XML: {e}"))
    }

    /// Up to the root element.
    fn root(&mut self) -> Result<BytesStart<'a>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => return Ok(start),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if blank(&text) => {}
                Event::Eof => return Err("it is empty".into()),
                _ => return Err("it is no XML".into()),
            }
        }
    }

    /// That nothing comes after the root element.
    fn end(&mut self) -> Result<(), String> {
        loop {
            match self.next()? {
                Event::Eof => return Ok(()),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if blank(&text) => {}
                _ => return Err("something follows its end".into()),
            }
        }
    }

    /// The next element in the current one; none at its end.
    fn child(&mut self) -> Result<Option<BytesStart<'a>>, String> {
        loop {
            match self.next()? {
                Event::Start(start) => return Ok(Some(start)),
                Event::End(_) => return Ok(None),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if blank(&text) => {}
                Event::Eof => return Err(CUT.into()),
                _ => return Err("it has text where elements belong".into()),
            }
        }
    }

    /// The text up to the current element's end.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        match self.some_text(&mut text)? {
            None => Ok(text),
            Some(_) => Err("it has an element where only text belongs".into()),
        }
    }

    /// Text up to the next element, which is given, or to the current one's end.
    fn some_text(&mut self, text: &mut String) -> Result<Option<BytesStart<'a>>, String> {
        let wrong = |e: &dyn std::fmt::Display| format!("it is no XML: {e}");
        loop {
            match self.next()? {
                Event::Text(part) => text.push_str(&part.xml10_content().map_err(|e| wrong(&e))?),
                Event::CData(part) => text.push_str(&part.xml10_content().map_err(|e| wrong(&e))?),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|e| wrong(&e))? {
                    Some(character) => text.push(character),
                    None => text.push(match reference.decode().map_err(|e| wrong(&e))?.as_ref() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        other => return Err(format!("it has the entity {other:?}, which XML does not know")),
                    }),
                },
                Event::Comment(_) | Event::PI(_) => {}
                Event::Start(start) => return Ok(Some(start)),
                Event::End(_) => return Ok(None),
                Event::Eof => return Err(CUT.into()),
                _ => return Err("it is no XML".into()),
            }
        }
    }

    /// The root's one element that holds the members; `ResponseMetadata` beside it is not part of the answer.
    fn wrapped(&mut self, shape: &Structure, wrapper: &str) -> Result<Map<String, Value>, String> {
        let mut answer = None;
        while let Some(start) = self.child()? {
            let name = start.local_name();
            if name.as_ref() != wrapper.as_bytes() {
                self.anything()?;
            } else if answer.replace(self.structure(shape, &start, "")?).is_some() {
                return Err(format!("it has <{wrapper}> twice"));
            }
        }
        answer.ok_or_else(|| format!("it has no <{wrapper}>"))
    }

    fn value(&mut self, kind: Kind, start: &BytesStart<'a>) -> Result<Value, String> {
        match self.shapes.of(kind) {
            Some(Shape::Structure(shape)) => self.structure(shape, start, "").map(Value::Object),
            Some(Shape::List(list)) if list.flat => Ok(Value::Array(vec![self.deeper(list.of, start)?])),
            Some(Shape::List(list)) => {
                let mut values = Vec::new();
                while let Some(start) = self.child()? {
                    values.push(self.deeper(list.of, &start)?);
                }
                Ok(Value::Array(values))
            }
            Some(Shape::Map(map)) => {
                let mut found = Map::new();
                while self.child()?.is_some() {
                    let (key, value) = self.entry(map)?;
                    found.insert(key, value);
                }
                Ok(Value::Object(found))
            }
            None => match kind {
                Kind::Any | Kind::List | Kind::Structure | Kind::Map => self.anything(),
                _ => scalar(kind, self.text()?),
            },
        }
    }

    fn deeper(&mut self, kind: Kind, start: &BytesStart<'a>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it goes deeper than {DEEPEST} elements"));
        }
        let value = self.value(kind, start);
        self.depth -= 1;
        value
    }

    fn structure(
        &mut self,
        shape: &Structure,
        start: &BytesStart<'a>,
        apart: &str,
    ) -> Result<Map<String, Value>, String> {
        let mut found = Map::new();
        if !start.attributes_raw().is_empty() {
            attributes(shape, start, &mut found)?;
        }
        while let Some(start) = self.child()? {
            let local = start.local_name();
            let wire = std::str::from_utf8(local.as_ref()).map_err(|e| e.to_string())?;
            match shape.on_the_wire(wire) {
                Some((_, name, member)) if !member.attribute => {
                    let value = self.deeper(member.kind, &start).map_err(|e| within(name, e))?;
                    match (found.get_mut(name), value) {
                        (None, value) => {
                            found.insert(name.to_owned(), value);
                        }
                        (Some(Value::Array(all)), Value::Array(more)) if self.shapes.flat(member.kind) => {
                            all.extend(more)
                        }
                        _ => return Err(format!("{name} is there twice")),
                    }
                }
                _ => {
                    let value = self.anything()?;
                    // The model's own members come first.
                    if wire != apart && !shape.members.contains_key(wire) {
                        add(&mut found, wire, value);
                    }
                }
            }
        }
        Ok(found)
    }

    fn entry(&mut self, map: &shapes::Map) -> Result<(String, Value), String> {
        let (mut key, mut value) = (None, None);
        while let Some(start) = self.child()? {
            let local = start.local_name();
            if local.as_ref() == map.key.as_bytes() {
                key = Some(self.text()?);
            } else if local.as_ref() == map.value.as_bytes() {
                value = Some(self.deeper(map.of, &start)?);
            } else {
                self.anything()?;
            }
        }
        match (key, value) {
            (Some(key), Some(value)) => Ok((key, value)),
            _ => Err("an entry of a map has no key or no value".into()),
        }
    }

    /// An element that no model tells of: a text, or an object of its elements with arrays for those that repeat.
    fn anything(&mut self) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it goes deeper than {DEEPEST} elements"));
        }
        let mut text = String::new();
        let mut found = Map::new();
        while let Some(start) = self.some_text(&mut text)? {
            let local = start.local_name();
            let name = String::from_utf8_lossy(local.as_ref()).into_owned();
            let value = self.anything()?;
            add(&mut found, &name, value);
        }
        self.depth -= 1;
        Ok(if found.is_empty() { text.into() } else { Value::Object(found) })
    }

    /// The first element of a name in the current one, however deep.
    fn first(&mut self, name: &str) -> Result<Option<Value>, String> {
        let mut depth = 0_usize;
        let mut text = String::new();
        loop {
            match self.some_text(&mut text)? {
                Some(start) if start.local_name().as_ref() == name.as_bytes() => return self.anything().map(Some),
                Some(_) => depth += 1,
                None if depth == 0 => return Ok(None),
                None => depth -= 1,
            }
        }
    }
}

const CUT: &str = "it ends before its end";

/// Adds what may repeat.
fn add(found: &mut Map<String, Value>, name: &str, value: Value) {
    match found.get_mut(name) {
        None => {
            found.insert(name.to_owned(), value);
        }
        Some(Value::Array(all)) => all.push(value),
        Some(one) => {
            let first = one.take();
            *one = Value::Array(vec![first, value]);
        }
    }
}

/// The members that are attributes: `xsi:type` of a grantee.
fn attributes(shape: &Structure, start: &BytesStart<'_>, found: &mut Map<String, Value>) -> Result<(), String> {
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| format!("it is no XML: {e}"))?;
        let wire = std::str::from_utf8(attribute.key.as_ref()).map_err(|e| e.to_string())?;
        if let Some((_, name, member)) = shape.on_the_wire(wire)
            && member.attribute
        {
            let text = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| format!("it is no XML: {e}"))?;
            found.insert(name.to_owned(), scalar(member.kind, text.into_owned())?);
        }
    }
    Ok(())
}

fn scalar(kind: Kind, text: String) -> Result<Value, String> {
    let trimmed = text.trim();
    match kind {
        Kind::Boolean | Kind::Integer | Kind::Float if trimmed.is_empty() => Ok(Value::Null),
        Kind::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(true.into()),
        Kind::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(false.into()),
        Kind::Boolean => Err(format!("{trimmed:?} is neither true nor false")),
        Kind::Integer => {
            let number = trimmed.parse::<i64>().map(Number::from).or_else(|_| trimmed.parse::<u64>().map(Number::from));
            number.map(Value::Number).map_err(|_| format!("{trimmed:?} is no whole number"))
        }
        Kind::Float => match trimmed.parse::<f64>() {
            // JSON has no NaN and no infinity: they stay texts.
            Ok(number) => Ok(Number::from_f64(number).map_or_else(|| trimmed.into(), Value::Number)),
            Err(_) => Err(format!("{trimmed:?} is no number")),
        },
        // Base64 may come in lines.
        Kind::Blob => Ok(text.split_ascii_whitespace().collect::<String>().into()),
        _ => Ok(text.into()),
    }
}

fn blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

fn within(name: &str, error: String) -> String {
    if error.starts_with("it ") { error } else { format!("{name}: {error}") }
}
