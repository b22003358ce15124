//! Which names a bundle may hold: those that mean the same file on every system.

use std::collections::BTreeSet;

use super::BundleError;

/// The longest name, in bytes.
const MAX_NAME: usize = 200;

/// Refuses names that are absolute, lead upwards, or are spelled differently somewhere.
pub(super) fn check(name: &str) -> Result<(), BundleError> {
    match fault(name) {
        None => Ok(()),
        Some(why) => Err(BundleError::Name { name: name.chars().take(MAX_NAME).collect(), why }),
    }
}

fn fault(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        return Some("it is longer than 200 bytes");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+@=,/".contains(&b)) {
        return Some("it has characters other than letters, digits and - _ . + @ = , /");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Some("it has an empty part");
        }
        if part.starts_with('.') || part.ends_with('.') {
            return Some("a part of it starts or ends with a dot");
        }
        if is_device(part) {
            return Some("Windows takes a part of it for a device");
        }
    }
    None
}

fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered =
        |s: &str| s.len() == 4 && (s.starts_with("com") || s.starts_with("lpt")) && s.as_bytes()[3].is_ascii_digit();
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered(&stem)
}

/// Names seen so far: none may come twice, in whatever case, nor be a directory of another.
#[derive(Default)]
pub(super) struct Seen {
    files: BTreeSet<String>,
    directories: BTreeSet<String>,
}

impl Seen {
    /// Adds a checked name.
    pub fn add(&mut self, name: &str) -> Result<(), BundleError> {
        let folded = name.to_ascii_lowercase();
        let refuse = |why| Err(BundleError::Name { name: name.to_owned(), why });
        for (slash, _) in folded.match_indices('/') {
            if self.files.contains(&folded[..slash]) {
                return refuse("a part of it is a file already");
            }
            self.directories.insert(folded[..slash].to_owned());
        }
        if self.directories.contains(&folded) {
            return refuse("it is a directory already");
        }
        if !self.files.insert(folded) {
            return refuse("it comes twice, at least on systems that do not tell upper from lower case");
        }
        Ok(())
    }
}
