//! Writing: objects are created once, and the checkpoint is compared and replaced in one. What the store's answer left open is settled by
//! reading back. Nothing here deletes an object.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_sdk_s3::{
    operation::put_object::builders::PutObjectFluentBuilder,
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ObjectLockLegalHoldStatus,
        ServerSideEncryption, StorageClass,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand_core::RngCore as _;
use sha2::{Digest as _, Sha256};
use signing::{digest::Digest, layout::CHECKPOINT};
use tokio::sync::Mutex;

use super::{
    client::{Failure, Store},
    config::S3Config,
    probe::Answer,
    retention::{Retention, is_locked},
};
use crate::{
    archive::{ArchiveError, Body, Created},
    blocking::blocking,
    clock::Clock,
};

/// A longer file is sent in parts; what is sent at once is held in memory.
const SINGLE: u64 = 16 << 20;

/// A part's length, unless there would be more than [`MOST_PARTS`].
const PART: u64 = 8 << 20;

/// CompleteMultipartUpload takes no more.
const MOST_PARTS: u64 = 10_000;

/// Writes that meet another one are tried again so many times, with longer and longer waits.
const CONFLICTS: u32 = 8;

/// The largest checkpoint that is read back.
const MAX_CHECKPOINT: u64 = 64 * 1024;

/// Writes one origin's objects.
pub(super) struct Writer {
    pub store: Store,
    pub retention: Option<Retention>,
    pub clock: Arc<dyn Clock>,
    legal_hold: bool,
    kms_key: Option<String>,
    storage_class: Option<StorageClass>,
    /// Whether the store was found to honour `If-None-Match` and `If-Match`; before it was tried it is taken to.
    honours: OnceLock<Honours>,
    /// The checkpoint as it was written or read last, with its entity tag.
    checkpoint: Mutex<Option<(Vec<u8>, String)>>,
}

/// What keeps writers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Honours {
    pub create_only: Answer,
    pub compare_and_swap: Answer,
}

/// What is to be stored, with its digest.
struct Content {
    body: Body,
    digest: Digest,
    length: u64,
}

impl Content {
    async fn of(body: Body) -> io::Result<Self> {
        let (digest, length) = match &body {
            Body::Bytes(bytes) => (Digest::of(bytes), bytes.len() as u64),
            Body::File(path) => {
                let path = path.clone();
                blocking(move || Digest::read(&mut File::open(path)?)).await?
            }
        };
        Ok(Self { body, digest, length })
    }
}

/// As `x-amz-checksum-sha256` writes it.
fn base64(digest: &[u8]) -> String {
    STANDARD.encode(digest)
}

