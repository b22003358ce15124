//! XML, read leniently: also what ends too early is searched to its end.

use std::ops::Range;

use super::{Found, Place, layers::Text, rules, value};

/// An element that is open.
#[derive(Default)]
struct Frame {
    /// Where its name stands, and what it says.
    at: Range<usize>,
    name: rules::Name,
    /// Why everything in it is removed.
    secret: Option<&'static str>,
    /// `<Key>…</Key><Value>…</Value>`: whether the key says that the value is a secret.
    label_is_secret: bool,
    /// Where the value stands.
    labelled: Option<Range<usize>>,
}

/// Searches a document.
pub(super) fn scan(text: &Text<'_>, depth: usize, found: &mut Found) {
    let bytes = text.bytes();
    let mut frames = vec![Frame::default()];
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some((open, close)) = [("<![CDATA[", "]]>"), ("<!--", "-->"), ("<?", "?>")]
            .into_iter()
            .find(|(open, _)| rest.starts_with(open.as_bytes()))
        {
            let start = at + open.len();
            let end = find(bytes, start, close.as_bytes());
            leaf(text, start..end, false, &mut frames, depth, found);
            at = (end + close.len()).min(bytes.len());
        } else if bytes[at] == b'<' {
            let end = tag_end(bytes, at + 1);
            tag(text, at + 1..end, &mut frames, depth, found);
            at = end + 1;
        } else {
            let end = find(bytes, at, b"<");
            leaf(text, at..end, true, &mut frames, depth, found);
            at = end;
        }
    }
}

/// Text between tags.
fn leaf(
    document: &Text<'_>,
    at: Range<usize>,
    is_escaped: bool,
    frames: &mut [Frame],
    depth: usize,
    found: &mut Found,
) {
    let bytes = &document.bytes()[at.clone()];
    let (start, end) = (bytes.len() - bytes.trim_ascii_start().len(), bytes.trim_ascii_end().len());
    if start >= end {
        return;
    }
    let raw = document.part(at.start + start..at.start + end);
    let text = if is_escaped { raw.of_xml() } else { raw.part(0..raw.bytes().len()) };
    let Some(frame) = frames.last() else { return };
    let (name, secret) = (frame.name, frame.secret);
    let shown = String::from_utf8_lossy(&document.bytes()[frame.at.clone()]);
    if let [.., around, _] = frames {
        if name.is_label {
            around.label_is_secret |= rules::secret_label(text.bytes());
        }
        if name.is_labelled {
            around.labelled = Some(text.span());
        }
        if around.label_is_secret
            && let Some(span) = around.labelled.take()
        {
            let is_this = span == text.span();
            found.remove(span, "secret-named-value", "Value");
            if is_this {
                return;
            }
        }
    }
    value(&text, &Place { name: &shown, secret, in_document: depth > 0, depth }, found);
}

/// What stands between `<` and `>`.
fn tag(document: &Text<'_>, at: Range<usize>, frames: &mut Vec<Frame>, depth: usize, found: &mut Found) {
    let bytes = &document.bytes()[at.clone()];
    if let Some(name) = bytes.strip_prefix(b"/") {
        let name = local(name.trim_ascii());
        // What is closed, and whatever was left open in it.
        if let Some(open) = frames.iter().rposition(|frame| &document.bytes()[frame.at.clone()] == name)
            && open > 0
        {
            frames.truncate(open);
        }
        return;
    }
    let is_empty = bytes.ends_with(b"/");
    let name_end = bytes.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(bytes.len());
    let length = local(&bytes[..name_end]).len();
    let around = frames.last().map(|frame| frame.name).unwrap_or_default();
    let name = rules::Name::read(&bytes[name_end - length..name_end], &around);
    let secret = frames.last().and_then(|frame| frame.secret).or(name.secret);
    if bytes.len() > name_end + usize::from(is_empty) {
        attributes(&document.part(at.clone()), name_end, secret, depth, found);
    }
    if !is_empty {
        let at = at.start + name_end - length..at.start + name_end;
        frames.push(Frame { at, name, secret, ..Frame::default() });
    }
}

/// `name="value"`, after an element's name.
fn attributes(text: &Text<'_>, from: usize, secret: Option<&'static str>, depth: usize, found: &mut Found) {
    let bytes = text.bytes();
    let mut at = from;
    while let Some(quote) = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\'')).map(|quote| at + quote) {
        let head = bytes[at..quote].trim_ascii_end();
        let head = head.strip_suffix(b"=").unwrap_or(head).trim_ascii();
        let name = String::from_utf8_lossy(local(head)).into_owned();
        let end = find(bytes, quote + 1, &bytes[quote..=quote]);
        let raw = text.part(quote + 1..end);
        // What a namespace is, is no secret.
        let secret = rules::Name::read(name.as_bytes(), &rules::Name::default())
            .secret
            .or(secret.filter(|_| !head.starts_with(b"xmlns")));
        value(&raw.of_xml(), &Place { name: &name, secret, in_document: depth > 0, depth }, found);
        at = (end + 1).min(bytes.len());
    }
}

/// A name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    name.iter().rposition(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

/// Where a tag's `>` is, or the text's end; one in an attribute's quotes is none.
fn tag_end(bytes: &[u8], from: usize) -> usize {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match (quote, byte) {
            (None, b'>') => return at,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    bytes.len()
}

/// Where something begins, or the text's end.
fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let from = from.min(bytes.len());
    bytes[from..].windows(what.len()).position(|window| window == what).map_or(bytes.len(), |at| from + at)
}
