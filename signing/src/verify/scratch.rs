//! A temporary file for what verification had better not hold in memory; it is made when the first bytes come, and gone with the process.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use super::findings::CannotVerify;

/// Bytes that are only added to. Where no temporary file can be made they lie in memory: about 80 bytes for each receipt of a log.
#[derive(Default)]
pub(crate) struct Scratch {
    place: Option<Place>,
    length: u64,
}

enum Place {
    File(File),
    Memory(Vec<u8>),
}

impl Scratch {
    /// Adds bytes; the place at which they begin.
    pub fn add(&mut self, bytes: &[u8]) -> Result<u64, CannotVerify> {
        let at = self.length;
        let place = self
            .place
            .get_or_insert_with(|| tempfile::tempfile().map_or_else(|_| Place::Memory(Vec::new()), Place::File));
        match place {
            Place::File(file) => {
                file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).map_err(|e| failed(&e))?;
            }
            Place::Memory(all) => all.extend_from_slice(bytes),
        }
        self.length += bytes.len() as u64;
        Ok(at)
    }

    /// Fills `bytes` with those from a place on, which were added.
    pub fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), CannotVerify> {
        let read = match &mut self.place {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Place::File(file)) => file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)),
            Some(Place::Memory(all)) => {
                let from = usize::try_from(at).unwrap_or(usize::MAX);
                all.get(from..).unwrap_or_default().read_exact(bytes)
            }
        };
        read.map_err(|e| failed(&e))
    }
}

fn failed(error: &io::Error) -> CannotVerify {
    CannotVerify::new("a temporary file", format!("what a long log names cannot be kept there: {error}; set TMPDIR"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_added_is_read_again_from_a_file_and_from_memory() {
        for place in [None, Some(Place::Memory(Vec::new()))] {
            let mut scratch = Scratch { place, length: 0 };
            assert_eq!(scratch.add(b"one").unwrap(), 0);
            assert_eq!(scratch.add(b"three").unwrap(), 3);
            let mut read = [0; 4];
            scratch.read(1, &mut read).unwrap();
            assert_eq!(&read, b"neth");
            assert!(scratch.read(5, &mut read).is_err());
            assert_eq!(scratch.add(b"!").unwrap(), 8);
            scratch.read(5, &mut read).unwrap();
            assert_eq!(&read, b"ree!");
        }
    }
}
