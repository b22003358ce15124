//! Where a key is, and how it is opened there.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use signing::keys::{KeySet, PublicKey, Signer, Use};

use super::{
    KeystoreError,
    kms::{KmsConfig, KmsKey},
    pkcs11::{Pkcs11Config, Token},
    read_key,
    service::{Service, ServiceError, ServiceKey},
};

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a PKCS#8 PEM file of mode 0600, or in one that followed it and lies beside it.
    File(PathBuf),
    /// In AWS KMS.
    Kms(Box<KmsConfig>),
    /// In a token.
    Pkcs11(Box<Pkcs11Config>),
}

/// Signed to see whether a key can: neither a DSSE envelope's bytes nor a note's.
const TRIAL: &[u8] = b"evidenced asks whether this key signs";

/// A key that was found, and where.
pub(super) type Found = (String, Arc<dyn Signer>);

impl Place {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Kms(_) | Self::Pkcs11(_) => None,
        }
    }

    /// The same place, but for a file: that is in a directory under this name.
    #[must_use]
    pub fn in_dir(&self, dir: &Path, name: &str) -> Self {
        match self {
            Self::File(_) => Self::File(dir.join(name)),
            service => service.clone(),
        }
    }

    /// Every key of the place: of a file, all of its family, the newest first.
    pub(super) fn open(&self, set: &KeySet, use_: Use) -> Result<Vec<Found>, KeystoreError> {
        match self {
            Self::File(path) => {
                let mut found: Vec<Found> = Vec::new();
                for path in family(path)?.into_iter().rev() {
                    found.push((path.display().to_string(), Arc::new(read_key(&path)?)));
                }
                Ok(found)
            }
            service => {
                let Some(asked) = service.service() else { return Ok(Vec::new()) };
                // A key that cannot sign is told from one that can before anything waits for it.
                let tried = asked.public().and_then(|public| asked.sign(TRIAL).map(|_| public));
                let public = match (tried, set.in_use(use_)) {
                    (Ok(public), _) => public,
                    // What it signs later is checked against that key.
                    (Err(ServiceError::Away(why)), Some(entry)) => {
                        tracing::error!(
                            "{service} does not answer; what is collected waits for it in the spool: {why}"
                        );
                        entry.spki
                    }
                    (Err(error), _) => return Err(service.refused(error)),
                };
                Ok(vec![(service.to_string(), Arc::new(ServiceKey::new(public, asked)))])
            }
        }
    }
}

impl Place {
    /// The public half of its key, of a service that must answer.
    pub(super) fn ask_public(&self) -> Result<PublicKey, KeystoreError> {
        match self {
            Self::File(path) => read_key(path).map(|key| *key.public()),
            Self::Kms(config) => KmsKey::new((**config).clone()).public().map_err(|error| self.refused(error)),
            Self::Pkcs11(config) => Token::new((**config).clone()).public().map_err(|error| self.refused(error)),
        }
    }

    /// The key service; none: it is a file.
    fn service(&self) -> Option<Box<dyn Service>> {
        match self {
            Self::File(_) => None,
            Self::Kms(config) => Some(Box::new(KmsKey::new((**config).clone()))),
            Self::Pkcs11(config) => Some(Box::new(Token::new((**config).clone()))),
        }
    }

    fn refused(&self, error: ServiceError) -> KeystoreError {
        KeystoreError::Service { place: self.to_string(), source: Box::new(error) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Kms(config) => write!(f, "kms key {}", config.key),
            Self::Pkcs11(config) => f.write_str(&config.name()),
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
