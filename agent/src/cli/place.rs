//! Where an archive is read: a directory, or a bucket by its address.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use verifier::place::{self, Choice, Opened};

use super::agent;
use crate::{
    archive::s3::{AskAt, Store, VersionedReader},
    config::ArchivePlace,
};

/// Threads that read a bucket: each waits for the network most of its time.
const THREADS: usize = 32;

/// Which archive, and how a bucket is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Asked {
    /// Which log of the archive, where it holds several
    #[arg(long)]
    pub origin: Option<String>,
    #[command(flatten)]
    pub bucket: Bucket,
}

/// How a bucket is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Bucket {
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

impl Bucket {
    /// The archive that is named, else the configuration's, and how its bucket is asked.
    pub fn of(&self, archive: Option<&Path>, config: Option<&Path>) -> anyhow::Result<(PathBuf, Self)> {
        if let Some(archive) = archive {
            return Ok((archive.to_owned(), self.clone()));
        }
        let loaded = agent::load(config)?;
        let archive = &loaded.config.archive;
        let mut bucket = self.clone();
        if let ArchivePlace::S3(s3) = archive.place() {
            bucket.region = bucket.region.or_else(|| s3.region.clone());
            bucket.endpoint = bucket.endpoint.or_else(|| s3.endpoint.clone());
            bucket.ca_bundle = bucket.ca_bundle.or_else(|| s3.ca_bundle.clone());
        }
        Ok((archive.address().into(), bucket))
    }
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
            return self.bucket.open(address, self.origin.as_deref());
        }
        place::directory(archive, self.origin.as_deref())
    }
}

impl Bucket {
    fn open(&self, address: &str, origin: Option<&str>) -> anyhow::Result<Opened> {
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
            let (store, named, beside) = match place::choose(origin, directories, files)? {
                Choice::Itself => (store, None, Vec::new()),
                Choice::Below(name, beside) => (store.below(&name), Some(name), beside),
            };
            let reader = VersionedReader::open(store).await.map_err(|failure| anyhow!("{failure}"))?;
            anyhow::Ok((reader, named, beside))
        });
        let (reader, named, beside) = opened?;
        Ok(Opened {
            reader: Box::new(reader),
            named,
            beside,
            threads: Some(THREADS),
            lives_on: Some(Box::new(runtime)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_without_an_origin_below_its_bucket_is_refused_before_anything_is_asked() {
        let said = Asked::default().open(Path::new("s3://")).err().unwrap().to_string();
        assert!(said.contains("s3://"), "{said}");
    }
}
