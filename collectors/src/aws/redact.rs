//! What is removed from AWS's answers before they are kept: values of members that hold secrets by their names, and secrets that stand in
//! other texts (policy documents, tags, descriptions).
//!
//! Texts are read through their layers: a policy that is percent-encoded in XML, or a JSON document in a JSON string, is searched like the
//! answer itself. Bytes outside the removed values stay as they were received, and what parsed before parses after. An answer that is cut
//! short is searched up to where it ends. It never keeps, counts or hashes what it removes.

mod json;
mod layers;
mod rules;
mod xml;

use std::{collections::BTreeMap, ops::Range};

use self::layers::Text;
use crate::contract::Redaction;

/// What stands for a removed value. It reads the same in JSON, in XML, in URLs and in a document within a document.
pub const REMOVED: &str = "removed-by-evidenced";

/// Documents within documents are read to this depth; a deeper one is removed whole.
const DEEPEST: usize = 8;

/// Removes secrets from an answer's body. Gives what to keep, and what was removed.
pub fn redact(body: Vec<u8>) -> (Vec<u8>, Vec<Redaction>) {
    let mut found = Found::default();
    document(&Text::whole(&body), 0, &mut found);
    if found.spans.is_empty() {
        return (body, Vec::new());
    }
    let redactions =
        found.counts.into_iter().map(|((rule, place), count)| Redaction { rule: rule.into(), place, count }).collect();
    let mut kept = Vec::with_capacity(body.len());
    let mut at = 0;
    found.spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    for span in found.spans {
        if span.start < at {
            // Within what is removed already, or reaching out of it.
            at = at.max(span.end);
            continue;
        }
        kept.extend_from_slice(&body[at..span.start]);
        kept.extend_from_slice(REMOVED.as_bytes());
        at = span.end;
    }
    kept.extend_from_slice(&body[at..]);
    (kept, redactions)
}

/// What is to be removed, as ranges of the body.
#[derive(Default)]
struct Found {
    spans: Vec<Range<usize>>,
    counts: BTreeMap<(&'static str, String), u64>,
}

impl Found {
    fn remove(&mut self, span: Range<usize>, rule: &'static str, place: &str) {
        if span.is_empty() {
            return;
        }
        // Names come from the answer: no longer than one would write them.
        let place = if place.is_empty() { "text".to_owned() } else { place.chars().take(64).collect() };
        *self.counts.entry((rule, place)).or_default() += 1;
        self.spans.push(span);
    }
}

/// Where a text stands.
struct Place<'a> {
    /// The nearest member's or element's name; empty in a bare text.
    name: &'a str,
    /// Why the whole value is removed, if it is.
    secret: Option<&'static str>,
    /// Whether it is in a policy, or in another document within a text: access keys' ids are identifiers elsewhere.
    in_document: bool,
    /// How many documents it is in, one within the other.
    depth: usize,
}

/// Reads a document of whatever form.
fn document(text: &Text<'_>, depth: usize, found: &mut Found) {
    match text.bytes().iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[' | b'"') => json::scan(text, depth, found),
        Some(b'<') => xml::scan(text, depth, found),
        _ => rules::search(text, &Place { name: "", secret: None, in_document: depth > 0, depth }, found),
    }
}

/// Reads a value: a text that may be a document itself.
fn value(text: &Text<'_>, place: &Place<'_>, found: &mut Found) {
    if let Some(rule) = place.secret {
        // A flag is no secret, and its type must stay (`AllowUsersToChangePassword`).
        if !matches!(text.bytes(), b"true" | b"false") {
            found.remove(text.span(), rule, place.name);
        }
        return;
    }
    let Some(inner) = text.document_within() else { return rules::search(text, place, found) };
    if place.depth >= DEEPEST {
        found.remove(text.span(), "nested-too-deep", place.name);
    } else {
        document(&inner, place.depth + 1, found);
    }
}

#[cfg(test)]
mod tests;
