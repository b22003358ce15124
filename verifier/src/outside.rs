//! Whom an auditor believes beside the owner: time stamping authorities, by their roots, and witnesses, by their keys.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail, ensure};
use signing::{log::cosignature::WitnessKey, timestamp::Roots, verify::Witnesses};

/// Who vouches from outside.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Outside {
    /// Certificates (PEM) of the time stamping authorities that you believe, instead of the well-known public ones
    #[arg(long, value_name = "FILE")]
    tsa_roots: Vec<PathBuf>,
    /// A witness that you rely on: its verifier key, or a file with one on each line
    #[arg(long, value_name = "VKEY|FILE")]
    witness: Vec<String>,
    /// How many of these witnesses must have signed the log; without it, all
    #[arg(long, value_name = "N", requires = "witness")]
    witnesses: Option<usize>,
}

impl Outside {
    /// The roots of the authorities.
    ///
    /// # Errors
    /// Files that cannot be read, or hold no certificates.
    pub fn roots(&self) -> anyhow::Result<Roots> {
        if self.tsa_roots.is_empty() {
            return Ok(Roots::public());
        }
        let mut roots = Roots::default();
        for path in &self.tsa_roots {
            let pem = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            roots.add(Roots::from_pem(&pem).with_context(|| format!("{} cannot be used", path.display()))?);
        }
        Ok(roots)
    }

    /// The witnesses, and how many of them are needed.
    ///
    /// # Errors
    /// Keys that are none, files that cannot be read, more witnesses needed than given.
    pub fn witnesses(&self) -> anyhow::Result<Witnesses> {
        let mut keys: Vec<WitnessKey> = Vec::new();
        for given in &self.witness {
            let text = match given.contains('+') {
                true => given.clone(),
                false => fs::read_to_string(given)
                    .with_context(|| format!("--witness {given:?} is no verifier key, and no file that can be read"))?,
            };
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let key = WitnessKey::from_vkey(line).with_context(|| format!("--witness: {line:?}"))?;
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            ensure!(!keys.is_empty(), "--witness {given:?} names no witness");
        }
        if let Some(needed) = self.witnesses.filter(|needed| *needed == 0 || *needed > keys.len()) {
            bail!("--witnesses {needed}: {} witnesses are given", keys.len());
        }
        Ok(Witnesses { keys, needed: self.witnesses })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use signing::keys::{FileKey, Signer as _};

    use super::*;

    fn vkey(name: &str, seed: u8) -> String {
        WitnessKey::new(name, *FileKey::from_seed(&[seed; 32]).public()).unwrap().vkey()
    }

    #[test]
    fn witnesses_are_given_by_key_or_in_a_file_and_no_more_are_needed_than_given() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("witnesses");
        fs::write(&file, format!("# ours\n{}\n\n{}\n", vkey("a.example", 1), vkey("b.example", 2))).unwrap();
        let given = |witness: Vec<String>, witnesses| Outside { witness, witnesses, ..Outside::default() }.witnesses();
        let found = given(vec![file.display().to_string(), vkey("a.example", 1)], Some(2)).unwrap();
        assert_eq!((found.keys.len(), found.needed), (2, Some(2)));
        for wrong in [Some(0), Some(3)] {
            assert!(given(vec![file.display().to_string()], wrong).is_err());
        }
        assert!(given(vec!["no+key".to_owned()], None).is_err());
        assert!(given(vec![dir.path().join("absent").display().to_string()], None).is_err());
        fs::write(&file, "# nobody\n").unwrap();
        assert!(given(vec![file.display().to_string()], None).is_err());
    }

    #[test]
    fn a_file_without_certificates_is_no_set_of_roots() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("roots.pem");
        fs::write(&file, "nothing").unwrap();
        assert!(Outside { tsa_roots: vec![file], ..Outside::default() }.roots().is_err());
        assert!(!Outside::default().roots().unwrap().roots().is_empty());
    }
}
