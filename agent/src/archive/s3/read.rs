//! Reading: whole objects within a limit, objects as a stream that goes on where it broke off, and names in order. "Not there" is only what
//! the store says is not there.

use std::io::{self, Read};

use aws_sdk_s3::{
    primitives::{ByteStream, DateTime},
    types::{EncodingType, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectStorageClass},
};
use sha2::{Digest as _, Sha256};
use signing::{digest::Digest, store};
use tokio::runtime::Handle;

use super::client::{Failure, Store};
use crate::archive::removable;

/// A stream that breaks off is taken up again so many times.
const TAKEN_UP: u32 = 4;

/// An object that is being read.
pub struct Object {
    store: Store,
    key: String,
    version: Option<String>,
    /// What the object is now: a part that is read later must be of the same.
    pub etag: String,
    /// In bytes.
    pub length: u64,
    /// How the store holds it in place, where it says so.
    pub lock: Lock,
    read: u64,
    taken_up: u32,
    stream: ByteStream,
}

/// What an answer says of Object Lock; nothing too where the reader may not know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// `x-amz-object-lock-mode`.
    pub mode: Option<ObjectLockMode>,
    /// `x-amz-object-lock-retain-until-date`.
    pub until: Option<DateTime>,
    /// `x-amz-object-lock-legal-hold`.
    pub hold: Option<ObjectLockLegalHoldStatus>,
}

/// An object as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Below the origin.
    pub name: String,
    /// In bytes.
    pub length: u64,
    /// None: the store does not say.
    pub class: Option<ObjectStorageClass>,
}

impl Store {
    /// Begins to read an object; `None`: the store says that there is none.
    ///
    /// # Errors
    /// Everything else; an object that was deleted, where deleting is nobody's right, among it.
    pub async fn get(&self, name: &str) -> Result<Option<Object>, Failure> {
        match self.get_key(self.key(name), None, None).await {
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.is_absent() && failure.deleted && !removable(name) => Err(Failure::local(
                "GetObject",
                "it was deleted: a delete marker hides it. Remove the marker, and find out who put it there; `evidenced verify` names \
                 what is gone",
            )),
            Err(failure) if failure.is_absent() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Begins to read a key of the bucket, or a version of it.
    ///
    /// # Errors
    /// A missing one among them: [`Failure::is_absent`].
    pub async fn get_key(
        &self,
        key: String,
        version: Option<String>,
        from: Option<(u64, &str)>,
    ) -> Result<Object, Failure> {
        let mut request = self.client().get_object().bucket(self.bucket()).key(&key);
        request = request.set_version_id(version.clone()).set_expected_bucket_owner(self.owner());
        if let Some((at, etag)) = from {
            request = request.range(format!("bytes={at}-")).if_match(etag);
        }
        let answer = request.send().await.map_err(|error| Failure::of("GetObject", error))?;
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let length =
            length.ok_or_else(|| Failure::local("GetObject", "the answer does not say how long the object is"))?;
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        let lock = Lock {
            mode: answer.object_lock_mode().cloned(),
            until: answer.object_lock_retain_until_date().copied(),
            hold: answer.object_lock_legal_hold_status().cloned(),
        };
        Ok(Object { store: self.clone(), key, version, etag, length, lock, read: 0, taken_up: 0, stream: answer.body })
    }

    /// Every object below a prefix (`""`: all), in ascending order of names.
    ///
    /// # Errors
    /// Any page that could not be read.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(self.key(prefix));
            let request = request.set_expected_bucket_owner(self.owner()).encoding_type(EncodingType::Url);
            let page = request.set_continuation_token(token.clone()).send().await;
            let page = page.map_err(|error| Failure::of("ListObjectsV2", error))?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let key = object.key().unwrap_or_default();
                let key = if encoded { decoded(key) } else { key.to_owned() };
                let Some(name) = key.strip_prefix(self.root()) else { continue };
                let length = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                found.push(Listed { name: name.to_owned(), length, class: object.storage_class().cloned() });
            }
            if page.is_truncated() != Some(true) {
                break;
            }
            // The end is only where the store says that it is.
            match page.next_continuation_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Err(Failure::local("ListObjectsV2", "the list goes on, and the store does not say where")),
            }
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }
}

