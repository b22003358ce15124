//! Where an archive is found: a directory that holds one origin, or several, or is one.

use std::{any::Any, fs, path::Path};

use anyhow::{Context as _, bail};
use signing::{
    layout::{CHECKPOINT, origin_directory},
    package::{ABOUT, Zipped},
    store::{Dir, Reader},
};

use crate::plain::safe;

/// One origin, open for reading.
pub struct Opened {
    /// Its objects.
    pub reader: Box<dyn Reader + Send>,
    /// The name below which it lies, where it was found by its name.
    pub named: Option<String>,
    /// What else lies in the archive.
    pub beside: Vec<String>,
    /// How many threads read it well; `None`: one for each core.
    pub threads: Option<usize>,
    /// What the reader needs for as long as it is read.
    pub lives_on: Option<Box<dyn Any + Send>>,
}

/// Finds the origin in a directory that is an archive, or an origin by itself.
///
/// # Errors
/// A directory that cannot be listed, and one in which it is not clear what is meant.
pub fn directory(archive: &Path, origin: Option<&str>) -> anyhow::Result<Opened> {
    let (directories, files) = listed(archive).with_context(|| format!("{} cannot be listed", archive.display()))?;
    let (reader, named, beside) = match choose(origin, directories, files)? {
        Choice::Itself => (Dir::new(archive), None, Vec::new()),
        Choice::Below(name, beside) => (Dir::new(archive.join(&name)), Some(name), beside),
    };
    Ok(Opened { reader: Box::new(reader), named, beside, threads: None, lives_on: None })
}

/// A package of one entry or of a sample: a ZIP, or a directory that it was extracted to; `None` for an archive.
///
/// # Errors
/// A file that is no package.
pub fn package(path: &Path) -> anyhow::Result<Option<Box<dyn Reader>>> {
    if path.is_file() {
        return Ok(Some(Box::new(Zipped::open(path)?)));
    }
    Ok(path.join(ABOUT).is_file().then(|| Box::new(Dir::new(path)) as _))
}

/// The names of directories and files in a directory.
fn listed(archive: &Path) -> std::io::Result<(Vec<String>, Vec<String>)> {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(archive)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() { directories.push(name) } else { files.push(name) }
    }
    Ok((directories, files))
}

/// Which of what lies there is the origin.
pub enum Choice {
    /// It is one by itself.
    Itself,
    /// This, and what lies beside it.
    Below(String, Vec<String>),
}

/// Chooses the origin among what lies on one level of an archive.
///
/// # Errors
/// No origin, several where none is named, and one that is not there.
pub fn choose(origin: Option<&str>, mut directories: Vec<String>, mut files: Vec<String>) -> anyhow::Result<Choice> {
    directories.sort();
    files.sort();
    let parts = ["tile", "seal", "bundle", "document"];
    if files.iter().any(|f| f == CHECKPOINT) || directories.iter().any(|d| parts.contains(&d.as_str())) {
        return Ok(Choice::Itself);
    }
    // Such as what an agent tried a bucket with.
    let origins: Vec<&String> = directories.iter().filter(|name| !name.starts_with('.')).collect();
    let wanted = origin.map(origin_directory);
    let name = match (&wanted, origins.as_slice()) {
        (Some(wanted), _) if directories.contains(wanted) => wanted.clone(),
        (Some(wanted), _) => bail!("it holds no origin {wanted:?}, but {}", list(&origins)),
        (None, [one]) => (*one).clone(),
        (None, []) => bail!("it holds no origin: it is not an archive, or an empty one"),
        (None, several) => bail!("it holds several origins; name one with --origin: {}", list(several)),
    };
    let beside = files.into_iter().chain(directories.into_iter().filter(|d| *d != name)).collect();
    Ok(Choice::Below(name, beside))
}

fn list(names: &[&String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| safe(&name.replace('+', "/"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    fn named(archive: &Path, origin: Option<&str>) -> Result<Option<String>, String> {
        directory(archive, origin).map(|opened| opened.named).map_err(|error| error.to_string())
    }

    #[test]
    fn an_origin_is_found_by_its_directory_or_must_be_named() {
        let root = tempfile::tempdir().unwrap();
        assert!(named(root.path(), None).unwrap_err().contains("no origin"));
        for name in ["a+b", "c", ".tried"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let several = named(root.path(), None).unwrap_err();
        assert!(several.contains("--origin") && several.contains("a/b, c"), "{several}");
        assert_eq!(named(root.path(), Some("a/b")).unwrap().as_deref(), Some("a+b"));
        assert!(named(root.path(), Some("d")).is_err());
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors/archive");
        assert_eq!(named(&vectors, None).unwrap(), None);
    }
}
