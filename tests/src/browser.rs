//! Pages opened in headless Chromium, as a person opens them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    program::text,
    tools::{self, skipped, which},
};

/// A page in a browser, with what is done there. Its default is to look at it.
#[derive(Debug, Clone)]
pub struct Visit(Value);

impl Visit {
    /// To this file.
    pub fn to(page: &Path) -> Self {
        Self(json!({ "page": page }))
    }

    /// With a member of `tests/tools/browser/drive.mjs`' runs.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0[member] = value.into();
        self
    }

    /// Gives files to the section that verifies, under this fingerprint.
    #[must_use]
    pub fn verify(self, files: &[PathBuf], trust: &str) -> Self {
        let files: Vec<&str> = files.iter().map(|file| file.to_str().expect("paths of tests are UTF-8")).collect();
        self.with("files", files).with("trust", trust)
    }
}

/// What happened at each visit; `None`, with the reason printed, where there is no Chromium.
pub fn visit(visits: &[Visit]) -> Option<Vec<Value>> {
    let Some(chromium) = which("chromium").or_else(|| which("chromium-browser")) else {
        skipped("Chromium is not installed: Debian's package is chromium");
        return None;
    };
    let home = tools::browser();
    let scratch = tempfile::tempdir().expect("a scratch directory can be made");
    let given = scratch.path().join("visits.json");
    let visits: Vec<&Value> = visits.iter().map(|visit| &visit.0).collect();
    fs::write(&given, serde_json::to_vec(&visits).expect("values are JSON")).expect("a file can be written");
    let output = Command::new(home.join("bin/node"))
        .arg(tools::scripts().join("browser/drive.mjs"))
        .args([home, chromium.as_path(), given.as_path()])
        .env("HOME", scratch.path())
        .output()
        .expect("node starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("the driver prints JSON"))
}
