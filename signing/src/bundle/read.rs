//! Reading a bundle: the structure at once, the files one at a time and in a stream.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
};

use flate2::{Crc, bufread::DeflateDecoder};

use super::{BundleError, DOS_DATE, MAX_BYTES, MAX_FILES, SUMS, UNIX_MODE, name};
use crate::digest::Digest;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_LENGTH: u64 = 30;
const CENTRAL_LENGTH: usize = 46;
const END_LENGTH: u64 = 22;

/// A bundle whose structure has been checked. Its files are checked as they are read.
pub struct Bundle<R> {
    source: R,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    deflated: bool,
    crc: u32,
    packed: u64,
    length: u64,
    /// Where its packed bytes start.
    data: u64,
}

impl<R: Read + Seek> Bundle<R> {
    /// Reads the structure. `limit` bounds the sum of the files' lengths ([`super::MAX_UNPACKED`]).
    ///
    /// # Errors
    /// Whatever [`super::write`] would not have written: bytes before, between or after the entries, headers that disagree, names that
    /// are doubled or odd, other methods, dates or modes; and more than the limit.
    pub fn open(mut source: R, limit: u64) -> Result<Self, BundleError> {
        let read = || BundleError::io("the bundle");
        let length = source.seek(SeekFrom::End(0)).map_err(read())?;
        if length > MAX_BYTES {
            return Err(BundleError::TooLarge { what: "the bundle".to_owned(), limit: MAX_BYTES, unit: "bytes" });
        }
        if length < END_LENGTH {
            return Err(shape("it is shorter than an empty ZIP"));
        }
        let directory_end = length - END_LENGTH;
        let end = take(&mut source, directory_end, END_LENGTH as usize)?;
        let mut end = Fields(&end);
        if end.u32() != END {
            return Err(shape("it does not end with a ZIP's end record: cut off, or with bytes after its end"));
        }
        let (disk, first_disk, here, count) = (end.u16(), end.u16(), end.u16(), end.u16());
        let (size, start, comment) = (u64::from(end.u32()), u64::from(end.u32()), end.u16());
        if disk != 0 || first_disk != 0 || here != count || comment != 0 {
            return Err(shape("its end record speaks of more disks, or of a comment"));
        }
        if usize::from(count) > MAX_FILES || start + size != directory_end {
            return Err(shape("its directory is not where, or not as long as, its end record says"));
        }
        let directory = take(&mut source, start, size as usize)?;
        let entries = directory_entries(&mut source, &directory, count.into(), start, limit)?;
        if entries.first().is_none_or(|e| e.name != SUMS) {
            return Err(shape("its first file is not SHA256SUMS"));
        }
        if !entries[1..].is_sorted_by(|a, b| a.name < b.name) {
            return Err(shape("its files are not sorted by name"));
        }
        Ok(Self { source, entries })
    }

