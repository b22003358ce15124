//! The ZIP structures of a bundle, as bytes (PKWARE APPNOTE 4.3 and 4.5.3). The writer writes them, and the reader makes them again from
//! what it read and compares: so there is one spelling of each. ZIP64 fields are there exactly where a number needs them.

use super::BundleError;

/// 1980-01-01 in the form of MS-DOS: the only date in a bundle.
const DOS_DATE: u16 = 0x0021;

/// A plain file, `rw-r--r--`, in Unix's form.
const UNIX_MODE: u32 = 0o100_644;

/// The high byte of "version made by" for Unix.
const UNIX: u16 = 3 << 8;

/// The version of APPNOTE that knows DEFLATE, and the one that knows ZIP64.
const PLAIN: u16 = 20;
const WITH_ZIP64: u16 = 45;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const EXTRA64: u16 = 1;

/// The bytes of a central header before its name, and its longest extra field.
pub(super) const CENTRAL_LENGTH: usize = 46;
pub(super) const MAX_EXTRA: usize = 28;

/// The bytes of the end record, and of it with ZIP64's end record and locator before it.
pub(super) const END_LENGTH: usize = 22;
pub(super) const END64_LENGTH: usize = 56 + 20 + END_LENGTH;

/// From which numbers on ZIP's own fields do not hold them. Tests lower them, to have small bundles with every structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classic {
    /// For lengths and places.
    pub bytes: u64,
    /// For the number of files.
    pub files: u64,
}

impl Classic {
    /// ZIP's: a field of all ones says that ZIP64 has the number.
    pub const ZIP: Self = Self { bytes: u32::MAX as u64, files: u16::MAX as u64 };

    fn bytes(self, number: u64) -> u32 {
        if number >= self.bytes { u32::MAX } else { number as u32 }
    }

    fn files(self, number: u64) -> u16 {
        if number >= self.files { u16::MAX } else { number as u16 }
    }
}

/// What the headers of a file say of it, beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub deflated: bool,
    pub crc: u32,
    /// The length of its bytes in the ZIP.
    pub packed: u64,
    pub length: u64,
    /// Where its local header starts.
    pub offset: u64,
    /// Versions of APPNOTE: readers do not mind which, below ZIP64's.
    made_by: u16,
    needed: u16,
}

impl Header {
    /// As this version writes it.
    pub fn new(crc: u32, packed: u64, length: u64, offset: u64, classic: Classic) -> Self {
        let mut header = Self { deflated: true, crc, packed, length, offset, made_by: 0, needed: 0 };
        let version = if header.is_large(classic) || offset >= classic.bytes { WITH_ZIP64 } else { PLAIN };
        (header.made_by, header.needed) = (UNIX | version, version);
        header
    }

    /// Whether its two lengths are in an extra field, which its local header has too.
    pub fn is_large(&self, classic: Classic) -> bool {
        self.packed >= classic.bytes || self.length >= classic.bytes
    }

    /// What both headers begin with after their signature, with the length of the extra field.
    fn common(&self, out: &mut Vec<u8>, name: &str, extra: usize, classic: Classic) {
        let method = if self.deflated { 8 } else { 0 };
        for field in [self.needed, 0, method, 0, DOS_DATE] {
            out.extend(field.to_le_bytes());
        }
        let large = self.is_large(classic);
        let of = |length: u64| if large { u32::MAX } else { length as u32 };
        for field in [self.crc, of(self.packed), of(self.length)] {
            out.extend(field.to_le_bytes());
        }
        out.extend((name.len() as u16).to_le_bytes());
        out.extend((extra as u16).to_le_bytes());
    }

    /// The header before a file's bytes.
    pub fn local(&self, name: &str, classic: Classic) -> Vec<u8> {
        let large = self.is_large(classic);
        let mut out = LOCAL.to_le_bytes().to_vec();
        self.common(&mut out, name, if large { 20 } else { 0 }, classic);
        out.extend(name.as_bytes());
        if large {
            extra(&mut out, &[self.length, self.packed]);
        }
        out
    }

    /// The header in the directory.
    pub fn central(&self, name: &str, classic: Classic) -> Vec<u8> {
        let mut numbers = Vec::new();
        if self.is_large(classic) {
            numbers.extend([self.length, self.packed]);
        }
        if self.offset >= classic.bytes {
            numbers.push(self.offset);
        }
        let mut out = CENTRAL.to_le_bytes().to_vec();
        out.extend(self.made_by.to_le_bytes());
        self.common(&mut out, name, if numbers.is_empty() { 0 } else { 4 + 8 * numbers.len() }, classic);
        // Comment, disk and internal attributes: none.
        out.extend([0; 6]);
        out.extend((UNIX_MODE << 16).to_le_bytes());
        out.extend(classic.bytes(self.offset).to_le_bytes());
        out.extend(name.as_bytes());
        if !numbers.is_empty() {
            extra(&mut out, &numbers);
        }
        out
    }

    /// How long a central header is with its name and its extra field, from its first [`CENTRAL_LENGTH`] bytes; the name's length.
    pub fn lengths(fixed: &[u8]) -> (usize, usize) {
        let mut f = Fields(&fixed[28..]);
        let (name, extra, comment) = (f.u16(), f.u16(), f.u16());
        (CENTRAL_LENGTH + usize::from(name) + usize::from(extra) + usize::from(comment), name.into())
    }

