//! `signing.witnesses`: who is shown every published checkpoint.

use std::path::Path;

use serde::{Deserialize, Serialize};
use signing::log::cosignature::WitnessKey;

use crate::config::Duration;

/// The largest file that is read as a verifier key.
const MAX_KEY: usize = 4096;

/// One of `signing.witnesses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Where it takes checkpoints: `/add-checkpoint` comes after it.
    pub url: String,
    /// Its verifier key, `<name>+<id>+<base64>`, or a file that holds it.
    pub key: String,
    /// It is shown a checkpoint no more often.
    #[serde(default = "every")]
    pub every: Duration,
}

const fn every() -> Duration {
    Duration::seconds(60)
}

impl WitnessConfig {
    /// Its verifier key.
    ///
    /// # Errors
    /// A file that cannot be read, or text that is none, in words.
    pub fn witness(&self) -> Result<WitnessKey, String> {
        // No path is a verifier key by chance: its three parts belong together.
        if let Ok(witness) = WitnessKey::from_vkey(&self.key) {
            return Ok(witness);
        }
        if self.key.matches('+').count() >= 2 && !Path::new(&self.key).exists() {
            return WitnessKey::from_vkey(&self.key).map_err(|error| error.to_string());
        }
        let text = std::fs::read_to_string(&self.key).map_err(|error| format!("{}: {error}", self.key))?;
        if text.len() > MAX_KEY {
            return Err(format!("{} is no verifier key: it is too long", self.key));
        }
        WitnessKey::from_vkey(text.trim_end()).map_err(|error| format!("{}: {error}", self.key))
    }

    /// Where a checkpoint is sent.
    pub fn add_checkpoint(&self) -> String {
        format!("{}/add-checkpoint", self.url.trim_end_matches('/'))
    }

    /// What is wrong with it: a setting, and why.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let host = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace)) {
            problems.push(("url", format!("{:?} is no address: write https://… or http://…", self.url)));
        }
        if let Err(why) = self.witness() {
            problems.push(("key", why));
        }
        if self.every < Duration::seconds(1) {
            problems.push(("every", format!("{} is too short: at least 1s", self.every)));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use signing::keys::{FileKey, Signer as _};

    use super::*;

    fn config(url: &str, key: &str) -> WitnessConfig {
        WitnessConfig { url: url.into(), key: key.into(), every: every() }
    }

    #[test]
    fn a_key_is_given_as_text_or_in_a_file() {
        let witness = WitnessKey::new("witness.example/w", *FileKey::from_seed(&[1; 32]).public()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("witness.vkey");
        std::fs::write(&file, format!("{}\n", witness.vkey())).unwrap();
        for key in [witness.vkey(), file.display().to_string()] {
            let config = config("https://witness.example/w/", &key);
            assert_eq!((config.witness().unwrap(), config.problems()), (witness.clone(), Vec::new()));
            assert_eq!(config.add_checkpoint(), "https://witness.example/w/add-checkpoint");
        }
        let cut = &witness.vkey()[..40];
        for key in ["", "/nowhere/witness.vkey", cut] {
            assert_eq!(config("https://w", key).problems()[0].0, "key", "{key}");
        }
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        let key = WitnessKey::new("w", *FileKey::from_seed(&[1; 32]).public()).unwrap().vkey();
        for url in ["", "witness.example", "ftp://witness.example", "https://", "http:///x", "https://a b"] {
            assert_eq!(config(url, &key).problems()[0].0, "url", "{url}");
        }
        assert!(config("http://127.0.0.1:7380", &key).problems().is_empty());
    }
}
