//! DER (X.690) read in place: elements with their raw bytes, which signatures and comparisons rest on.

use der::{AnyRef, Decode, Reader as _, SliceReader, Tag, Tagged as _, asn1::ObjectIdentifier};

use super::TokenError;

/// One element: its tag, its contents, and the bytes of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub tag: Tag,
    pub raw: &'a [u8],
    pub value: &'a [u8],
}

/// The elements of one constructed value, in order. `part` names it in errors.
pub(super) struct Elements<'a> {
    reader: SliceReader<'a>,
    part: &'static str,
}

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8], part: &'static str) -> Result<Self, TokenError> {
        Ok(Self { reader: SliceReader::new(bytes).map_err(|e| malformed(part, e))?, part })
    }

    /// The next element, of whatever tag.
    pub(super) fn any(&mut self) -> Result<Element<'a>, TokenError> {
        let raw = self.reader.tlv_bytes().map_err(|e| malformed(self.part, e))?;
        let any = AnyRef::from_der(raw).map_err(|e| malformed(self.part, e))?;
        Ok(Element { tag: any.tag(), raw, value: any.value() })
    }

    /// The next element, which must have that tag.
    pub(super) fn need(&mut self, tag: Tag) -> Result<Element<'a>, TokenError> {
        let element = self.any()?;
        if element.tag == tag {
            Ok(element)
        } else {
            Err(malformed(self.part, element.tag.unexpected_error(Some(tag))))
        }
    }

    /// The next element if it has that tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>, TokenError> {
        if self.next_is(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// The contents of the next element, a SEQUENCE, as elements.
    pub(super) fn sequence(&mut self, part: &'static str) -> Result<Self, TokenError> {
        Self::new(self.need(Tag::Sequence)?.value, part)
    }

    pub(super) fn oid(&mut self) -> Result<ObjectIdentifier, TokenError> {
        let raw = self.need(Tag::ObjectIdentifier)?.raw;
        ObjectIdentifier::from_der(raw).map_err(|e| malformed(self.part, e))
    }

    /// The next element, a number that fits.
    pub(super) fn small(&mut self) -> Result<u32, TokenError> {
        let raw = self.need(Tag::Integer)?.raw;
        u32::from_der(raw).map_err(|e| malformed(self.part, e))
    }

    pub(super) fn next_is(&self, tag: Tag) -> bool {
        self.reader.peek_tag().is_ok_and(|next| next == tag)
    }

    pub(super) fn at_end(&self) -> bool {
        self.reader.is_finished()
    }

    /// Refuses bytes that nothing has read.
    pub(super) fn end(self) -> Result<(), TokenError> {
        let part = self.part;
        self.reader.finish(()).map_err(|e| malformed(part, e))
    }
}

/// The one element that `bytes` are.
pub(super) fn only<'a>(bytes: &'a [u8], tag: Tag, part: &'static str) -> Result<Element<'a>, TokenError> {
    let mut elements = Elements::new(bytes, part)?;
    let element = elements.need(tag)?;
    elements.end()?;
    Ok(element)
}

/// An AlgorithmIdentifier (RFC 5280, 4.1.1.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm<'a> {
    pub oid: ObjectIdentifier,
    /// Absent or NULL, which algorithms without parameters may both have.
    pub bare: bool,
    /// The contents of the SEQUENCE.
    pub value: &'a [u8],
}

impl<'a> Algorithm<'a> {
    pub(super) fn read(elements: &mut Elements<'a>, part: &'static str) -> Result<Self, TokenError> {
        let element = elements.need(Tag::Sequence)?;
        let mut inner = Elements::new(element.value, part)?;
        let oid = inner.oid()?;
        let bare = inner.at_end() || {
            let parameters = inner.any()?;
            parameters.tag == Tag::Null && parameters.value.is_empty()
        };
        inner.end()?;
        Ok(Self { oid, bare, value: element.value })
    }
}

/// `[n]`, constructed.
pub(super) const fn context(number: der::TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

/// `[n]`, primitive.
pub(super) const fn context_primitive(number: der::TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: false, number }
}

pub(super) fn malformed(part: &'static str, error: der::Error) -> TokenError {
    TokenError::Malformed { part, detail: error.to_string() }
}
