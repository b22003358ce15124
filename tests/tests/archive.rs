//! One archive is as good as another: the same promises, kept by a directory and by S3 servers that others wrote.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use agent::{
    archive::{Archive, DirArchive},
    durable::Disk,
};
use tests::{
    aws::{Ministack, Moto},
    conformance,
    s3::{Bucket, KEYS, ORIGIN},
};

const WRITERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_what_every_archive_promises() {
    let dir = tempfile::tempdir().unwrap();
    // Another agent cannot open it at all, so all writers are threads of one.
    let archive: Arc<dyn Archive> = Arc::new(DirArchive::open(dir.path(), ORIGIN, &Disk::new()).unwrap());
    conformance::all(&vec![archive; WRITERS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_moto_keeps_what_every_archive_promises() {
    let server = Moto::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    conformance::all(&bucket.writers(WRITERS).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_ministack_keeps_what_every_archive_promises() {
    let server = Ministack::start();
    let bucket = Bucket::make(&server.endpoint(), KEYS, true).await;
    conformance::all(&bucket.writers(WRITERS).await).await;
}
