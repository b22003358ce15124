//! An origin as the bucket's versions tell it: under each name what was written first, whatever was put over it since. Objects are created once, so
//! that a later version or a delete marker is somebody else's work, unless it holds the same bytes; the checkpoint alone is replaced, and of
//! it the newest version counts. It reads, and needs no right to write.
//!
//! Source: S3 API, ListObjectVersions (the versions of a key come newest first), GetObject (`versionId`, `x-amz-object-lock-*`).

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use aws_sdk_s3::{
    primitives::DateTime,
    types::{EncodingType, ObjectLockLegalHoldStatus, ObjectLockMode},
};
use signing::{
    layout::CHECKPOINT,
    store::{self, Hold},
    time::{Utc, rfc3339},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    client::{Failure, Store},
    read::{Blocking, Object, S3Reader, decoded, failed},
    retention::is_locked,
};
use crate::archive::removable;

/// Listings that go on at the same time.
const LISTINGS: usize = 16;

/// Pages that wait to be looked at.
const WAITING: usize = 8;

/// What the versions of a name say.
#[derive(Debug, Clone, Default)]
struct Versions {
    /// The first and the newest, with length and entity tag.
    original: Option<Version>,
    newest: Option<Version>,
    count: u64,
    /// The newest delete marker, and whether nothing came after it.
    deleted: Option<Option<DateTime>>,
    is_gone: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    id: String,
    at: Option<DateTime>,
    length: i64,
    etag: String,
}

impl Versions {
    /// Whether a reader is to find the object: there is a version, and where it may be removed, nothing removed it.
    fn is_there(&self, name: &str) -> bool {
        self.original.is_some() && !(self.is_gone && removable(name))
    }
}

/// A version that is read instead of what the name leads to.
#[derive(Debug)]
struct Covered {
    version: String,
    /// By what it is covered; `None`: by nobody's ill will.
    by: Option<String>,
}

/// An origin in a bucket, for code that streams and blocks. It must be used outside the runtime's own threads.
#[derive(Debug)]
pub struct VersionedReader {
    plain: S3Reader,
    store: Store,
    runtime: Handle,
    covered: BTreeMap<String, Covered>,
    /// Why versions could not be looked at.
    unseen: Option<String>,
    held: Held,
}

