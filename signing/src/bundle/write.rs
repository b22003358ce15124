//! Writing a bundle: the same files give the same bytes.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use flate2::{Compression, Crc, write::DeflateEncoder};
use sha2::{Digest as _, Sha256};

use super::{
    BundleError, MAX_BYTES, SUMS,
    header::{Classic, End, Header},
    name::Names,
};
use crate::digest::Digest;

/// What is read, and given to the encoder, at once.
const BLOCK: usize = 64 * 1024;

/// Packed bytes that are held until their header is known; a file that packs to more gets its header afterwards.
const HELD: usize = 256 * 1024;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The digest of `SHA256SUMS`: a receipt's second subject.
    pub sums: Digest,
    /// Files, `SHA256SUMS` not counted.
    pub files: u64,
}

/// Writes the files of `dir` as a bundle into `out`, which is empty: `SHA256SUMS`, which is made here, and then every file, sorted by
/// name. Files are streamed.
///
/// # Errors
/// A file named `SHA256SUMS`, something that is no plain file, a name that a bundle cannot hold, too much of anything, a file that
/// changes meanwhile, and the disk's failures. `out` then holds nothing of use.
pub fn write<W: Write + Seek>(dir: &Path, out: &mut W) -> Result<Written, BundleError> {
    write_as(dir, out, Classic::ZIP)
}

pub(super) fn write_as<W: Write + Seek>(dir: &Path, out: &mut W, classic: Classic) -> Result<Written, BundleError> {
    let mut names = Names::default();
    names.push(SUMS)?;
    walk(dir, "", &mut names)?;
    names.sort(1);
    names.check_together()?;
    let mut zip = Zip::new(out, classic);
    let mut headers = Vec::with_capacity(names.len());

    // Every file is read twice: SHA256SUMS comes first. It is made again from what is packed.
    let (mut sums, mut again) = (Lines::default(), Lines::default());
    zip.begin(SUMS, false);
    for name in names.iter().skip(1) {
        let read = each_block(&mut open(dir, name)?, &mut |_| Ok(())).map_err(BundleError::io(name))?;
        if read.length > MAX_BYTES {
            return Err(BundleError::TooLarge { what: name.to_owned(), limit: MAX_BYTES, unit: "bytes" });
        }
        sums.add(&read.digest, name, &mut |block| zip.pack(block)).map_err(BundleError::io(SUMS))?;
        headers.push(Header::new(read.crc, 0, read.length, 0, classic));
    }
    let sums = sums.end(&mut |block| zip.pack(block)).map_err(BundleError::io(SUMS))?;
    let own = zip.end(sums.crc, sums.length).map_err(BundleError::io(SUMS))?;

    for (name, header) in names.iter().skip(1).zip(&mut headers) {
        let io = || BundleError::io(name);
        let mut large = header.is_large(classic);
        *header = loop {
            let mut file = open(dir, name)?;
            zip.begin(name, large);
            let read = each_block(&mut file, &mut |block| zip.pack(block)).map_err(io())?;
            if (read.crc, read.length) != (header.crc, header.length) {
                return Err(BundleError::Changed(name.to_owned()));
            }
            let packed = zip.end(read.crc, read.length).map_err(io())?;
            if packed.is_large(classic) == large {
                again.add(&read.digest, name, &mut |_| Ok(())).map_err(io())?;
                break packed;
            }
            // It does not pack at all, and has just become too long for a header without ZIP64.
            large = true;
            zip.again(packed.offset).map_err(io())?;
        };
    }
    if again.end(&mut |_| Ok(())).map_err(BundleError::io(SUMS))?.digest != sums.digest {
        return Err(BundleError::Changed("a file".to_owned()));
    }

    headers.insert(0, own);
    let length = zip.finish(&names, &headers).map_err(BundleError::io("the bundle"))?;
    if length > MAX_BYTES {
        return Err(BundleError::TooLarge { what: "the bundle".to_owned(), limit: MAX_BYTES, unit: "bytes" });
    }
    Ok(Written { sums: sums.digest, files: names.len() as u64 - 1 })
}

/// A ZIP that grows.
struct Zip<'a, W> {
    out: &'a mut W,
    classic: Classic,
    /// Of `out`.
    length: u64,
    encoder: DeflateEncoder<Vec<u8>>,
    name: String,
    /// Whether the header of the file at hand has an extra field.
    large: bool,
    /// Where that header is.
    offset: u64,
    /// How many of its packed bytes are in `out` already, after a header that says nothing yet.
    packed: u64,
}

impl<'a, W: Write + Seek> Zip<'a, W> {
    fn new(out: &'a mut W, classic: Classic) -> Self {
        let encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
        Self { out, classic, length: 0, encoder, name: String::new(), large: false, offset: 0, packed: 0 }
    }

    fn begin(&mut self, name: &str, large: bool) {
        name.clone_into(&mut self.name);
        (self.large, self.offset, self.packed) = (large, self.length, 0);
    }

