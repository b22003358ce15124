//! Long lists in little memory: byte strings in blocks, each packed with DEFLATE, and rows as such strings. It only grows, and is read
//! from its start or at a place.

use std::io::{Read, Write};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use serde_json::{Map, Number, Value};

/// A block is packed once it is as long as this.
const BLOCK: usize = 32 * 1024;

/// How many blocks stay unpacked for whoever reads at places.
const AT_HAND: usize = 8;

/// A list of byte strings.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    blocks: Vec<Block>,
    /// The strings that are in no block yet, each after its length.
    open: Vec<u8>,
    /// How many strings are in blocks.
    closed: usize,
    count: usize,
}

#[derive(Clone)]
struct Block {
    /// The place of its first string.
    first: usize,
    packed: Box<[u8]>,
}

impl Kept {
    /// Adds a string.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        length(&mut self.open, bytes.len());
        self.open.extend(bytes);
        self.count += 1;
        if self.open.len() >= BLOCK {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            let packed = encoder.write_all(&self.open).and_then(|()| encoder.finish());
            let packed = packed.expect("memory takes all that is written").into_boxed_slice();
            self.blocks.push(Block { first: self.closed, packed });
            self.closed = self.count;
            self.open.clear();
        }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        (0..=self.blocks.len()).flat_map(|at| {
            let block = self.unpacked(at);
            let mut used = 0;
            std::iter::from_fn(move || (used < block.len()).then(|| next(&block, &mut used).to_vec()))
        })
    }

    /// As [`Kept::iter`], where texts were added.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.iter().map(|bytes| String::from_utf8(bytes).expect("only texts were added"))
    }

    /// A block's strings; those that are in none come last.
    fn unpacked(&self, at: usize) -> Vec<u8> {
        let Some(block) = self.blocks.get(at) else { return self.open.clone() };
        let mut bytes = Vec::with_capacity(BLOCK + 1024);
        DeflateDecoder::new(&*block.packed).read_to_end(&mut bytes).expect("it was packed above");
        bytes
    }
}

/// Reads at places; blocks that it looked at last are at hand.
pub(crate) struct Places<'a> {
    kept: &'a Kept,
    /// A block's place, its bytes, and where in them its strings start.
    at_hand: Vec<(usize, Vec<u8>, Vec<usize>)>,
}

impl<'a> Places<'a> {
    /// Of that list.
    pub(crate) fn new(kept: &'a Kept) -> Self {
        Self { kept, at_hand: Vec::new() }
    }

    /// The string at a place that the list has.
    pub(crate) fn get(&mut self, place: usize) -> &[u8] {
        let kept = self.kept;
        let at = if place >= kept.closed {
            kept.blocks.len()
        } else {
            kept.blocks.partition_point(|block| block.first <= place) - 1
        };
        let first = kept.blocks.get(at).map_or(kept.closed, |block| block.first);
        let found = self.at_hand.iter().position(|(block, ..)| *block == at);
        let found = found.map_or_else(
            || {
                let bytes = kept.unpacked(at);
                let (mut starts, mut used) = (Vec::new(), 0);
                while used < bytes.len() {
                    starts.push(used);
                    next(&bytes, &mut used);
                }
                (at, bytes, starts)
            },
            |found| self.at_hand.remove(found),
        );
        self.at_hand.truncate(AT_HAND - 1);
        self.at_hand.insert(0, found);
        let (_, bytes, starts) = &self.at_hand[0];
        next(bytes, &mut starts[place - first].clone())
    }
}

/// A length in as few bytes as it needs, seven bits in each.
fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn read_length(bytes: &[u8], at: &mut usize) -> usize {
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return length;
        }
    }
}

/// The string that starts there.
fn next<'a>(bytes: &'a [u8], at: &mut usize) -> &'a [u8] {
    let length = read_length(bytes, at);
    *at += length;
    &bytes[*at - length..*at]
}

