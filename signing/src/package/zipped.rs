//! A package in one file: a ZIP in the strict form of bundles, read as an archive is.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use tempfile::SpooledTempFile;

use crate::{
    bundle::{Bundle, BundleError, MAX_UNPACKED},
    store::Reader,
};

/// Objects up to this size are held in memory, larger ones in a temporary file.
const IN_MEMORY: usize = 8 * 1024 * 1024;

/// The files of a ZIP by name.
#[derive(Debug, Clone)]
pub struct Zipped {
    path: PathBuf,
    names: Vec<String>,
}

impl Zipped {
    /// Opens a ZIP, reads all of it, and checks it against its `SHA256SUMS`.
    ///
    /// # Errors
    /// Any other form than that of a bundle, files that are not as listed, and failures to read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, BundleError> {
        let path = path.into();
        let file = File::open(&path).map_err(BundleError::io("the file"))?;
        let mut zip = Bundle::open(file, MAX_UNPACKED)?;
        let contents = zip.contents()?;
        zip.check_listed(&contents)?;
        let names = zip.names().map(str::to_owned).collect();
        Ok(Self { path, names })
    }
}

impl Reader for Zipped {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        if !self.names.iter().any(|known| known == name) {
            return Ok(None);
        }
        // Each object is read once or twice, and there are few: the list of files is read again for each.
        let mut zip = Bundle::open(File::open(&self.path)?, MAX_UNPACKED).map_err(io::Error::other)?;
        let mut copy = SpooledTempFile::new(IN_MEMORY);
        io::copy(&mut zip.stream(name).map_err(io::Error::other)?, &mut copy)?;
        copy.seek(SeekFrom::Start(0))?;
        Ok(Some(Box::new(copy)))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.names.iter().filter(|name| name.starts_with(prefix)).for_each(|name| each(name));
        Ok(())
    }
}