    /// Reads a whole central header with its name, which has been checked.
    ///
    /// # Errors
    /// Whatever [`Header::central`] would not have written.
    pub fn read(central: &[u8], name: &str, classic: Classic) -> Result<Self, BundleError> {
        let odd = |what: &str| BundleError::Shape(format!("the header of {name} {what}"));
        let mut f = Fields(central);
        let (signature, made_by, needed, flags) = (f.u32(), f.u16(), f.u16(), f.u16());
        let (method, time, date, crc) = (f.u16(), f.u16(), f.u16(), f.u32());
        let (packed, length) = (f.u32(), f.u32());
        f.bytes(10);
        let (external, offset) = (f.u32(), f.u32());
        if signature != CENTRAL || flags != 0 || needed > WITH_ZIP64 {
            return Err(odd("is no plain directory entry: flags, or a later version of ZIP"));
        }
        if made_by & 0xff00 != UNIX || external != UNIX_MODE << 16 {
            return Err(odd("has another file mode than rw-r--r-- (Unix)"));
        }
        if time != 0 || date != DOS_DATE {
            return Err(odd("has another time than 1980-01-01"));
        }
        let mut wide = Fields(central[CENTRAL_LENGTH + name.len()..].get(4..).unwrap_or_default());
        let (mut length, mut packed, mut offset) = (u64::from(length), u64::from(packed), u64::from(offset));
        for number in [&mut length, &mut packed, &mut offset] {
            if *number == u64::from(u32::MAX) {
                *number = wide.u64().ok_or_else(|| odd("lacks a number in its ZIP64 field"))?;
            }
        }
        let header = Self { deflated: method == 8, crc, packed, length, offset, made_by, needed };
        if method != 8 && (method != 0 || packed != length) {
            return Err(odd("names a method other than stored and deflated"));
        }
        let zip64 = central.len() > CENTRAL_LENGTH + name.len();
        if zip64 != (needed == WITH_ZIP64) || !zip64 && needed > PLAIN || header.central(name, classic) != central {
            return Err(odd(
                "is not as this format spells it: extra fields, a comment, or ZIP64 where it is not needed",
            ));
        }
        Ok(header)
    }
}

/// The extra field of ZIP64.
fn extra(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(EXTRA64.to_le_bytes());
    out.extend((8 * numbers.len() as u16).to_le_bytes());
    for number in numbers {
        out.extend(number.to_le_bytes());
    }
}

/// How many files a directory has, how long it is, and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub files: u64,
    pub size: u64,
    pub start: u64,
}

impl End {
    /// What follows the directory, to the end of the ZIP.
    pub fn bytes(&self, classic: Classic) -> Vec<u8> {
        let mut out = Vec::with_capacity(END64_LENGTH);
        if self.files >= classic.files || self.size >= classic.bytes || self.start >= classic.bytes {
            out.extend(END64.to_le_bytes());
            out.extend(44_u64.to_le_bytes());
            out.extend((UNIX | WITH_ZIP64).to_le_bytes());
            out.extend(WITH_ZIP64.to_le_bytes());
            out.extend([0; 8]);
            for number in [self.files, self.files, self.size, self.start] {
                out.extend(number.to_le_bytes());
            }
            out.extend(LOCATOR64.to_le_bytes());
            out.extend([0; 4]);
            out.extend((self.start + self.size).to_le_bytes());
            out.extend(1_u32.to_le_bytes());
        }
        out.extend(END.to_le_bytes());
        out.extend([0; 4]);
        for _ in 0..2 {
            out.extend(classic.files(self.files).to_le_bytes());
        }
        out.extend(classic.bytes(self.size).to_le_bytes());
        out.extend(classic.bytes(self.start).to_le_bytes());
        out.extend([0; 2]);
        out
    }

    /// Reads it from the last bytes of a ZIP, [`END64_LENGTH`] of them where there are so many, and gives its length too.
    ///
    /// # Errors
    /// Whatever [`End::bytes`] would not have written.
    pub fn read(tail: &[u8], classic: Classic) -> Result<(Self, u64), BundleError> {
        let shape = |what: &str| BundleError::Shape(what.to_owned());
        let Some(end) = tail.len().checked_sub(END_LENGTH) else {
            return Err(shape("it is shorter than an empty ZIP"));
        };
        let mut f = Fields(&tail[end..]);
        if f.u32() != END {
            return Err(shape("it does not end with a ZIP's end record: cut off, or with bytes after its end"));
        }
        f.bytes(6);
        let (files, size, start) = (f.u16(), f.u32(), f.u32());
        let found = if files == u16::MAX || size == u32::MAX || start == u32::MAX {
            if tail.len() < END64_LENGTH {
                return Err(shape("it has no end record of ZIP64"));
            }
            let mut f = Fields(&tail[tail.len() - END64_LENGTH + 32..]);
            let mut number = || f.u64().expect("it is as long as that");
            Self { files: number(), size: number(), start: number() }
        } else {
            Self { files: files.into(), size: size.into(), start: start.into() }
        };
        // Before anything is added: numbers that no ZIP has.
        if found.start.checked_add(found.size).is_none() || !tail.ends_with(&found.bytes(classic)) {
            return Err(shape(
                "its end record is not as this format spells it: more disks, a comment, or numbers that disagree",
            ));
        }
        Ok((found, found.bytes(classic).len() as u64))
    }
}

/// Little-endian fields of a header whose length has been checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes(2).try_into().expect("two bytes"))
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes(4).try_into().expect("four bytes"))
    }
    fn u64(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*head))
    }
}