/// A row as bytes from which [`value`] makes the very same value: JSON's text would round some numbers, and end at some depth.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, value);
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    let text = |out: &mut Vec<u8>, text: &str| {
        length(out, text.len());
        out.extend(text.as_bytes());
    };
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Number(number) => {
            let (tag, bits) = match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => (b'u', number),
                (None, Some(number)) => (b'i', number as u64),
                (None, None) => (b'd', number.as_f64().unwrap_or(f64::NAN).to_bits()),
            };
            out.push(tag);
            out.extend(bits.to_le_bytes());
        }
        Value::String(string) => {
            out.push(b's');
            text(out, string);
        }
        Value::Array(values) => {
            out.push(b'a');
            length(out, values.len());
            values.iter().for_each(|value| put(out, value));
        }
        Value::Object(members) => {
            out.push(b'o');
            length(out, members.len());
            for (name, value) in members {
                text(out, name);
                put(out, value);
            }
        }
    }
}

/// The value that [`bytes`] was given.
pub(crate) fn value(bytes: &[u8]) -> Value {
    take(bytes, &mut 0)
}

fn take(bytes: &[u8], at: &mut usize) -> Value {
    let text = |at: &mut usize| String::from_utf8(next(bytes, at).to_vec()).expect("it was a string");
    let tag = bytes[*at];
    *at += 1;
    match tag {
        b'n' => Value::Null,
        b't' | b'f' => Value::Bool(tag == b't'),
        b'u' | b'i' | b'd' => {
            let bits = u64::from_le_bytes(bytes[*at..*at + 8].try_into().expect("eight bytes"));
            *at += 8;
            match tag {
                b'u' => bits.into(),
                b'i' => (bits as i64).into(),
                _ => Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number),
            }
        }
        b's' => Value::String(text(at)),
        b'a' => {
            let count = read_length(bytes, at);
            (0..count).map(|_| take(bytes, at)).collect()
        }
        _ => {
            let count = read_length(bytes, at);
            let mut members = Map::with_capacity(count);
            for _ in 0..count {
                let name = text(at);
                members.insert(name, take(bytes, at));
            }
            Value::Object(members)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(number: usize) -> String {
        format!("arn:aws:iam::111122223333:user/{}{number}", "x".repeat(number % 200))
    }

    #[test]
    fn strings_come_back_in_order_and_at_their_places_and_take_little_memory() {
        let mut kept = Kept::default();
        for number in 0..20_000 {
            kept.push(text(number).as_bytes());
        }
        assert!(kept.blocks.len() > 50);
        assert!(kept.texts().eq((0..20_000).map(text)));
        let mut places = Places::new(&kept);
        for number in [0, 19_999, 1, 19_998, 10_000, 9_999].into_iter().chain((0..20_000).rev().step_by(7)) {
            assert_eq!(places.get(number), text(number).as_bytes());
        }
        assert!(places.at_hand.len() <= AT_HAND);
        let held: usize = kept.blocks.iter().map(|block| block.packed.len()).sum();
        assert!(held < 20_000 * 14, "{held} bytes");
        assert_eq!(Kept::default().iter().count(), 0);
    }

    #[test]
    fn empty_and_long_strings_come_back() {
        let mut kept = Kept::default();
        for length in [0, 1, 127, 128, BLOCK - 2, BLOCK, 5 * BLOCK, 0] {
            kept.push(&vec![b'x'; length]);
        }
        let lengths: Vec<usize> = kept.iter().map(|bytes| bytes.len()).collect();
        assert_eq!(lengths, [0, 1, 127, 128, BLOCK - 2, BLOCK, 5 * BLOCK, 0]);
        assert_eq!(Places::new(&kept).get(6).len(), 5 * BLOCK);
    }

    #[test]
    fn rows_come_back_as_they_were_whatever_their_depth_and_numbers() {
        let mut deep = json!({"b": 1, "a": [null, true, false, "é\n", -1, i64::MIN, u64::MAX, 0.1, -0.0, 1e300, {}]});
        for _ in 0..1000 {
            deep = json!([deep]);
        }
        assert_eq!(value(&bytes(&deep)), deep);
    }

    proptest! {
        #[test]
        fn every_number_comes_back_to_the_bit(number in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let row = json!({"n": number});
            prop_assert_eq!(value(&bytes(&row))["n"].as_f64().unwrap().to_bits(), number.to_bits());
        }
    }
}
