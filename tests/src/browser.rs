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

// The steps of the page, by number.
/// What the files are.
pub const FILES: usize = 0;
/// The keys under the root.
pub const KEYS: usize = 1;
/// The seal's signature.
pub const SEAL: usize = 2;
/// What the seal signs.
pub const STATEMENT: usize = 3;
/// The bundle or document.
pub const SUBJECT: usize = 4;
/// The inclusion proof.
pub const PLACE: usize = 5;
/// Who signed the checkpoint.
pub const CHECKPOINT: usize = 6;

/// The page that verifies, by itself.
pub fn page(scratch: &Path) -> PathBuf {
    let page = scratch.join("verify.html");
    fs::write(&page, report::html::VERIFY_PAGE.as_bytes()).expect("a file can be written");
    page
}

/// That it said nothing, and asked for nothing.
pub fn quiet(name: &str, told: &Value) {
    for silent in ["said", "requests"] {
        assert!(told[silent].as_array().expect("the driver tells it").is_empty(), "{name}: {silent}: {}", told[silent]);
    }
}

/// That the verdict is this, that it is said at this step, and that no later step passes.
pub fn judged(name: &str, told: &Value, verdict: &str, step: usize, word: &str) {
    quiet(name, told);
    assert_eq!(told["verdict"], verdict, "{name}: {told}");
    let steps = told["steps"].as_array().expect("the driver tells it");
    let last = if verdict == "verified" { "ok" } else { verdict };
    let step = if word == "other.zip" { steps.len() - 1 } else { step };
    assert_eq!(steps[step]["state"], last, "{name}: {told}");
    assert!(steps[step]["text"].as_str().expect("the driver tells it").contains(word), "{name}: {told}");
    for (n, one) in steps.iter().enumerate() {
        let wanted = match n.cmp(&step) {
            std::cmp::Ordering::Less => "ok",
            std::cmp::Ordering::Equal => last,
            std::cmp::Ordering::Greater => "not reached",
        };
        assert_eq!(one["state"], wanted, "{name}, step {n}: {told}");
    }
    assert_eq!(told["again"], false, "{name}: the verdict stays when the fingerprint is another");
}