impl Writer {
    pub(super) fn new(store: Store, config: &S3Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            retention: Retention::of(&config.object_lock),
            clock,
            legal_hold: config.object_lock.legal_hold,
            kms_key: config.kms_key.clone(),
            storage_class: config.storage_class.as_deref().map(StorageClass::from),
            honours: OnceLock::new(),
            checkpoint: Mutex::new(None),
        }
    }

    /// What the store was found to honour. Where nothing keeps writers apart, a look goes before each write: that is enough for one agent,
    /// and for no more.
    pub(super) fn relies_on(&self, honours: Honours) {
        let _ = self.honours.set(honours);
    }

    fn honours(&self) -> Honours {
        self.honours.get().copied().unwrap_or(Honours { create_only: Answer::Holds, compare_and_swap: Answer::Holds })
    }

    /// The condition of a write that creates: none where the store refuses it, or takes no notice.
    fn if_none_match(&self) -> Option<String> {
        (self.honours().create_only != Answer::Lacks).then(|| "*".to_owned())
    }

    /// Creates an object: see [`Archive::create`](crate::archive::Archive::create).
    pub(super) async fn create(&self, name: &str, body: Body) -> Result<Created, ArchiveError> {
        let unread = |source| ArchiveError::Io {
            place: self.store.place().to_owned(),
            action: "read the source of",
            name: name.to_owned(),
            source,
        };
        let content = Content::of(body).await.map_err(unread)?;
        if self.honours().create_only != Answer::Holds
            && let Some(created) = self.compare(name, &content).await?
        {
            return Ok(created);
        }
        let mut tries = 0;
        loop {
            let failure = match self.put(name, &content).await {
                Ok(()) => return Ok(Created::New),
                Err(failure) => failure,
            };
            tries += 1;
            if failure.is_precondition() {
                if let Some(created) = self.compare(name, &content).await? {
                    return Ok(created);
                }
            } else if failure.is_lost() {
                return match self.compare(name, &content).await {
                    Ok(Some(created)) => Ok(created),
                    Err(alarm @ ArchiveError::OtherBytes { .. }) => Err(alarm),
                    _ => Err(self.store.failed("create", name, failure)),
                };
            } else if !failure.is_conflict() {
                return Err(self.store.failed("create", name, failure));
            }
            if tries > CONFLICTS {
                return Err(self.store.failed("create", name, failure));
            }
            wait(tries).await;
        }
    }

    /// What is there under the name; `None`: nothing.
    async fn compare(&self, name: &str, content: &Content) -> Result<Option<Created>, ArchiveError> {
        let unread = |failure| self.store.failed("read back", name, failure);
        let Some(object) = self.store.get(name).await.map_err(unread)? else { return Ok(None) };
        let found = object.digest().await.map_err(unread)?;
        if found == content.digest {
            return Ok(Some(Created::Same));
        }
        Err(ArchiveError::OtherBytes {
            place: self.store.place().to_owned(),
            name: name.to_owned(),
            found,
            ours: content.digest,
        })
    }

    async fn put(&self, name: &str, content: &Content) -> Result<(), Failure> {
        let bytes = match &content.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::File(path) if content.length <= SINGLE => {
                let path = path.clone();
                blocking(move || std::fs::read(path)).await.map_err(unread)?
            }
            Body::File(path) => return self.put_parts(name, path, content).await,
        };
        // The digest that was made before: a file that changed since is refused.
        let request = self.request(name, bytes).checksum_sha256(base64(&content.digest.0));
        let request = request.set_if_none_match(self.if_none_match());
        let answer = request.send().await.map_err(|error| Failure::of("PutObject", error))?;
        same_checksum("PutObject", answer.checksum_sha256(), &base64(&content.digest.0))
    }

    /// A write to a key of the bucket with its checksum and encryption, without lock or condition.
    pub(super) fn plain(&self, key: String, bytes: Vec<u8>) -> PutObjectFluentBuilder {
        let store = &self.store;
        let mut request = store.client().put_object().bucket(store.bucket()).key(key);
        // The algorithm too, which stores look for that want a checksum with every lock.
        request = request.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(base64(&Digest::of(&bytes).0));
        request = request.set_expected_bucket_owner(store.owner()).body(ByteStream::from(bytes));
        if let Some(key) = &self.kms_key {
            request = request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key);
            request = request.bucket_key_enabled(true);
        }
        request
    }

    /// A write of an object with everything that the configuration says of it, but without a condition.
    fn request(&self, name: &str, bytes: Vec<u8>) -> PutObjectFluentBuilder {
        let mut request = self.plain(self.store.key(name), bytes);
        if is_locked(name) {
            if let Some(retention) = &self.retention {
                request = request.object_lock_mode(retention.mode());
                request = request.object_lock_retain_until_date(retention.until(self.clock.now()));
            }
            if self.legal_hold {
                request = request.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
            }
        }
        request.set_storage_class(self.class(name))
    }

    fn class(&self, name: &str) -> Option<StorageClass> {
        self.storage_class.clone().filter(|_| name.starts_with("bundle/"))
    }

    /// Sends a file in parts, one in memory at a time. An upload that does not succeed is aborted, as far as the store can be reached;
    /// the others are aborted by a later start.
    async fn put_parts(&self, name: &str, path: &Path, content: &Content) -> Result<(), Failure> {
        let store = &self.store;
        let mut request = store.client().create_multipart_upload().bucket(store.bucket()).key(store.key(name));
        request = request.set_expected_bucket_owner(store.owner()).set_storage_class(self.class(name));
        request = request.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_type(ChecksumType::Composite);
        if let Some(key) = &self.kms_key {
            request = request.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(key);
            request = request.bucket_key_enabled(true);
        }
        if is_locked(name) {
            if let Some(retention) = &self.retention {
                request = request.object_lock_mode(retention.mode());
                request = request.object_lock_retain_until_date(retention.until(self.clock.now()));
            }
            if self.legal_hold {
                request = request.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
            }
        }
        let begun = request.send().await.map_err(|error| Failure::of("CreateMultipartUpload", error))?;
        let upload = begun.upload_id().unwrap_or_default().to_owned();
        let done = self.send_parts(name, path, content, &upload).await;
        if done.is_err() {
            store.abort(&store.key(name), &upload).await;
        }
        done
    }

    async fn send_parts(&self, name: &str, path: &Path, content: &Content, upload: &str) -> Result<(), Failure> {
        let (store, key) = (&self.store, self.store.key(name));
        let length = PART.max(content.length.div_ceil(MOST_PARTS));
        let mut file = blocking({
            let path = path.to_owned();
            move || File::open(path)
        })
        .await
        .map_err(unread)?;
        let (mut whole, mut composite, mut parts) = (Sha256::new(), Sha256::new(), Vec::new());
        loop {
            let (read, bytes) = blocking(move || {
                let mut bytes = Vec::new();
                let read = file.by_ref().take(length).read_to_end(&mut bytes);
                (read.map(|_| file), bytes)
            })
            .await;
            file = read.map_err(unread)?;
            if bytes.is_empty() {
                break;
            }
            let digest = Digest::of(&bytes);
            whole.update(&bytes);
            composite.update(digest.0);
            let number = i32::try_from(parts.len() + 1).unwrap_or(i32::MAX);
            let request = store.client().upload_part().bucket(store.bucket()).key(&key).upload_id(upload);
            let request = request.set_expected_bucket_owner(store.owner()).part_number(number);
            let request = request.checksum_algorithm(ChecksumAlgorithm::Sha256).checksum_sha256(base64(&digest.0));
            let answer = request.body(ByteStream::from(bytes)).send().await;
            let answer = answer.map_err(|error| Failure::of("UploadPart", error))?;
            same_checksum("UploadPart", answer.checksum_sha256(), &base64(&digest.0))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag().map(str::to_owned));
            parts.push(part.checksum_sha256(base64(&digest.0)).build());
        }
        if Digest(whole.finalize().into()) != content.digest {
            return Err(Failure::local("CompleteMultipartUpload", "the file changed while it was sent"));
        }
        let expected = format!("{}-{}", base64(&composite.finalize()), parts.len());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = store.client().complete_multipart_upload().bucket(store.bucket()).key(&key).upload_id(upload);
        let request = request.set_expected_bucket_owner(store.owner()).multipart_upload(parts);
        let request = request.set_if_none_match(self.if_none_match());
        match request.send().await {
            Ok(answer) => same_checksum("CompleteMultipartUpload", answer.checksum_sha256(), &expected),
            Err(error) => {
                let mut failure = Failure::of("CompleteMultipartUpload", error);
                // Tried again after its answer was lost, the upload is no more: what is there tells.
                if failure.is_absent() {
                    failure.status = None;
                }
                Err(failure)
            }
        }
    }

    /// Replaces the checkpoint: see [`Archive::replace_checkpoint`](crate::archive::Archive::replace_checkpoint).
    pub(super) async fn replace_checkpoint(&self, old: Option<&[u8]>, new: &[u8]) -> Result<(), ArchiveError> {
        let failed = |action, failure| self.store.failed(action, CHECKPOINT, failure);
        // Held, so that two writers of this process do not both read and then both write.
        let mut last = self.checkpoint.lock().await;
        let honours = self.honours();
        let mut tries = 0;
        loop {
            // What was written last is most likely still there, and where it is not, its entity tag is another.
            let known = last
                .take()
                .filter(|(bytes, _)| honours.compare_and_swap == Answer::Holds && Some(bytes.as_slice()) == old);
            let found = match known {
                Some(known) => Some(known),
                None => self.read_checkpoint().await.map_err(|failure| failed("read", failure))?,
            };
            if found.as_ref().is_some_and(|(bytes, _)| bytes == new) {
                *last = found;
                return Ok(());
            }
            if found.as_ref().map(|(bytes, _)| bytes.as_slice()) != old {
                return Err(ArchiveError::CheckpointMoved { place: self.store.place().to_owned() });
            }
            let request = self.request(CHECKPOINT, new.to_vec());
            let request = match &found {
                Some((_, etag)) => {
                    request.set_if_match((honours.compare_and_swap != Answer::Lacks).then(|| etag.clone()))
                }
                None => request.set_if_none_match(self.if_none_match()),
            };
            let failure = match request.send().await {
                Ok(answer) => {
                    *last = answer.e_tag().map(|etag| (new.to_vec(), etag.to_owned()));
                    return Ok(());
                }
                Err(error) => Failure::of("PutObject", error),
            };
            // A condition that did not hold, another write at the same time, or a checkpoint that is gone: what is there now tells.
            let settled_by_reading = failure.is_precondition() || failure.is_conflict() || failure.is_absent();
            if failure.is_lost() {
                let there = self.read_checkpoint().await.map_err(|_| failed("replace", failure.clone()))?;
                if there.as_ref().is_some_and(|(bytes, _)| bytes == new) {
                    *last = there;
                    return Ok(());
                }
                return Err(failed("replace", failure));
            }
            tries += 1;
            if !settled_by_reading || tries > CONFLICTS {
                return Err(failed("replace", failure));
            }
            wait(tries).await;
        }
    }

    async fn read_checkpoint(&self) -> Result<Option<(Vec<u8>, String)>, Failure> {
        let Some(object) = self.store.get(CHECKPOINT).await? else { return Ok(None) };
        let etag = object.etag.clone();
        let bytes = object.read(CHECKPOINT, MAX_CHECKPOINT).await;
        bytes.map(|bytes| Some((bytes, etag))).map_err(|error| Failure::local("GetObject", error.to_string()))
    }
}

