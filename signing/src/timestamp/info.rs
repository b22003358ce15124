//! TSTInfo (RFC 3161, 2.4.2): what the authority signed. Read by hand, since genTime may have fractions of a second.

use chrono::{DurationRound, NaiveDate, TimeDelta};
use der::{Tag, TagNumber};

use super::{
    TokenError,
    algorithms::Hash,
    der::{Algorithm, Element, Elements, context, context_primitive, only},
};
use crate::time::Utc;

const PART: &str = "TSTInfo";
/// RFC 3161, 2.4.2, asks for 160 bits; none needs more than these bytes.
const MAX_INTEGER: usize = 64;

/// What a token is over: a hash of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imprint {
    /// By which hash.
    pub hash: Hash,
    /// The hash: 32, 48 or 64 bytes.
    pub digest: Vec<u8>,
}

impl Imprint {
    /// Whether it is the imprint of `message`.
    #[must_use]
    pub fn is_of(&self, message: &[u8]) -> bool {
        self.hash.of(message) == self.digest
    }
}

/// The members that matter here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Info<'a> {
    pub imprint: Imprint,
    /// The contents of an INTEGER.
    pub serial: &'a [u8],
    /// genTime, exact to the nanosecond.
    pub time: Utc,
    /// None where the token states none.
    pub accuracy: Option<TimeDelta>,
    /// The contents of an INTEGER.
    pub nonce: Option<&'a [u8]>,
}

impl<'a> Info<'a> {
    /// Reads the DER of a TSTInfo.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, TokenError> {
        let mut members = Elements::new(only(der, Tag::Sequence, PART)?.value, PART)?;
        if members.small()? != 1 {
            return Err(wrong("its version is not 1"));
        }
        // The authority's policy
        members.oid()?;
        let imprint = imprint(&mut members)?;
        let serial = integer(members.need(Tag::Integer)?)?;
        let time = time(members.need(Tag::GeneralizedTime)?.value)?;
        let accuracy = members.optional(Tag::Sequence)?.map(|element| accuracy(element.value)).transpose()?;
        // ordering: between tokens of one authority
        members.optional(Tag::Boolean)?;
        let nonce = members.optional(Tag::Integer)?.map(integer).transpose()?;
        // tsa: only a hint at the name; the signing-certificate attribute says who
        members.optional(context(TagNumber::N0))?;
        if let Some(extensions) = members.optional(context(TagNumber::N1))? {
            refuse_critical(extensions.value)?;
        }
        members.end()?;
        Ok(Self { imprint, serial, time, accuracy, nonce })
    }

    /// genTime less the accuracy, cut to a millisecond; and genTime with the accuracy, rounded up to one. A token that states no accuracy
    /// is taken to be right to a second, its usual unit.
    pub(super) fn bounds(&self) -> Option<(Utc, Utc)> {
        let milli = TimeDelta::milliseconds(1);
        let accuracy = self.accuracy.unwrap_or(TimeDelta::seconds(1));
        let earliest = self.time.checked_sub_signed(accuracy)?.duration_trunc(milli).ok()?;
        let latest = self.time.checked_add_signed(accuracy)?;
        let cut = latest.duration_trunc(milli).ok()?;
        Some((earliest, if cut < latest { cut.checked_add_signed(milli)? } else { cut }))
    }
}

fn wrong(detail: &str) -> TokenError {
    TokenError::Malformed { part: PART, detail: detail.to_owned() }
}

fn imprint(members: &mut Elements<'_>) -> Result<Imprint, TokenError> {
    let mut inner = members.sequence("the message imprint")?;
    let algorithm = Algorithm::read(&mut inner, "the message imprint")?;
    let digest = inner.need(Tag::OctetString)?.value;
    inner.end()?;
    let hash = Hash::named(&algorithm).ok_or(TokenError::Algorithm { part: "message imprint" })?;
    Ok(Imprint { hash, digest: digest.to_vec() })
}

fn integer(element: Element<'_>) -> Result<&[u8], TokenError> {
    match element.value {
        [] => Err(wrong("an empty INTEGER")),
        value if value.len() > MAX_INTEGER => Err(wrong("an INTEGER of more than 64 bytes")),
        value => Ok(value),
    }
}

/// `YYYYMMDDhhmmss[.s…]Z`, to nine places; further ones are cut off.
fn time(text: &[u8]) -> Result<Utc, TokenError> {
    let bad = || wrong("genTime is no time of the form YYYYMMDDhhmmss[.s…]Z");
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= 40).ok_or_else(bad)?;
    let (whole, fraction) = match text.strip_suffix('Z').ok_or_else(bad)? {
        text if text.len() == 14 => (text, ""),
        text => match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            _ => return Err(bad()),
        },
    };
    if whole.len() != 14 || ![whole, fraction].iter().all(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(bad());
    }
    let number = |digits: &str| digits.parse::<u32>().map_err(|_| bad());
    let part = |from: usize| number(&whole[from..from + 2]);
    let year = i32::try_from(number(&whole[..4])?).map_err(|_| bad())?;
    let nanos = number(&format!("{:0<9.9}", fraction))?;
    let date = NaiveDate::from_ymd_opt(year, part(4)?, part(6)?).ok_or_else(bad)?;
    let at = date.and_hms_nano_opt(part(8)?, part(10)?, part(12)?, nanos).ok_or_else(bad)?;
    Ok(at.and_utc())
}