    /// The files' names, `SHA256SUMS` first, the others sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|e| e.name.as_str())
    }

    /// The length of a file; `None` where there is none of that name.
    pub fn length(&self, name: &str) -> Option<u64> {
        find(&self.entries, name).map(|e| e.length)
    }

    /// A file's bytes, whole. For files that may be long there is [`Bundle::stream`].
    ///
    /// # Errors
    /// No such file; bytes that are not what the headers say.
    pub fn file(&mut self, name: &str) -> Result<Vec<u8>, BundleError> {
        let mut bytes = Vec::new();
        let mut file = self.stream(name)?;
        file.read_to_end(&mut bytes).map_err(|e| file.fault(e))?;
        Ok(bytes)
    }

    /// A file in a stream. Its length and checksum are checked where it ends: only what was read to the end, without an error, counts.
    ///
    /// # Errors
    /// No such file; the source's failures.
    pub fn stream(&mut self, name: &str) -> Result<File<'_, R>, BundleError> {
        let entry = find(&self.entries, name).ok_or_else(|| BundleError::Missing(name.to_owned()))?;
        self.source.seek(SeekFrom::Start(entry.data)).map_err(BundleError::io(name))?;
        let packed = BufReader::new((&mut self.source).take(entry.packed));
        let bytes = if entry.deflated { Bytes::Deflated(DeflateDecoder::new(packed)) } else { Bytes::Stored(packed) };
        Ok(File { entry, bytes, crc: Crc::new(), seen: 0, fault: None })
    }

    /// The digests that `SHA256SUMS` lists, by name, and its own.
    ///
    /// # Errors
    /// Any other spelling than the format's.
    pub fn sums(&mut self) -> Result<(Digest, BTreeMap<String, Digest>), BundleError> {
        let bytes = self.file(SUMS)?;
        let digest = Digest::of(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| BundleError::Sums(1))?;
        let mut listed = BTreeMap::new();
        let mut last = String::new();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let bad = || BundleError::Sums(number + 1);
            let (hex, name) = line.strip_suffix('\n').and_then(|l| l.split_once("  ")).ok_or_else(bad)?;
            if name <= last.as_str() {
                return Err(bad());
            }
            last = name.to_owned();
            listed.insert(name.to_owned(), hex.parse().map_err(|_| bad())?);
        }
        Ok((digest, listed))
    }

    /// Reads every file and compares it with `SHA256SUMS`, of which the digest is given back: a receipt's second subject.
    ///
    /// # Errors
    /// The first file that is unlisted, listed and not there, or not as listed.
    pub fn check_sums(&mut self) -> Result<Digest, BundleError> {
        let (digest, mut listed) = self.sums()?;
        let names: Vec<_> = self.names().filter(|n| *n != SUMS).map(str::to_owned).collect();
        for name in names {
            let Some(wanted) = listed.remove(&name) else { return Err(BundleError::Unlisted(name)) };
            let mut file = self.stream(&name)?;
            let (found, _) = Digest::read(&mut file).map_err(|e| file.fault(e))?;
            if found != wanted {
                return Err(BundleError::Digest { name, found, listed: wanted });
            }
        }
        match listed.into_keys().next() {
            Some(name) => Err(BundleError::Missing(name)),
            None => Ok(digest),
        }
    }
}

/// One file of a bundle, unpacked as it is read.
pub struct File<'a, R> {
    entry: &'a Entry,
    bytes: Bytes<'a, R>,
    crc: Crc,
    seen: u64,
    fault: Option<&'static str>,
}

enum Bytes<'a, R> {
    Stored(BufReader<Take<&'a mut R>>),
    Deflated(DeflateDecoder<BufReader<Take<&'a mut R>>>),
}

impl<R: Read> File<'_, R> {
    /// What a failed read of this file means: damage that was found here, or the source's failure.
    pub fn fault(&self, error: io::Error) -> BundleError {
        let name = self.entry.name.clone();
        match self.fault {
            Some(what) => BundleError::Damaged { name, what },
            None if error.kind() == io::ErrorKind::InvalidInput || error.kind() == io::ErrorKind::InvalidData => {
                BundleError::Damaged { name, what: "its packed bytes are no DEFLATE stream" }
            }
            None => BundleError::Io { what: name, source: error },
        }
    }

    fn damaged(&mut self, what: &'static str) -> io::Error {
        self.fault = Some(what);
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {what}", self.entry.name))
    }

    /// At the end of the bytes.
    fn finish(&mut self) -> io::Result<usize> {
        if self.seen != self.entry.length {
            return Err(self.damaged("it is shorter than its header says"));
        }
        if self.crc.sum() != self.entry.crc {
            return Err(self.damaged("its checksum is not that of its header"));
        }
        let rest = match &mut self.bytes {
            Bytes::Stored(packed) => packed,
            Bytes::Deflated(decoder) => decoder.get_mut(),
        };
        if !rest.fill_buf()?.is_empty() {
            return Err(self.damaged("there are bytes between it and the next file"));
        }
        Ok(0)
    }
}

impl<R: Read> Read for File<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let n = match &mut self.bytes {
            Bytes::Stored(packed) => packed.read(out)?,
            Bytes::Deflated(decoder) => decoder.read(out)?,
        };
        if n == 0 {
            return self.finish();
        }
        self.crc.update(&out[..n]);
        self.seen += n as u64;
        if self.seen > self.entry.length {
            return Err(self.damaged("it is longer than its header says"));
        }
        Ok(n)
    }
}

/// The entry of that name: `SHA256SUMS` is the first, the others are sorted.
fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    let (sums, files) = entries.split_first()?;
    match files.binary_search_by(|e| e.name.as_str().cmp(name)) {
        Ok(place) => files.get(place),
        Err(_) => Some(sums).filter(|e| e.name == name),
    }
}