/// A key as `encoding-type=url` writes it.
pub(super) fn decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let pair = more.get(..2).and_then(|pair| hex::decode(pair).ok());
        match (first, pair) {
            (b'%', Some(byte)) => {
                bytes.extend(byte);
                rest = &more[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = more;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Object {
    /// The next bytes; `None` at the end. A stream that breaks off is taken up where it did.
    ///
    /// # Errors
    /// A store that does not give the rest; an object that changed meanwhile.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let broken = match self.stream.try_next().await {
                Ok(Some(bytes)) => {
                    self.read += bytes.len() as u64;
                    return Ok(Some(bytes.to_vec()));
                }
                Ok(None) if self.read == self.length => return Ok(None),
                Ok(None) => format!("it ended after {} of {} bytes", self.read, self.length),
                Err(error) => error.to_string(),
            };
            self.taken_up += 1;
            if self.taken_up > TAKEN_UP || self.etag.is_empty() {
                return Err(Failure::local("GetObject", format!("the answer broke off: {broken}")));
            }
            let from = Some((self.read, self.etag.as_str()));
            let rest = self.store.get_key(self.key.clone(), self.version.clone(), from).await?;
            if rest.length + self.read != self.length {
                return Err(Failure::local("GetObject", "the object changed while it was read"));
            }
            self.stream = rest.stream;
        }
    }

    /// All of it, where that is at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Object::next`]; a longer object, of kind `FileTooLarge`.
    pub async fn read(mut self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, format!("{name} is longer than {limit} bytes"));
        if self.length > limit {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        while let Some(more) = self.next().await? {
            bytes.extend(more);
            if bytes.len() as u64 > limit {
                return Err(too_long());
            }
        }
        Ok(bytes)
    }

    /// The SHA-256 of all of it.
    ///
    /// # Errors
    /// As [`Object::next`].
    pub async fn digest(mut self) -> Result<Digest, Failure> {
        let mut hasher = Sha256::new();
        while let Some(bytes) = self.next().await? {
            hasher.update(&bytes);
        }
        Ok(Digest(hasher.finalize().into()))
    }
}

/// The origin's objects for code that streams and blocks. It must be used outside the runtime's own threads.
#[derive(Debug, Clone)]
pub struct S3Reader {
    store: Store,
    runtime: Handle,
}

impl S3Reader {
    /// Reads on a runtime that outlives it.
    pub fn new(store: Store, runtime: Handle) -> Self {
        Self { store, runtime }
    }
}

/// Of what was not there, and what was refused.
pub(super) fn failed(name: &str) -> impl FnOnce(Failure) -> io::Error + '_ {
    move |failure| {
        let error = io::Error::from(failure);
        io::Error::new(error.kind(), format!("{name}: {error}"))
    }
}

impl store::Reader for S3Reader {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        let object = self.runtime.block_on(self.store.get(name)).map_err(failed(name))?;
        Ok(object.map(|object| Box::new(Blocking::new(object, self.runtime.clone())) as _))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let listed = self.runtime.block_on(self.store.list(prefix)).map_err(failed(prefix))?;
        listed.iter().for_each(|listed| each(&listed.name));
        Ok(())
    }
}

/// An object as a blocking reader.
pub(super) struct Blocking {
    object: Object,
    runtime: Handle,
    bytes: Vec<u8>,
    at: usize,
}

impl Blocking {
    pub(super) fn new(object: Object, runtime: Handle) -> Self {
        Self { object, runtime, bytes: Vec::new(), at: 0 }
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.bytes.len() {
            match self.runtime.block_on(self.object.next())? {
                Some(bytes) => (self.bytes, self.at) = (bytes, 0),
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.bytes.len() - self.at);
        buffer[..taken].copy_from_slice(&self.bytes[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn keys_are_decoded_as_the_store_encodes_them() {
        assert_eq!(decoded("a%2Bb+c/%C3%A4%"), "a+b c/ä%");
    }
}
