//! Where a key is, and how it is opened there.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use signing::keys::{KeySet, Signer, Use};

use super::{KeystoreError, read_key};

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a PKCS#8 PEM file of mode 0600, or in one that followed it and lies beside it.
    File(PathBuf),
}

/// A key that was found, and where.
pub(super) type Found = (String, Arc<dyn Signer>);

impl Place {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
        }
    }

    /// The same place, but for a file: that is in a directory under this name.
    #[must_use]
    pub fn in_dir(&self, dir: &Path, name: &str) -> Self {
        match self {
            Self::File(_) => Self::File(dir.join(name)),
        }
    }

    /// Every key of the place: of a file, all of its family, the newest first.
    pub(super) fn open(&self, _set: &KeySet, _use: Use) -> Result<Vec<Found>, KeystoreError> {
        match self {
            Self::File(path) => {
                let mut found: Vec<Found> = Vec::new();
                for path in family(path)?.into_iter().rev() {
                    found.push((path.display().to_string(), Arc::new(read_key(&path)?)));
                }
                Ok(found)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The file of the key that a revision brings: `receipts.2.pem` beside `receipts.pem`.
pub(super) fn successor(path: &Path, revision: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}.{revision}{extension}"))
}

/// The file and those that followed it, as far as they are there, the oldest first.
pub(super) fn family(path: &Path) -> Result<Vec<PathBuf>, KeystoreError> {
    let failed = |source| KeystoreError::Io { action: "look for", path: path.to_owned(), source };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    let listed = match fs::read_dir(parent) {
        Ok(listed) => listed,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let stem = format!("{}.", path.file_stem().unwrap_or_default().to_string_lossy());
    for entry in listed {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&stem)).map(|rest| rest.split('.').next());
        let revision: Option<u64> = number.flatten().and_then(|number| number.parse().ok());
        if path.file_name() == Some(&name) {
            found.push((0, path.to_owned()));
        } else if let Some(revision) = revision
            && successor(path, revision).file_name() == Some(&name)
        {
            found.push((revision, successor(path, revision)));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
