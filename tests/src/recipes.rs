//! The recipes of the documents: blocks that begin with ```` ```sh recipe ````, followed as they stand.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    program::{text, workspace},
    tools,
};

/// Every recipe of a document in `docs/`, by its name, in the order of the page. FORMAT.md's one recipe has the name "".
pub fn recipes(document: &str) -> Vec<(String, String)> {
    let page = fs::read_to_string(workspace().join("docs").join(document)).expect("the document reads");
    let blocks = page.split("```sh recipe").skip(1).map(|rest| {
        let (name, rest) = rest.split_once('\n').expect("a block has a first line");
        let (body, _) = rest.split_once("\n```").expect("a block ends");
        (name.trim().to_owned(), body.to_owned())
    });
    blocks.collect()
}

/// The recipe of that name.
pub fn recipe(document: &str, name: &str) -> String {
    let found = recipes(document).into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("docs/{document} has no recipe {name:?}")).1
}

/// Somebody who follows recipes in a directory of their own, with nothing of ours but the documents and the scripts that they name.
pub struct Auditor {
    directory: PathBuf,
    variables: BTreeMap<&'static str, PathBuf>,
    path: std::ffi::OsString,
}

impl Auditor {
    /// In an empty directory below `within`, to look at the origin's directory `archive` under the root key `trust`.
    pub fn new(within: &Path, archive: &Path, trust: &str) -> Self {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        for (program, package) in [("jq", "jq"), ("openssl", "openssl"), ("unzip", "unzip")] {
            if let Some(found) = tools::debian(program, package) {
                let more = [found.parent().expect("a program lies in a directory").to_owned()];
                path = std::env::join_paths(std::env::split_paths(&path).chain(more)).expect("PATH joins");
            }
        }
        let directory = tempfile::tempdir_in(within).expect("a scratch directory can be made").keep();
        let variables = [("ARCHIVE", archive.to_owned()), ("TRUST", trust.into()), ("TOOLS", tools::scripts())];
        Self { directory, variables: variables.into(), path }
    }

    /// Sets a variable that recipes name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<PathBuf>) -> Self {
        self.variables.insert(name, value.into());
        self
    }

    /// Finds programs in `directory` too.
    #[must_use]
    pub fn with_path(mut self, directory: &Path) -> Self {
        let more = [directory.to_owned()];
        self.path = std::env::join_paths(std::env::split_paths(&self.path).chain(more)).expect("PATH joins");
        self
    }

    /// Where the recipes leave their files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Follows one recipe, as a shell does that stops at the first failure.
    pub fn follow(&self, document: &str, name: &str) -> Output {
        Command::new("sh")
            .arg("-euc")
            .arg(recipe(document, name))
            .current_dir(&self.directory)
            .env("PATH", &self.path)
            .envs(&self.variables)
            .output()
            .expect("sh starts")
    }

    /// Follows it, and expects that it accepts: what it printed.
    pub fn accepts(&self, document: &str, name: &str) -> String {
        let output = self.follow(document, name);
        assert!(output.status.success(), "{document} {name}: {}", said(&output));
        text(&output.stdout)
    }

    /// Follows it, and expects that it refuses for the reason that it prints.
    pub fn refuses(&self, document: &str, name: &str, because: &str) {
        let output = self.follow(document, name);
        assert!(!output.status.success(), "{document} {name} accepted: {}", said(&output));
        assert!(said(&output).contains(because), "{document} {name} refused for another reason: {}", said(&output));
    }
}

/// Both outputs.
pub fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
