//! DER, written piece by piece, so that a test can write it wrong.

use std::iter::repeat_n;

use der::{Encode as _, asn1::ObjectIdentifier};

/// One element: a tag, a length, the parts.
pub fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|b| **b == 0).count()..];
    let mut der = vec![tag];
    if contents.len() < 0x80 {
        der.push(contents.len() as u8);
    } else {
        der.push(0x80 | length.len() as u8);
        der.extend_from_slice(length);
    }
    der.extend(contents);
    der
}

pub fn seq(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x31, parts)
}

/// `[n]`, constructed: explicit around an element, implicit around what is in one.
pub fn context(n: u8, parts: &[&[u8]]) -> Vec<u8> {
    tlv(0xa0 | n, parts)
}

pub fn int(contents: &[u8]) -> Vec<u8> {
    tlv(2, &[contents])
}

pub fn octets(contents: &[u8]) -> Vec<u8> {
    tlv(4, &[contents])
}

pub fn bits(contents: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], contents])
}

pub fn oid(name: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(name).to_der().unwrap()
}

pub fn yes() -> Vec<u8> {
    vec![1, 1, 0xff]
}

pub fn null() -> Vec<u8> {
    vec![5, 0]
}

/// A Name of one CN.
pub fn name(common: &str) -> Vec<u8> {
    seq(&[&set(&[&seq(&[&oid("2.5.4.3"), &tlv(12, &[common.as_bytes()])])])])
}

pub fn generalized(time: &str) -> Vec<u8> {
    tlv(0x18, &[time.as_bytes()])
}

/// An extension of a certificate or a TSTInfo.
pub fn extension(name: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { yes() } else { Vec::new() };
    seq(&[&oid(name), &flag, &octets(value)])
}

#[test]
fn lengths_are_those_of_der() {
    let long: Vec<u8> = repeat_n(7, 300).collect();
    assert_eq!(tlv(4, &[&long])[..4], [4, 0x82, 1, 0x2c]);
    assert_eq!(tlv(4, &[&long[..200]])[..3], [4, 0x81, 200]);
    assert_eq!(tlv(4, &[&long[..127]])[..2], [4, 127]);
}