impl Store {
    /// Gives up an upload in parts. Where that fails it stays, and costs room: a later start, or a lifecycle rule, ends it.
    pub(super) async fn abort(&self, key: &str, upload: &str) {
        let request = self.client().abort_multipart_upload().bucket(self.bucket()).key(key).upload_id(upload);
        if let Err(error) = request.set_expected_bucket_owner(self.owner()).send().await {
            let failure = Failure::of("AbortMultipartUpload", error);
            if !failure.is_absent() {
                tracing::warn!("{}: an unfinished upload of {key} stays: {failure}", self.place());
            }
        }
    }
}

/// A store that says a checksum says the one that was sent.
fn same_checksum(operation: &'static str, said: Option<&str>, expected: &str) -> Result<(), Failure> {
    match said {
        Some(said) if said != expected => {
            Err(Failure::local(operation, format!("the store says the SHA-256 {said}, and {expected} was sent")))
        }
        _ => Ok(()),
    }
}

fn unread(error: io::Error) -> Failure {
    Failure::local("PutObject", format!("what is to be sent cannot be read: {error}"))
}

/// Waits twice as long after each try, and at random up to as long again, so that two writers do not meet again.
async fn wait(tries: u32) {
    let most = 50_u64 << tries.min(6);
    let random = u64::from(rand_core::OsRng.next_u32()) % most;
    tokio::time::sleep(Duration::from_millis(most / 2 + random)).await;
}
