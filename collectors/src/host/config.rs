//! The settings of a host source. They never hold a secret: secrets are files, named here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// A `host` source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Where the host's root file system is: `/` for the machine that the agent runs on; in a container, where it is mounted read-only.
    pub root: PathBuf,
    /// The restic repositories that hold this host's backups.
    pub restic: Vec<ResticRepository>,
}

/// A restic repository to read the state of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResticRepository {
    /// A name for records and reports.
    pub name: String,
    /// As restic's `--repo` takes it, without credentials.
    pub repository: String,
    /// A file with the repository's password.
    pub password_file: PathBuf,
    /// More of restic's environment variables; none that is secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Environment variables whose values are in files.
    #[serde(default)]
    pub env_files: BTreeMap<String, PathBuf>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { root: "/".into(), restic: Vec::new() }
    }
}

impl HostConfig {
    /// What the types alone do not refuse: each problem with the key that it is at.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        if !self.root.is_absolute() {
            problems.push(("root".into(), "must be an absolute path".into()));
        }
        for (index, repository) in self.restic.iter().enumerate() {
            let mut say = |key: &str, text: String| problems.push((format!("restic[{index}].{key}"), text));
            if repository.name.is_empty() || !names.insert(&repository.name) {
                say("name", "must be there, and only once".into());
            }
            if !repository.password_file.is_absolute() {
                say("password_file", "must be an absolute path".into());
            }
            if holds_password(&repository.repository) {
                say("repository", "holds a password; put credentials into a file and name it in env_files".into());
            }
            for name in repository.env.keys().filter(|name| sounds_secret(name)) {
                say(&format!("env.{name}"), "sounds secret; put its value into a file and name it in env_files".into());
            }
        }
        problems
    }
}

/// `scheme://user:password@host`.
fn holds_password(repository: &str) -> bool {
    let authority = repository.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let files = ["_FILE", "_ID", "_COMMAND", "_PATH"];
    ["PASSWORD", "SECRET", "TOKEN", "KEY"].iter().any(|word| name.contains(word))
        && !files.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_configured_is_this_machine() {
        let config: HostConfig = serde_json::from_value(json!({})).unwrap();
        assert_eq!(config, HostConfig::default());
        assert_eq!(config.problems(), []);
    }

    #[test]
    fn unknown_keys_are_refused() {
        for wrong in [json!({"rooot": "/"}), json!({"restic": [{"name": "a", "repository": "b", "password": "c"}]})] {
            serde_json::from_value::<HostConfig>(wrong).unwrap_err();
        }
    }

    #[test]
    fn secrets_in_the_configuration_are_problems_at_their_keys() {
        let config: HostConfig = serde_json::from_value(json!({"root": "host", "restic": [
            {"name": "a", "repository": "rest:https://u:p@h/r", "password_file": "/p", "env": {"AWS_SECRET_ACCESS_KEY": "x"}},
            {"name": "a", "repository": "rest:https://u@h/r", "password_file": "p", "env": {"AWS_ACCESS_KEY_ID": "x"}},
        ]}))
        .unwrap();
        let keys: Vec<String> = config.problems().into_iter().map(|(key, _)| key).collect();
        let expected = [
            "root",
            "restic[0].repository",
            "restic[0].env.AWS_SECRET_ACCESS_KEY",
            "restic[1].name",
            "restic[1].password_file",
        ];
        assert_eq!(keys, expected);
    }
}
