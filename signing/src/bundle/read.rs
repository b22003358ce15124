//! Reading a bundle: the structure at once, the files one at a time and in a stream.

use std::{
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
    sync::Arc,
};

use flate2::{Crc, bufread::DeflateDecoder};
use sha2::{Digest as _, Sha256};

use super::{
    BundleError, MAX_BYTES, MAX_FILES, SUMS,
    header::{CENTRAL_LENGTH, Classic, END64_LENGTH, End, Header, MAX_EXTRA},
    name::{MAX_NAME, Names},
};
use crate::digest::Digest;

/// What is read at once.
const BLOCK: usize = 64 * 1024;

/// The longest line of `SHA256SUMS`, with its line feed.
const MAX_LINE: u64 = 64 + 2 + MAX_NAME as u64 + 1;

/// A bundle whose structure has been checked. Its files are checked as they are read.
pub struct Bundle<R> {
    source: R,
    list: Arc<List>,
}

/// The list of files.
#[derive(Debug)]
struct List {
    names: Names,
    entries: Vec<Entry>,
}

/// What a bundle's files are, as they were read; it can be asked while the bundle is read on.
pub struct Contents {
    list: Arc<List>,
    digests: Vec<Digest>,
}

impl Contents {
    /// The place of a file, by its name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.list.names.find(name)
    }

    /// The digest and the length of the file at a place.
    pub fn at(&self, place: usize) -> (Digest, u64) {
        (self.digests[place], self.list.entries[place].length)
    }

    /// The files' names by place, `SHA256SUMS` first, the others sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.names.iter()
    }

    /// The digest of a file; `None` where there is none of that name.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.find(name).map(|place| self.digests[place])
    }

    /// The digest of `SHA256SUMS`.
    pub fn sums(&self) -> Digest {
        self.digests[0]
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
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
    pub fn open(source: R, limit: u64) -> Result<Self, BundleError> {
        Self::open_as(source, limit, Classic::ZIP)
    }

    pub(super) fn open_as(mut source: R, limit: u64, classic: Classic) -> Result<Self, BundleError> {
        let length = source.seek(SeekFrom::End(0)).map_err(BundleError::io("the bundle"))?;
        if length > MAX_BYTES {
            return Err(BundleError::TooLarge { what: "the bundle".to_owned(), limit: MAX_BYTES, unit: "bytes" });
        }
        let mut tail = vec![0; length.min(END64_LENGTH as u64) as usize];
        read_at(&mut source, length - tail.len() as u64, &mut tail)?;
        let (end, end_length) = End::read(&tail, classic)?;
        let least = CENTRAL_LENGTH as u64;
        let most = least + (MAX_NAME + MAX_EXTRA) as u64;
        if end.files > MAX_FILES as u64
            || end.start + end.size != length - end_length
            || !(end.files * least..=end.files * most).contains(&end.size)
        {
            return Err(shape("its directory is not where, or not as long as, its end record says"));
        }
        let (names, entries) = directory(&mut source, end, limit, classic)?;
        if names.get(0) != Some(SUMS) {
            return Err(shape("its first file is not SHA256SUMS"));
        }
        if !names.is_sorted(1) {
            return Err(shape("its files are not sorted by name"));
        }
        names.check_together()?;
        Ok(Self { source, list: Arc::new(List { names, entries }) })
    }

    /// The files' names, `SHA256SUMS` first, the others sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.names.iter()
    }

    /// The length of a file; `None` where there is none of that name.
    pub fn length(&self, name: &str) -> Option<u64> {
        self.list.names.find(name).map(|at| self.list.entries[at].length)
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
        let at = self.list.names.find(name).ok_or_else(|| BundleError::Missing(name.to_owned()))?;
        self.at(at)
    }

    fn at(&mut self, at: usize) -> Result<File<'_, R>, BundleError> {
        File::open(&mut self.source, self.list.names.get(at).unwrap_or_default(), self.list.entries[at])
    }

    /// Reads every file, once.
    ///
    /// # Errors
    /// The first file that is not what its header says; the source's failures.
    pub fn contents(&mut self) -> Result<Contents, BundleError> {
        let mut block = vec![0; BLOCK];
        let mut digests = Vec::with_capacity(self.list.entries.len());
        for at in 0..self.list.entries.len() {
            let mut file = self.at(at)?;
            let mut hasher = Sha256::new();
            loop {
                match file.read(&mut block).map_err(|e| file.fault(e))? {
                    0 => break,
                    n => hasher.update(&block[..n]),
                }
            }
            digests.push(Digest(hasher.finalize().into()));
        }
        Ok(Contents { list: self.list.clone(), digests })
    }

    /// Compares what the files are with what `SHA256SUMS` lists.
    ///
    /// # Errors
    /// `SHA256SUMS` in another spelling than the format's; the first file that is unlisted, not as listed, or listed and not there.
    pub fn check_listed(&mut self, contents: &Contents) -> Result<(), BundleError> {
        let mut file = BufReader::new(self.at(0)?);
        let mut files = contents.names().zip(&contents.digests).skip(1).peekable();
        let (mut line, mut last, mut wrong) = (Vec::new(), String::new(), None);
        for number in 1.. {
            line.clear();
            let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            read.map_err(|e| file.get_ref().fault(e))?;
            if line.is_empty() {
                break;
            }
            let bad = || BundleError::Sums(number);
            let text = std::str::from_utf8(&line).map_err(|_| bad())?;
            let (hex, name) = text.strip_suffix('\n').and_then(|l| l.split_once("  ")).ok_or_else(bad)?;
            if name <= last.as_str() {
                return Err(bad());
            }
            name.clone_into(&mut last);
            let listed: Digest = hex.parse().map_err(|_| bad())?;
            while let Some((passed, _)) = files.next_if(|(next, _)| *next < name) {
                wrong.get_or_insert_with(|| BundleError::Unlisted(passed.to_owned()));
            }
            match files.next_if(|(next, _)| *next == name) {
                Some((_, found)) if *found == listed => {}
                Some((_, found)) => {
                    let name = || name.to_owned();
                    wrong.get_or_insert_with(|| BundleError::Digest { name: name(), found: *found, listed });
                }
                None => {
                    wrong.get_or_insert_with(|| BundleError::Missing(name.to_owned()));
                }
            }
        }
        let unlisted = files.next().map(|(name, _)| BundleError::Unlisted(name.to_owned()));
        wrong.or(unlisted).map_or(Ok(()), Err)
    }

    /// Reads every file and compares it with `SHA256SUMS`, of which the digest is given back: a receipt's second subject.
    ///
    /// # Errors
    /// Those of [`Bundle::contents`] and [`Bundle::check_listed`].
    pub fn check_sums(&mut self) -> Result<Digest, BundleError> {
        let contents = self.contents()?;
        self.check_listed(&contents)?;
        Ok(contents.sums())
    }
}

