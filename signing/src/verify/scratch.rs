//! A temporary file for what verification cannot hold in memory; it is made when the first bytes come, and gone with the process.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use super::findings::CannotVerify;

/// Bytes that are only added to.
#[derive(Default)]
pub(crate) struct Scratch {
    file: Option<File>,
    length: u64,
}

impl Scratch {
    /// Adds bytes; the place at which they begin.
    pub fn add(&mut self, bytes: &[u8]) -> Result<u64, CannotVerify> {
        let at = self.length;
        self.write(bytes).map_err(|e| failed(&e))?;
        self.length += bytes.len() as u64;
        Ok(at)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        file.seek(SeekFrom::Start(self.length))?;
        file.write_all(bytes)?;
        self.file = Some(file);
        Ok(())
    }

    /// Fills `bytes` with those from a place on, which were added.
    pub fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), CannotVerify> {
        let Some(file) = &mut self.file else { return Err(failed(&io::ErrorKind::UnexpectedEof.into())) };
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes)).map_err(|e| failed(&e))
    }
}

fn failed(error: &io::Error) -> CannotVerify {
    CannotVerify::new("a temporary file", format!("no room for what a long log names: {error}; set TMPDIR"))
}
