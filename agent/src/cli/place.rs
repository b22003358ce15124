//! Where an archive is read: a directory, or a bucket by its address.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use signing::{
    layout::{CHECKPOINT, origin_directory},
    store::{Dir, Reader},
};
use tokio::runtime::Runtime;

use super::plain::safe;
use crate::archive::s3::{AskAt, Store, VersionedReader};

/// Threads that read a bucket: each waits for the network most of its time.
const THREADS: usize = 32;

/// Which archive, and how a bucket is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Asked {
    /// Which log of the archive, where it holds several
    #[arg(long)]
    pub origin: Option<String>,
    /// The bucket's region; without it, as the AWS SDKs find it
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Where an S3-compatible store is asked; without it, AWS_ENDPOINT_URL_S3, else AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Certificates (PEM) that are trusted instead of the public ones, for the bucket
    #[arg(long, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
}

/// One origin, open for reading.
pub(crate) struct Opened {
    /// Its objects.
    pub reader: Box<dyn Reader + Send>,
    /// The name below which it lies, where it was found by its name.
    pub named: Option<String>,
    /// What else lies in the archive.
    pub beside: Vec<String>,
    /// How many threads read it well; `None`: one for each core.
    pub threads: Option<usize>,
    /// What the reader's connections live on.
    _runtime: Option<Runtime>,
}

/// Whether it is a bucket's address.
pub(crate) fn is_address(archive: &Path) -> bool {
    archive.as_os_str().as_encoded_bytes().starts_with(b"s3://")
}

impl Asked {
    /// Finds the origin in what is an archive, or an origin by itself.
    pub fn open(&self, archive: &Path) -> anyhow::Result<Opened> {
        if is_address(archive) {
            let address = archive.to_str().ok_or_else(|| anyhow!("the address is not UTF-8"))?;
            return self.bucket(address);
        }
        let (directories, files) =
            listed(archive).with_context(|| format!("{} cannot be listed", archive.display()))?;
        let (reader, named, beside) = match choose(self.origin.as_deref(), directories, files)? {
            Choice::Itself => (Dir::new(archive), None, Vec::new()),
            Choice::Below(name, beside) => (Dir::new(archive.join(&name)), Some(name), beside),
        };
        Ok(Opened { reader: Box::new(reader), named, beside, threads: None, _runtime: None })
    }

    fn bucket(&self, address: &str) -> anyhow::Result<Opened> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ask = AskAt {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            ca_bundle: self.ca_bundle.clone(),
            own: None,
        };
        let opened = runtime.block_on(async {
            let store = Store::at(address, &ask).await.map_err(|why| anyhow!(why))?;
            let (directories, files) = store.level().await.map_err(|failure| anyhow!("{failure}"))?;
            let (store, named, beside) = match choose(self.origin.as_deref(), directories, files)? {
                Choice::Itself => (store, None, Vec::new()),
                Choice::Below(name, beside) => (store.below(&name), Some(name), beside),
            };
            let reader = VersionedReader::open(store).await.map_err(|failure| anyhow!("{failure}"))?;
            anyhow::Ok((reader, named, beside))
        });
        let (reader, named, beside) = opened?;
        Ok(Opened { reader: Box::new(reader), named, beside, threads: Some(THREADS), _runtime: Some(runtime) })
    }
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
enum Choice {
    /// It is one by itself.
    Itself,
    /// This, and what lies beside it.
    Below(String, Vec<String>),
}

fn choose(origin: Option<&str>, mut directories: Vec<String>, mut files: Vec<String>) -> anyhow::Result<Choice> {
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
        let asked = Asked { origin: origin.map(str::to_owned), ..Asked::default() };
        asked.open(archive).map(|opened| opened.named).map_err(|error| error.to_string())
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

    #[test]
    fn an_address_without_an_origin_below_its_bucket_is_refused_before_anything_is_asked() {
        let said = named(Path::new("s3://"), None).unwrap_err();
        assert!(said.contains("s3://"), "{said}");
    }
}
