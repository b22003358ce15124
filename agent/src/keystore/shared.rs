//! The keys in use, which change while the agent runs.

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use super::{Keys, KeystoreError, Paths, open};

/// The keys as they are now. A clone is another handle.
#[derive(Clone)]
pub struct SharedKeys {
    now: Arc<RwLock<Arc<Keys>>>,
    paths: Option<Arc<Paths>>,
}

impl SharedKeys {
    /// Keys that are looked for again in these places.
    pub fn of(keys: Keys, paths: Paths) -> Self {
        Self { paths: Some(Arc::new(paths)), ..Self::from(keys) }
    }

    /// The keys in use.
    pub fn now(&self) -> Arc<Keys> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `keys.json`, where it is a file that can change.
    pub fn path(&self) -> Option<&Path> {
        self.paths.as_deref().map(|paths| &*paths.keys)
    }

    /// Opens the keys again, where `keys.json` is another than the one in use.
    ///
    /// # Errors
    /// As [`open`]: the keys in use stay.
    pub fn look(&self) -> Result<Option<Keys>, KeystoreError> {
        let Some(paths) = self.paths.as_deref() else { return Ok(None) };
        // One that cannot be read is the next start's to complain of: what it said holds.
        match std::fs::read(&paths.keys) {
            Ok(bytes) if bytes != self.now().document => open(paths).map(Some),
            _ => Ok(None),
        }
    }

    /// Puts other keys in use.
    pub fn change(&self, keys: Keys) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

impl From<Keys> for SharedKeys {
    fn from(keys: Keys) -> Self {
        Self { now: Arc::new(RwLock::new(Arc::new(keys))), paths: None }
    }
}

impl fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}
