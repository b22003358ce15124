//! How an archive is read: by name, in a stream, and by listing. Nothing here writes.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

/// One origin's objects, by their name below `<origin>/` (`checkpoint`, `tile/0/000`, `bundle/2026/…`).
///
/// "Not there" is `Ok(None)`, and only that: a refused or failed read is an error, never an absence.
pub trait Reader: Sync {
    /// Opens an object for reading from its start.
    ///
    /// # Errors
    /// Any failure but "there is no such object".
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>>;

    /// Names every object below `prefix` (`""` for all), in no particular order.
    ///
    /// # Errors
    /// Any failure to list; what was named before it is not the whole.
    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()>;

    /// Reads a whole object of at most `limit` bytes; a longer one is an error of kind `FileTooLarge`.
    ///
    /// # Errors
    /// As [`Reader::open`], and the limit.
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut reader) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(ErrorKind::FileTooLarge, format!("{name} is longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Names every object that a later version or a delete marker covers, and says by what. What is read under its name is the original.
    fn covered(&self, _each: &mut dyn FnMut(&str, &str)) {}

    /// How the objects that were read so far are held in place.
    fn hold(&self) -> Hold {
        Hold::Nothing
    }
}

/// How firmly a store holds objects in place against whoever may write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// Not at all, or it is not known.
    Nothing,
    /// Some objects, or with exceptions: which, in words.
    Weak(String),
    /// All that was read: how and until when, in words.
    Firm(String),
}

/// One origin in a directory.
#[derive(Debug, Clone)]
pub struct Dir(PathBuf);

impl Dir {
    /// The origin whose objects lie below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where the objects lie.
    pub fn root(&self) -> &Path {
        &self.0
    }
}

impl Reader for Dir {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        let path = self.0.join(name);
        match std::fs::metadata(&path) {
            // A pipe or a device would hang the reader, or never end.
            Ok(found) if !found.is_file() => return Err(io::Error::other("it is no plain file")),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
        match File::open(path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        // Directories are walked one at a time; what is held is one directory's names and the way down to it.
        let mut pending = vec![prefix.trim_end_matches('/').to_owned()];
        while let Some(below) = pending.pop() {
            let entries = match std::fs::read_dir(self.0.join(&below)) {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                let file = entry.file_name();
                let file = file.to_string_lossy();
                let name = if below.is_empty() { file.into_owned() } else { format!("{below}/{file}") };
                if entry.file_type()?.is_dir() { pending.push(name) } else { each(&name) }
            }
        }
        Ok(())
    }
}