/// One file of a bundle, unpacked as it is read.
pub struct File<'a, R> {
    name: &'a str,
    entry: Entry,
    bytes: Bytes<'a, R>,
    crc: Crc,
    seen: u64,
    fault: Option<&'static str>,
}

enum Bytes<'a, R> {
    Stored(BufReader<Take<&'a mut R>>),
    Deflated(DeflateDecoder<BufReader<Take<&'a mut R>>>),
}

impl<'a, R: Read + Seek> File<'a, R> {
    fn open(source: &'a mut R, name: &'a str, entry: Entry) -> Result<Self, BundleError> {
        source.seek(SeekFrom::Start(entry.data)).map_err(BundleError::io(name))?;
        let packed = BufReader::new(source.take(entry.packed));
        let bytes = if entry.deflated { Bytes::Deflated(DeflateDecoder::new(packed)) } else { Bytes::Stored(packed) };
        Ok(Self { name, entry, bytes, crc: Crc::new(), seen: 0, fault: None })
    }
}

impl<R: Read> File<'_, R> {
    /// What a failed read of this file means: damage that was found here, or the source's failure.
    pub fn fault(&self, error: io::Error) -> BundleError {
        let name = self.name.to_owned();
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
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {what}", self.name))
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

/// The files of the directory, each checked against its local header and against its neighbour's end.
fn directory<R: Read + Seek>(
    source: &mut R,
    end: End,
    limit: u64,
    classic: Classic,
) -> Result<(Names, Vec<Entry>), BundleError> {
    let (mut names, mut entries) = (Names::default(), Vec::new());
    let (mut at, mut total) = (0_u64, 0_u64);
    let mut rest = Ahead { at: end.start, left: end.size, block: Vec::new(), used: 0 };
    let mut local = Vec::new();
    for _ in 0..end.files {
        let (length, name_length) = Header::lengths(rest.see(source, CENTRAL_LENGTH)?);
        let central = rest.see(source, length)?;
        let name = std::str::from_utf8(&central[CENTRAL_LENGTH..][..name_length])
            .map_err(|_| shape("a name in it is not ASCII"))?;
        names.push(name)?;
        let odd = |what: &str| shape(&format!("the header of {name} {what}"));
        let header = Header::read(central, name, classic)?;
        if header.offset != at {
            return Err(odd("does not follow the file before it"));
        }
        let wanted = header.local(name, classic);
        local.resize(wanted.len(), 0);
        read_at(source, at, &mut local)?;
        if local != wanted {
            return Err(odd("in the directory is not the one before its bytes"));
        }
        let data = at + wanted.len() as u64;
        at = match data.checked_add(header.packed) {
            Some(next) if next <= end.start => next,
            _ => return Err(odd("claims more bytes than there are")),
        };
        total = match total.checked_add(header.length) {
            Some(total) if total <= limit => total,
            _ => {
                let what = "the unpacked bundle".to_owned();
                return Err(BundleError::TooLarge { what, limit, unit: "bytes" });
            }
        };
        let Header { deflated, crc, packed, length, .. } = header;
        entries.push(Entry { deflated, crc, packed, length, data });
        rest.used += central.len();
    }
    if rest.left > 0 || rest.used < rest.block.len() || at != end.start {
        return Err(shape("there are bytes between its files and its directory, or after its directory"));
    }
    Ok((names, entries))
}

/// The directory, read block by block.
struct Ahead {
    /// Of what is not in `block` yet.
    at: u64,
    left: u64,
    block: Vec<u8>,
    /// How many bytes of `block` are done with.
    used: usize,
}

impl Ahead {
    /// The next bytes, which stay next until they are counted as used.
    fn see<R: Read + Seek>(&mut self, source: &mut R, count: usize) -> Result<&[u8], BundleError> {
        while self.block.len() - self.used < count && self.left > 0 {
            self.block.drain(..self.used);
            self.used = 0;
            let (have, more) = (self.block.len(), self.left.min(BLOCK as u64));
            self.block.resize(have + more as usize, 0);
            read_at(source, self.at, &mut self.block[have..])?;
            self.at += more;
            self.left -= more;
        }
        self.block.get(self.used..self.used + count).ok_or_else(|| shape("its directory is cut off"))
    }
}

fn shape(what: &str) -> BundleError {
    BundleError::Shape(what.to_owned())
}

fn read_at<R: Read + Seek>(source: &mut R, at: u64, out: &mut [u8]) -> Result<(), BundleError> {
    source.seek(SeekFrom::Start(at)).map_err(BundleError::io("the bundle"))?;
    source.read_exact(out).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => shape("it is cut off"),
        _ => BundleError::io("the bundle")(e),
    })
}
