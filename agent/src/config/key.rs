//! `signing.receipts` and its like: where a private key is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::keystore::{KmsConfig, Pkcs11Config, Place};

/// A private key: one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// A PKCS#8 PEM file of mode 0600. Keys that followed it lie beside it: `receipts.2.pem` beside `receipts.pem`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A key in AWS KMS.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "KmsConfig::written")]
    pub kms: Option<KmsConfig>,
    /// A key in a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs11: Option<Pkcs11Config>,
}

impl KeyConfig {
    /// A key in a file.
    pub fn file(path: PathBuf) -> Self {
        Self { file: Some(path), kms: None, pkcs11: None }
    }

    /// Where it is; of what is not valid, a file without a name.
    pub fn place(&self) -> Place {
        match (&self.kms, &self.pkcs11) {
            (Some(key), _) => Place::Kms(Box::new(key.clone())),
            (None, Some(token)) => Place::Pkcs11(Box::new(token.clone())),
            (None, None) => Place::File(self.file.clone().unwrap_or_default()),
        }
    }

    /// What the types alone do not refuse: each problem with the key that it is at, from here on.
    pub fn problems(&self) -> Vec<(String, String)> {
        let written = [self.file.is_some(), self.kms.is_some(), self.pkcs11.is_some()];
        let mut problems = Vec::new();
        if written.iter().filter(|written| **written).count() != 1 {
            problems.push((String::new(), "a key is in one place: write one of `file`, `kms` and `pkcs11`".to_owned()));
        }
        if self.file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            problems.push((".file".to_owned(), "the path is empty".to_owned()));
        }
        let kms = self.kms.iter().flat_map(KmsConfig::problems).map(|(key, text)| (format!(".kms.{key}"), text));
        let token = self.pkcs11.iter().flat_map(Pkcs11Config::problems);
        problems.extend(kms.chain(token.map(|(key, text)| (format!(".pkcs11.{key}"), text))));
        problems
    }
}