impl VersionedReader {
    /// Looks at the versions of every object of the origin. It must be called on the runtime that it is used with.
    ///
    /// # Errors
    /// A listing that broke off. A store that lists no versions, or a reader who may not, is no error: see [`store::Reader::hold`].
    pub async fn open(store: Store) -> Result<Self, Failure> {
        let runtime = Handle::current();
        let (mut covered, mut unseen) = (BTreeMap::new(), None);
        let mut listing = Listing::start(store.clone(), String::new());
        loop {
            match listing.next().await {
                Ok(None) => break,
                Ok(Some(names)) => {
                    for (name, versions) in names {
                        if let Some(found) = cover(&store, &name, versions).await? {
                            covered.insert(name, found);
                        }
                    }
                }
                Err(failure) if lists_no_versions(&failure) => {
                    unseen = Some(failure.to_string());
                    covered.clear();
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        let plain = S3Reader::new(store.clone(), runtime.clone());
        Ok(Self { plain, store, runtime, covered, unseen, held: Held::default() })
    }
}

/// Whether a store has no such listing, or the reader no right to it.
fn lists_no_versions(failure: &Failure) -> bool {
    failure.is_denied() || matches!(failure.status, Some(405 | 501))
}

/// What is read of a name instead of what is there, if something else is.
async fn cover(store: &Store, name: &str, versions: Versions) -> Result<Option<Covered>, Failure> {
    let Versions { original: Some(original), newest: Some(newest), count, deleted, is_gone } = versions else {
        return Ok(None);
    };
    if removable(name) {
        return Ok(None);
    }
    let when = |at: Option<DateTime>| at.and_then(instant).map_or("an unknown time".to_owned(), rfc3339);
    if name == CHECKPOINT {
        let by = deleted.filter(|_| is_gone).map(|at| format!("it was deleted at {}, by a delete marker", when(at)));
        return Ok(by.map(|by| Covered { version: newest.id, by: Some(by) }));
    }
    let mut by = Vec::new();
    if let Some(at) = deleted {
        by.push(format!("it was deleted at {}, by a delete marker", when(at)));
    }
    if count > 1 && !is_same(store, name, &original, &newest).await? {
        let more = if count > 2 { format!(", the newest of {} later ones,", count - 1) } else { String::new() };
        by.push(format!("a version of {}{more} holds other bytes", when(newest.at)));
    }
    if by.is_empty() {
        return Ok(None);
    }
    let by = format!("{} over the original of {}", by.join(", and "), when(original.at));
    Ok(Some(Covered { version: original.id, by: Some(by) }))
}

/// Whether two versions hold the same bytes: what a store without create-only writes keeps of a write that was tried again.
async fn is_same(store: &Store, name: &str, one: &Version, other: &Version) -> Result<bool, Failure> {
    if one.length != other.length {
        return Ok(false);
    }
    if one.etag == other.etag && !one.etag.is_empty() {
        return Ok(true);
    }
    let read = async |version: &Version| match store.get_key(store.key(name), Some(version.id.clone()), None).await {
        Ok(object) => object.digest().await.map(Some),
        Err(failure) if failure.is_absent() => Ok(None),
        Err(failure) => Err(failure),
    };
    Ok(read(one).await? == read(other).await?)
}

fn instant(at: DateTime) -> Option<Utc> {
    chrono::DateTime::from_timestamp(at.secs(), at.subsec_nanos())
}

impl store::Reader for VersionedReader {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        let version = self.covered.get(name).map(|covered| covered.version.clone());
        let get = self.store.get_key(self.store.key(name), version, None);
        let object = match self.runtime.block_on(get) {
            Ok(object) => object,
            Err(failure) if failure.is_absent() => return Ok(None),
            Err(failure) => return Err(failed(name)(failure)),
        };
        if is_locked(name) {
            self.held.count(name, &object);
        }
        Ok(Some(Box::new(Blocking::new(object, self.runtime.clone()))))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        if self.unseen.is_some() {
            return self.plain.list(prefix, each);
        }
        let mut listing = {
            let _on = self.runtime.enter();
            Listing::start(self.store.clone(), prefix.to_owned())
        };
        while let Some(names) = self.runtime.block_on(listing.next()).map_err(failed(prefix))? {
            names.iter().filter(|(name, versions)| versions.is_there(name)).for_each(|(name, _)| each(name));
        }
        Ok(())
    }

    fn covered(&self, each: &mut dyn FnMut(&str, &str)) {
        for (name, covered) in &self.covered {
            if let Some(by) = &covered.by {
                each(name, by);
            }
        }
    }

    fn hold(&self) -> Hold {
        match (&self.unseen, self.held.says(Utc::from(SystemTime::now()))) {
            (None, hold) => hold,
            (Some(why), Hold::Nothing) => {
                tracing::warn!(%why, "versions were not looked at");
                Hold::Nothing
            }
            (Some(why), Hold::Weak(says) | Hold::Firm(says)) => {
                Hold::Weak(format!("{says}; whether later versions cover the originals was not looked at: {why}"))
            }
        }
    }
}

/// How what was read is held in place.
#[derive(Debug, Default)]
struct Held {
    compliance: AtomicU64,
    /// In governance mode, or by a legal hold.
    excepted: AtomicU64,
    free: AtomicU64,
    of: Mutex<Of>,
}

#[derive(Debug, Default)]
struct Of {
    /// The first by name that is not held.
    free: Option<String>,
    /// When the first retention ends.
    until: Option<Utc>,
}

impl Held {
    fn count(&self, name: &str, object: &Object) {
        let now = Utc::from(SystemTime::now());
        let lock = &object.lock;
        let until = lock.until.and_then(instant).filter(|until| *until > now);
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        match (&lock.mode, until) {
            (Some(mode), Some(until)) => {
                let firm = *mode == ObjectLockMode::Compliance;
                (if firm { &self.compliance } else { &self.excepted }).fetch_add(1, Relaxed);
                of.until = Some(of.until.map_or(until, |first| first.min(until)));
            }
            _ if lock.hold == Some(ObjectLockLegalHoldStatus::On) => {
                self.excepted.fetch_add(1, Relaxed);
            }
            _ => {
                self.free.fetch_add(1, Relaxed);
                if of.free.as_deref().is_none_or(|first| name < first) {
                    of.free = Some(name.to_owned());
                }
            }
        }
    }

    fn says(&self, now: Utc) -> Hold {
        let (compliance, excepted, free) =
            (self.compliance.load(Relaxed), self.excepted.load(Relaxed), self.free.load(Relaxed));
        let all = compliance + excepted + free;
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let until = of.until.map_or(String::new(), |until| format!("; the first retention ends at {}", rfc3339(until)));
        if compliance + excepted == 0 {
            return Hold::Nothing;
        }
        let asked = rfc3339(now);
        if free > 0 {
            let first = of.free.as_deref().unwrap_or_default();
            return Hold::Weak(format!(
                "{free} of {all} objects that were read are not held by Object Lock at {asked}, or it may not be read how (first: \
                 {first}){until}"
            ));
        }
        if excepted > 0 {
            return Hold::Weak(format!(
                "{excepted} of {all} objects that were read are held in governance mode or by a legal hold only: who has the right to \
                 bypass that can remove them{until}"
            ));
        }
        Hold::Firm(format!(
            "all {all} objects that were read are held by Object Lock in compliance mode at {asked}{until}"
        ))
    }
}

/// The names below a prefix with their versions, a page at a time, in no order; several listings go on at once.
struct Listing {
    pages: mpsc::Receiver<Result<Vec<(String, Versions)>, Failure>>,
    _work: JoinSet<()>,
}

impl Listing {
    /// On the current runtime.
    fn start(store: Store, prefix: String) -> Self {
        let (give, pages) = mpsc::channel(WAITING);
        let mut work = JoinSet::new();
        work.spawn(async move {
            if let Err(failure) = list(store, prefix, &give).await {
                let _ = give.send(Err(failure)).await;
            }
        });
        Self { pages, _work: work }
    }

    async fn next(&mut self) -> Result<Option<Vec<(String, Versions)>>, Failure> {
        self.pages.recv().await.transpose()
    }
}

type Give = mpsc::Sender<Result<Vec<(String, Versions)>, Failure>>;

/// Divides what is large (days of bundles and seals) into listings of their own.
async fn list(store: Store, prefix: String, give: &Give) -> Result<(), Failure> {
    let mut parts = vec![prefix];
    let mut whole = BTreeSet::new();
    while let Some(part) = parts.pop() {
        // `bundle/2026/11/` is a month.
        let large = part.starts_with("bundle/") || part.starts_with("seal/");
        if part.is_empty() || (large && part.matches('/').count() < 3) {
            parts.extend(give_all(Pages::new(store.clone(), part, Some("/")), give).await?);
        } else {
            whole.insert(part);
        }
    }
    let at_once = Arc::new(Semaphore::new(LISTINGS));
    let mut listings = JoinSet::new();
    for part in whole {
        let (pages, give, at_once) = (Pages::new(store.clone(), part, None), give.clone(), at_once.clone());
        listings.spawn(async move {
            let _permit = at_once.acquire_owned().await;
            give_all(pages, &give).await
        });
    }
    while let Some(done) = listings.join_next().await {
        done.map_err(|gone| Failure::local("ListObjectVersions", gone.to_string()))??;
    }
    Ok(())
}

/// Gives every page; returns what goes on below the delimiter.
async fn give_all(mut pages: Pages, give: &Give) -> Result<BTreeSet<String>, Failure> {
    while let Some(page) = pages.next().await? {
        if give.send(Ok(page)).await.is_err() {
            // Nobody wants more.
            break;
        }
    }
    Ok(pages.below)
}

/// The pages of one listing.
struct Pages {
    store: Store,
    prefix: String,
    delimiter: Option<&'static str>,
    markers: (Option<String>, Option<String>),
    /// The last name of the page before: its versions may go on.
    seen: BTreeMap<String, Versions>,
    below: BTreeSet<String>,
    ended: bool,
}

impl Pages {
    fn new(store: Store, prefix: String, delimiter: Option<&'static str>) -> Self {
        let (markers, seen, below) = Default::default();
        Self { store, prefix, delimiter, markers, seen, below, ended: false }
    }

    /// The next names with all their versions; `None` after the end, which the store must say itself.
    async fn next(&mut self) -> Result<Option<Vec<(String, Versions)>>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let store = &self.store;
        let request = store.client().list_object_versions().bucket(store.bucket()).prefix(store.key(&self.prefix));
        let request = request
            .set_expected_bucket_owner(store.owner())
            .encoding_type(EncodingType::Url)
            .set_delimiter(self.delimiter.map(str::to_owned))
            .set_key_marker(self.markers.0.clone())
            .set_version_id_marker(self.markers.1.clone());
        let page = request.send().await.map_err(|error| Failure::of("ListObjectVersions", error))?;
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |key: &str| if encoded { decoded(key) } else { key.to_owned() };
        let name = |key: Option<&str>| plain(key.unwrap_or_default()).strip_prefix(store.root()).map(str::to_owned);
        self.below.extend(page.common_prefixes().iter().filter_map(|common| name(common.prefix())));
        for version in page.versions() {
            let Some(name) = name(version.key()) else { continue };
            let here = Version {
                id: version.version_id().unwrap_or("null").to_owned(),
                at: version.last_modified().copied(),
                length: version.size().unwrap_or_default(),
                etag: version.e_tag().unwrap_or_default().to_owned(),
            };
            let versions = self.seen.entry(name).or_default();
            versions.count += 1;
            versions.newest.get_or_insert_with(|| here.clone());
            versions.original = Some(here);
        }
        for marker in page.delete_markers() {
            let Some(name) = name(marker.key()) else { continue };
            let versions = self.seen.entry(name).or_default();
            versions.deleted.get_or_insert(marker.last_modified().copied());
            versions.is_gone |= marker.is_latest() == Some(true);
        }
        if page.is_truncated() != Some(true) {
            self.ended = true;
            return Ok(Some(std::mem::take(&mut self.seen).into_iter().collect()));
        }
        let markers = (page.next_key_marker().map(plain), page.next_version_id_marker().map(str::to_owned));
        if markers.0.is_none() || markers == self.markers {
            return Err(Failure::local("ListObjectVersions", "the list goes on, and the store does not say where"));
        }
        self.markers = markers;
        let last = self.seen.pop_last();
        let whole = std::mem::take(&mut self.seen);
        self.seen.extend(last);
        Ok(Some(whole.into_iter().collect()))
    }
}

impl Store {
    /// What lies at the address itself, deleted or not: what goes on below, and the objects.
    ///
    /// # Errors
    /// A listing that the store refused.
    pub async fn level(&self) -> Result<(Vec<String>, Vec<String>), Failure> {
        let mut pages = Pages::new(self.clone(), String::new(), Some("/"));
        let mut files = Vec::new();
        loop {
            match pages.next().await {
                Ok(Some(page)) => files.extend(page.into_iter().map(|(name, _)| name)),
                Ok(None) => break,
                Err(failure) if lists_no_versions(&failure) => return self.plain_level().await,
                Err(failure) => return Err(failure),
            }
        }
        Ok((pages.below.iter().map(|name| name.trim_end_matches('/').to_owned()).collect(), files))
    }

    /// The same of what is there now, for who may not list versions.
    async fn plain_level(&self) -> Result<(Vec<String>, Vec<String>), Failure> {
        let (mut below, mut files) = (Vec::new(), Vec::new());
        let mut token: Option<String> = None;
        loop {
            let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(self.root()).delimiter("/");
            let request = request.set_expected_bucket_owner(self.owner()).set_continuation_token(token.clone());
            let page = request.send().await.map_err(|error| Failure::of("ListObjectsV2", error))?;
            let name = |key: Option<&str>| {
                key.and_then(|key| key.strip_prefix(self.root())).map(|name| name.trim_end_matches('/').to_owned())
            };
            below.extend(page.common_prefixes().iter().filter_map(|common| name(common.prefix())));
            files.extend(page.contents().iter().filter_map(|object| name(object.key())));
            if page.is_truncated() != Some(true) {
                return Ok((below, files));
            }
            match page.next_continuation_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Err(Failure::local("ListObjectsV2", "the list goes on, and the store does not say where")),
            }
        }
    }
}