    /// Takes bytes of the file. The encoder's output follows from how they are divided, too: into blocks of [`BLOCK`] bytes.
    fn pack(&mut self, block: &[u8]) -> io::Result<()> {
        self.encoder.write_all(block)?;
        if self.encoder.get_ref().len() > HELD {
            self.write_packed()?;
        }
        Ok(())
    }

    fn write_packed(&mut self) -> io::Result<()> {
        if self.packed == 0 {
            let unknown = if self.large { u64::MAX } else { 0 };
            let header = Header::new(0, unknown, unknown, self.offset, self.classic);
            self.append(&header.local(&self.name, self.classic))?;
        }
        let packed = std::mem::take(self.encoder.get_mut());
        self.packed += packed.len() as u64;
        self.append(&packed)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Ends the file and says what its header is. Where that is not as [`Zip::begin`] was told, [`Zip::again`] must follow.
    fn end(&mut self, crc: u32, length: u64) -> io::Result<Header> {
        let rest = self.encoder.reset(Vec::new())?;
        let header = Header::new(crc, self.packed + rest.len() as u64, length, self.offset, self.classic);
        let local = header.local(&self.name, self.classic);
        if self.packed == 0 {
            self.append(&local)?;
            self.append(&rest)?;
        } else {
            self.append(&rest)?;
            self.out.seek(SeekFrom::Start(self.offset))?;
            self.out.write_all(&local)?;
            self.out.seek(SeekFrom::Start(self.length))?;
        }
        Ok(header)
    }

    /// Back to where the file began.
    fn again(&mut self, offset: u64) -> io::Result<()> {
        self.length = offset;
        self.out.seek(SeekFrom::Start(offset)).map(drop)
    }

    /// Writes the directory and gives the length of the ZIP.
    fn finish(self, names: &Names, headers: &[Header]) -> io::Result<u64> {
        let (start, mut at) = (self.length, self.length);
        for (name, header) in names.iter().zip(headers) {
            let central = header.central(name, self.classic);
            self.out.write_all(&central)?;
            at += central.len() as u64;
        }
        let end = End { files: names.len() as u64, size: at - start, start }.bytes(self.classic);
        self.out.write_all(&end)?;
        Ok(at + end.len() as u64)
    }
}

/// What was read, or made.
struct Whole {
    digest: Digest,
    crc: u32,
    length: u64,
}

/// Bytes that go by.
#[derive(Default)]
struct Gone {
    hasher: Sha256,
    crc: Crc,
    length: u64,
}

impl Gone {
    fn by(&mut self, block: &[u8]) {
        self.hasher.update(block);
        self.crc.update(block);
        self.length += block.len() as u64;
    }

    fn whole(self) -> Whole {
        Whole { digest: Digest(self.hasher.finalize().into()), crc: self.crc.sum(), length: self.length }
    }
}

/// Is given bytes block by block.
type Take<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Gives all that `from` has in blocks of [`BLOCK`] bytes, the last one shorter.
fn each_block(from: &mut dyn Read, take: &mut Take<'_>) -> io::Result<Whole> {
    let mut gone = Gone::default();
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        from.take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(gone.whole());
        }
        gone.by(&block);
        take(&block)?;
    }
}

/// `SHA256SUMS` as it grows, given on in blocks of [`BLOCK`] bytes.
#[derive(Default)]
struct Lines {
    gone: Gone,
    block: Vec<u8>,
}

impl Lines {
    fn add(&mut self, digest: &Digest, name: &str, take: &mut Take<'_>) -> io::Result<()> {
        self.block.extend(format!("{digest}  {name}\n").as_bytes());
        while self.block.len() >= BLOCK {
            self.give(BLOCK, take)?;
        }
        Ok(())
    }

    fn give(&mut self, count: usize, take: &mut Take<'_>) -> io::Result<()> {
        self.gone.by(&self.block[..count]);
        take(&self.block[..count])?;
        self.block.drain(..count);
        Ok(())
    }

    fn end(mut self, take: &mut Take<'_>) -> io::Result<Whole> {
        if !self.block.is_empty() {
            self.give(self.block.len(), take)?;
        }
        Ok(self.gone.whole())
    }
}

fn open(dir: &Path, name: &str) -> Result<fs::File, BundleError> {
    fs::File::open(dir.join(name)).map_err(BundleError::io(name))
}

fn walk(dir: &Path, below: &str, names: &mut Names) -> Result<(), BundleError> {
    let listed = || BundleError::io(if below.is_empty() { "the work directory" } else { below });
    for entry in fs::read_dir(dir.join(below)).map_err(listed())? {
        let entry = entry.map_err(listed())?;
        let Ok(file) = entry.file_name().into_string() else {
            let name = entry.file_name().to_string_lossy().into_owned();
            return Err(BundleError::Name { name, why: "it is not UTF-8" });
        };
        let name = if below.is_empty() { file } else { format!("{below}/{file}") };
        let kind = entry.file_type().map_err(listed())?;
        if kind.is_dir() {
            walk(dir, &name, names)?;
        } else if kind.is_file() {
            names.push(&name)?;
        } else {
            return Err(BundleError::NoFile(name));
        }
    }
    Ok(())
}
