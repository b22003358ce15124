//! Writing a bundle: the same files give the same bytes.

use std::{
    fs,
    io::{Read, Seek, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};
use zip::{CompressionMethod, DateTime, System, ZipWriter, write::SimpleFileOptions};

use super::{BundleError, MAX_BYTES, MAX_FILES, SUMS, UNIX_MODE, name};
use crate::digest::Digest;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The digest of `SHA256SUMS`: a receipt's second subject.
    pub sums: Digest,
    /// Files, `SHA256SUMS` not counted.
    pub files: u64,
}

/// Writes the files of `dir` as a bundle: `SHA256SUMS`, which is made here, and then every file, sorted by name. Files are streamed.
///
/// # Errors
/// A file named `SHA256SUMS`, something that is no plain file, a name that a bundle cannot hold, too much of anything, a file that
/// changes meanwhile, and the disk's failures. `out` then holds nothing of use.
pub fn write<W: Write + Seek>(dir: &Path, out: &mut W) -> Result<Written, BundleError> {
    let mut names = Vec::new();
    walk(dir, "", &mut names)?;
    names.sort();
    let mut seen = name::Seen::default();
    seen.add(SUMS)?;
    for name in &names {
        name::check(name)?;
        seen.add(name)?;
    }
    if names.len() >= MAX_FILES {
        return Err(BundleError::TooLarge { what: "the bundle".to_owned(), limit: MAX_FILES as u64, unit: "files" });
    }
    let mut sums = String::new();
    let mut digests = Vec::with_capacity(names.len());
    for name in &names {
        let (digest, length) = Digest::read(&mut open(dir, name)?).map_err(BundleError::io(name))?;
        if length > MAX_BYTES {
            return Err(BundleError::TooLarge { what: name.clone(), limit: MAX_BYTES, unit: "bytes" });
        }
        sums.push_str(&format!("{digest}  {name}\n"));
        digests.push(digest);
    }
    let mut zip = ZipWriter::new(out);
    copy(&mut zip, SUMS, &mut sums.as_bytes())?;
    for (name, digest) in names.iter().zip(digests) {
        if copy(&mut zip, name, &mut open(dir, name)?)? != digest {
            return Err(BundleError::Changed(name.clone()));
        }
    }
    let out = zip.finish().map_err(|source| BundleError::Zip { name: "the directory of files".to_owned(), source })?;
    if out.stream_position().map_err(BundleError::io("the bundle"))? > MAX_BYTES {
        return Err(BundleError::TooLarge { what: "the bundle".to_owned(), limit: MAX_BYTES, unit: "bytes" });
    }
    Ok(Written { sums: Digest::of(sums.as_bytes()), files: names.len() as u64 })
}

/// Adds one file, and gives the digest of what was added.
fn copy<W: Write + Seek>(zip: &mut ZipWriter<W>, name: &str, from: &mut dyn Read) -> Result<Digest, BundleError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(6))
        .last_modified_time(DateTime::default())
        .system(System::Unix)
        .unix_permissions(UNIX_MODE & 0o777);
    zip.start_file(name, options).map_err(|source| BundleError::Zip { name: name.to_owned(), source })?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let n = match from.read(&mut block) {
            Ok(0) => return Ok(Digest(hasher.finalize().into())),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(BundleError::Io { what: name.to_owned(), source }),
        };
        hasher.update(&block[..n]);
        zip.write_all(&block[..n]).map_err(BundleError::io(name))?;
    }
}

fn open(dir: &Path, name: &str) -> Result<fs::File, BundleError> {
    fs::File::open(dir.join(name)).map_err(BundleError::io(name))
}

fn walk(dir: &Path, below: &str, names: &mut Vec<String>) -> Result<(), BundleError> {
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
            names.push(name);
        } else {
            return Err(BundleError::NoFile(name));
        }
    }
    Ok(())
}
