//! JSON, read leniently: also what ends too early is searched to its end.

use super::{Found, Place, layers::Text, rules, value};

/// An object or an array that is open.
#[derive(Default)]
struct Frame {
    is_object: bool,
    /// The name of the member that is read, and what it says; the elements of an array go by that of the array.
    key: String,
    name: rules::Name,
    /// What the name of the member that holds it says.
    around: rules::Name,
    /// Why everything in it is removed.
    secret: Option<&'static str>,
    /// Whether it is in a policy.
    in_policy: bool,
    /// `{Key: …, Value: …}`: whether the key says that the value is a secret.
    label_is_secret: bool,
    /// Where the value stands.
    labelled: Option<std::ops::Range<usize>>,
}

/// Searches a document.
pub(super) fn scan(text: &Text<'_>, depth: usize, found: &mut Found) {
    let bytes = text.bytes();
    let mut frames: Vec<Frame> = vec![Frame::default()];
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at + 1);
                let is_key = frames.last().is_some_and(|frame| frame.is_object) && is_followed_by_colon(bytes, end);
                string(&text.part(at + 1..end), is_key, &mut frames, depth, found);
                at = end + 1;
            }
            open @ (b'{' | b'[') => {
                frames.extend(frames.last().map(|frame| frame.within(open == b'{')));
                at += 1;
            }
            b'}' | b']' => {
                if frames.len() > 1 {
                    frames.pop();
                }
                at += 1;
            }
            byte if byte.is_ascii_whitespace() || matches!(byte, b',' | b':') => at += 1,
            _ => {
                // Numbers and literals; in what is no JSON, anything.
                let ends = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',');
                let end = bytes[at..].iter().position(ends).map_or(bytes.len(), |end| at + end);
                if end - at > 16 {
                    let place = Place { name: "", secret: None, in_document: depth > 0, depth };
                    rules::search(&text.part(at..end), &place, found);
                }
                at = end;
            }
        }
    }
}

impl Frame {
    /// What opens in it.
    fn within(&self, is_object: bool) -> Self {
        let (secret, in_policy) = self.context();
        let frame = Self { is_object, secret, in_policy, around: self.name, ..Self::default() };
        match is_object {
            true => frame,
            false => Self { key: self.key.clone(), name: self.name, around: self.around, ..frame },
        }
    }

    /// Why what comes next is removed, and whether it is in a policy.
    fn context(&self) -> (Option<&'static str>, bool) {
        (self.secret.or(self.name.secret), self.in_policy || self.name.is_statement)
    }
}

fn string(raw: &Text<'_>, is_key: bool, frames: &mut [Frame], depth: usize, found: &mut Found) {
    let text = raw.of_json();
    let Some(frame) = frames.last_mut() else { return };
    if is_key {
        frame.key.clear();
        frame.key.push_str(&String::from_utf8_lossy(text.bytes()));
        frame.name = rules::Name::read(text.bytes(), &frame.around);
        let place = Place { name: "", secret: None, in_document: true, depth };
        return rules::search(&text, &place, found);
    }
    if frame.is_object && frame.name.is_label {
        frame.label_is_secret |= rules::secret_label(text.bytes());
    }
    if frame.is_object && frame.name.is_labelled {
        frame.labelled = Some(text.span());
    }
    if frame.label_is_secret
        && let Some(span) = frame.labelled.take()
    {
        let is_this = span == text.span();
        found.remove(span, "secret-named-value", "Value");
        if is_this {
            return;
        }
    }
    let (secret, in_policy) = frame.context();
    let place = Place { name: &frame.key, secret, in_document: depth > 0 || in_policy, depth };
    value(&text, &place, found);
}

/// Where a string's closing quote is, or the text's end.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_followed_by_colon(bytes: &[u8], quote: usize) -> bool {
    let rest = bytes.get(quote + 1..).unwrap_or_default();
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}
