//! Texts within texts: each decoded byte knows where in the body it came from, so that what is found in the innermost text is removed
//! from the bytes as they were received.

use std::{borrow::Cow, ops::Range};

/// A decoded text with its places in the body.
pub(super) struct Text<'a> {
    bytes: Cow<'a, [u8]>,
    at: At,
}

enum At {
    /// The text stands in the body as it is, from here.
    From(usize),
    /// Where each byte begins, and at last where the text ends.
    Each(Vec<usize>),
}

impl<'a> Text<'a> {
    /// A body.
    pub(super) fn whole(body: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(body), at: At::From(0) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A part of it, as it stands.
    pub(super) fn part(&self, range: Range<usize>) -> Text<'_> {
        let at = match &self.at {
            At::From(start) => At::From(start + range.start),
            At::Each(each) => At::Each(each[range.start..=range.end].to_vec()),
        };
        Text { bytes: Cow::Borrowed(&self.bytes[range]), at }
    }

    /// Where it stands in the body.
    pub(super) fn span(&self) -> Range<usize> {
        self.span_of(0..self.bytes.len())
    }

    /// Where a part of it stands in the body.
    pub(super) fn span_of(&self, range: Range<usize>) -> Range<usize> {
        match &self.at {
            At::From(start) => start + range.start..start + range.end,
            At::Each(each) => each[range.start]..each[range.end],
        }
    }

    /// Decodes escapes: `step` gives, for a place at which one begins, its length and what it stands for.
    fn decoded(
        &self,
        begins: impl Fn(u8) -> bool,
        step: impl Fn(&[u8]) -> Option<(usize, Cow<'static, [u8]>)>,
    ) -> Text<'_> {
        if !self.bytes.iter().any(|byte| begins(*byte)) {
            return self.part(0..self.bytes.len());
        }
        let (mut bytes, mut each) = (Vec::with_capacity(self.bytes.len()), Vec::with_capacity(self.bytes.len() + 1));
        let mut from = 0;
        while from < self.bytes.len() {
            let start = self.span_of(from..from).start;
            let found = begins(self.bytes[from]).then(|| step(&self.bytes[from..])).flatten();
            match found {
                Some((length, stands_for)) => {
                    each.extend(std::iter::repeat_n(start, stands_for.len()));
                    bytes.extend_from_slice(&stands_for);
                    from += length;
                }
                None => {
                    each.push(start);
                    bytes.push(self.bytes[from]);
                    from += 1;
                }
            }
        }
        each.push(self.span().end);
        Text { bytes: Cow::Owned(bytes), at: At::Each(each) }
    }

    /// What a JSON string (without its quotes) says.
    pub(super) fn of_json(&self) -> Text<'_> {
        self.decoded(|byte| byte == b'\\', json_escape)
    }

    /// What text between XML's tags says.
    pub(super) fn of_xml(&self) -> Text<'_> {
        self.decoded(|byte| byte == b'&', xml_entity)
    }

    /// The document that this text is, percent-decoded where it is encoded; `None` where it is none.
    pub(super) fn document_within(&self) -> Option<Text<'_>> {
        let text = self.bytes.trim_ascii_start();
        match text.first()? {
            b'{' | b'[' | b'<' => Some(self.part(0..self.bytes.len())),
            b'%' if matches!(
                text.get(1..3),
                Some(b"7B" | b"7b" | b"5B" | b"5b" | b"3C" | b"3c" | b"0A" | b"0a" | b"20")
            ) =>
            {
                let decoded = self.decoded(|byte| byte == b'%', percent);
                let first = decoded.bytes.iter().find(|byte| !byte.is_ascii_whitespace());
                matches!(first, Some(b'{' | b'[' | b'<')).then_some(decoded)
            }
            // A JSON text that is a JSON text again.
            b'"' if matches!(text.get(1), Some(b'{' | b'[' | b'<' | b'%')) => Some(self.part(0..self.bytes.len())),
            _ => None,
        }
    }
}

fn json_escape(rest: &[u8]) -> Option<(usize, Cow<'static, [u8]>)> {
    let plain: &'static [u8] = match rest.get(1)? {
        b'"' => b"\"",
        b'\\' => b"\\",
        b'/' => b"/",
        b'b' => b"\x08",
        b'f' => b"\x0c",
        b'n' => b"\n",
        b'r' => b"\r",
        b't' => b"\t",
        b'u' => {
            let unit = hex(rest.get(2..6)?)?;
            let pair = |low: u32| 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            let (length, code) = match unit {
                0xd800..0xdc00 => match (rest.get(6..8), rest.get(8..12).and_then(hex)) {
                    (Some(b"\\u"), Some(low @ 0xdc00..0xe000)) => (12, pair(low)),
                    _ => (6, 0xfffd),
                },
                unit => (6, unit),
            };
            return Some((length, utf8(code)));
        }
        _ => return None,
    };
    Some((2, Cow::Borrowed(plain)))
}

fn xml_entity(rest: &[u8]) -> Option<(usize, Cow<'static, [u8]>)> {
    let end = rest.iter().take(12).position(|byte| *byte == b';')?;
    let plain: &'static [u8] = match &rest[1..end] {
        b"lt" => b"<",
        b"gt" => b">",
        b"amp" => b"&",
        b"quot" => b"\"",
        b"apos" => b"'",
        [b'#', b'x' | b'X', digits @ ..] => return Some((end + 1, utf8(hex(digits)?))),
        [b'#', digits @ ..] => {
            let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
            return Some((end + 1, utf8(code)));
        }
        _ => return None,
    };
    Some((end + 1, Cow::Borrowed(plain)))
}

fn percent(rest: &[u8]) -> Option<(usize, Cow<'static, [u8]>)> {
    let byte = u8::try_from(hex(rest.get(1..3)?)?).ok()?;
    Some((3, Cow::Owned(vec![byte])))
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn utf8(code: u32) -> Cow<'static, [u8]> {
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    Cow::Owned(character.encode_utf8(&mut [0; 4]).as_bytes().to_vec())
}