/// `SEQUENCE { seconds INTEGER OPTIONAL, millis [0] INTEGER (1..999) OPTIONAL, micros [1] INTEGER (1..999) OPTIONAL }`
fn accuracy(value: &[u8]) -> Result<TimeDelta, TokenError> {
    let mut members = Elements::new(value, "the accuracy")?;
    let seconds = if members.next_is(Tag::Integer) { members.small()? } else { 0 };
    let mut below = |number| -> Result<u16, TokenError> {
        match members.optional(context_primitive(number))?.map(|element| element.value) {
            None => Ok(0),
            Some([n]) if *n < 0x80 => Ok(u16::from(*n)),
            Some([high, low]) if *high < 4 => match u16::from_be_bytes([*high, *low]) {
                n @ 128..=999 => Ok(n),
                _ => Err(wrong("the accuracy's parts of a second are no number up to 999")),
            },
            Some(_) => Err(wrong("the accuracy's parts of a second are no number up to 999")),
        }
    };
    let (millis, micros) = (below(TagNumber::N0)?, below(TagNumber::N1)?);
    members.end()?;
    Ok(TimeDelta::seconds(seconds.into())
        + TimeDelta::milliseconds(millis.into())
        + TimeDelta::microseconds(micros.into()))
}

/// Extensions (RFC 5280, 4.1): none is known here, so that none may be critical.
fn refuse_critical(value: &[u8]) -> Result<(), TokenError> {
    const PART: &str = "the extensions of TSTInfo";
    let mut extensions = Elements::new(value, PART)?;
    while !extensions.at_end() {
        let mut members = extensions.sequence(PART)?;
        members.oid()?;
        let critical = members.optional(Tag::Boolean)?.is_some_and(|flag| flag.value != [0]);
        members.need(Tag::OctetString)?;
        members.end()?;
        if critical {
            return Err(TokenError::CriticalExtension);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> Utc {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_may_have_fractions_and_nothing_else_may_be_strange() {
        assert_eq!(time(b"20261122040000Z").unwrap(), at("2026-11-22T04:00:00Z"));
        assert_eq!(time(b"20261122040000.5Z").unwrap(), at("2026-11-22T04:00:00.5Z"));
        assert_eq!(time(b"20261122040000.000000001Z").unwrap(), at("2026-11-22T04:00:00.000000001Z"));
        assert_eq!(time(b"20261122040000.1234567899999Z").unwrap(), at("2026-11-22T04:00:00.123456789Z"));
        for text in [
            "",
            "Z",
            "20261122040000",
            "202611220400Z",
            "20261122040000.Z",
            "20261122040000,5Z",
            "20261122040000+0000",
            "20261122040000.5",
            "20261122040060Z",
            "20261122240000Z",
            "20260230040000Z",
            "+0261122040000Z",
            "20261122040000.-5Z",
            "2026112204000\u{663}Z",
            "20261122040000.0000000000000000000000000000000Z",
        ] {
            assert!(time(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_accuracy_adds_its_three_parts_and_takes_no_part_above_999() {
        assert_eq!(accuracy(&[]).unwrap(), TimeDelta::zero());
        assert_eq!(accuracy(&[2, 1, 1]).unwrap(), TimeDelta::seconds(1));
        assert_eq!(accuracy(&[0x80, 2, 1, 0xf4]).unwrap(), TimeDelta::milliseconds(500));
        assert_eq!(accuracy(&[2, 1, 1, 0x80, 1, 3, 0x81, 1, 5]).unwrap(), TimeDelta::microseconds(1_003_005));
        for value in [
            [2, 1, 0xff].as_slice(),
            &[0x80, 1, 0x80],
            &[0x80, 2, 0x03, 0xe8],
            &[0x80, 2, 0, 1],
            &[0x81, 1, 5, 0x80, 1, 3],
            &[0x80, 0],
            &[2, 5, 1, 0, 0, 0, 0],
            &[5, 0],
        ] {
            assert!(accuracy(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn bounds_are_widened_to_whole_milliseconds_and_to_a_second_where_no_accuracy_is_stated() {
        let info = |time: &str, accuracy| Info {
            imprint: Imprint { hash: Hash::Sha256, digest: Vec::new() },
            serial: &[],
            time: at(time),
            accuracy,
            nonce: None,
        };
        let micros = |n| Some(TimeDelta::microseconds(n));
        let bounds = |time, accuracy| info(time, accuracy).bounds().unwrap();
        assert_eq!(bounds("2026-11-22T04:00:00Z", micros(0)), (at("2026-11-22T04:00:00Z"), at("2026-11-22T04:00:00Z")));
        assert_eq!(
            bounds("2026-11-22T04:00:00.0005Z", micros(1)),
            (at("2026-11-22T04:00:00Z"), at("2026-11-22T04:00:00.001Z"))
        );
        assert_eq!(
            bounds("2026-11-22T04:00:00Z", micros(1)),
            (at("2026-11-22T03:59:59.999Z"), at("2026-11-22T04:00:00.001Z"))
        );
        assert_eq!(bounds("2026-11-22T04:00:00Z", None), (at("2026-11-22T03:59:59Z"), at("2026-11-22T04:00:01Z")));
    }
}