/// The entries of the directory, each checked against its local header and against its neighbour's end.
fn directory_entries<R: Read + Seek>(
    source: &mut R,
    directory: &[u8],
    count: usize,
    start: u64,
    limit: u64,
) -> Result<Vec<Entry>, BundleError> {
    let mut rest = directory;
    let mut entries: Vec<Entry> = Vec::new();
    let mut seen = name::Seen::default();
    let (mut at, mut total) = (0_u64, 0_u64);
    for _ in 0..count {
        let Some((fixed, after)) = rest.split_at_checked(CENTRAL_LENGTH) else {
            return Err(shape("its directory is cut off"));
        };
        let mut f = Fields(fixed);
        let (signature, made_by, common) = (f.u32(), f.u16(), f.bytes(26));
        let (comment, disk, internal, external, offset) = (f.u16(), f.u16(), f.u16(), f.u32(), u64::from(f.u32()));
        let name_length = u16::from_le_bytes([common[22], common[23]]);
        let Some((name, after)) = after.split_at_checked(name_length.into()) else {
            return Err(shape("its directory is cut off"));
        };
        rest = after;
        let name = std::str::from_utf8(name).map_err(|_| shape("a name in it is not ASCII"))?;
        name::check(name)?;
        seen.add(name)?;
        let odd = |what: &str| shape(&format!("the header of {name} {what}"));
        if signature != CENTRAL || comment != 0 || disk != 0 || internal != 0 {
            return Err(odd("is no plain directory entry"));
        }
        if made_by >> 8 != 3 || external != UNIX_MODE << 16 {
            return Err(odd("has another file mode than rw-r--r-- (Unix)"));
        }
        if offset != at {
            return Err(odd("does not follow the entry before it"));
        }
        let local = take(source, at, (LOCAL_LENGTH + u64::from(name_length)) as usize)?;
        if Fields(&local).u32() != LOCAL || &local[4..30] != common || &local[30..] != name.as_bytes() {
            return Err(odd("in the directory is not the one before its bytes"));
        }
        let entry = entry(name, common, at + LOCAL_LENGTH + u64::from(name_length))?;
        at = entry.data + entry.packed;
        if at > start {
            return Err(odd("claims more bytes than there are"));
        }
        total += entry.length;
        if total > limit {
            return Err(BundleError::TooLarge { what: "the unpacked bundle".to_owned(), limit, unit: "bytes" });
        }
        entries.push(entry);
    }
    if !rest.is_empty() || at != start {
        return Err(shape("there are bytes between its files and its directory, or after its directory"));
    }
    Ok(entries)
}

/// The fields that a local and a central header share.
fn entry(name: &str, common: &[u8], data: u64) -> Result<Entry, BundleError> {
    let odd = |what: &str| shape(&format!("the header of {name} {what}"));
    let mut f = Fields(common);
    let (needed, flags, method, time, date, crc) = (f.u16(), f.u16(), f.u16(), f.u16(), f.u16(), f.u32());
    let (packed, length) = (u64::from(f.u32()), u64::from(f.u32()));
    let (_name, extra) = (f.u16(), f.u16());
    if needed > 20 || flags != 0 || extra != 0 {
        return Err(odd("asks for more than plain ZIP: flags, extra fields or a later version"));
    }
    if time != 0 || date != DOS_DATE {
        return Err(odd("has another time than 1980-01-01"));
    }
    let deflated = match method {
        0 if packed == length => false,
        8 => true,
        _ => return Err(odd("names a method other than stored and deflated")),
    };
    Ok(Entry { name: name.to_owned(), deflated, crc, packed, length, data })
}

fn shape(what: &str) -> BundleError {
    BundleError::Shape(what.to_owned())
}

fn take<R: Read + Seek>(source: &mut R, at: u64, length: usize) -> Result<Vec<u8>, BundleError> {
    source.seek(SeekFrom::Start(at)).map_err(BundleError::io("the bundle"))?;
    let mut bytes = Vec::new();
    source.take(length as u64).read_to_end(&mut bytes).map_err(BundleError::io("the bundle"))?;
    if bytes.len() == length { Ok(bytes) } else { Err(shape("it is cut off")) }
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
}
