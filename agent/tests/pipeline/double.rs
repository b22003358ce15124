//! An archive in memory, as a store in the network is: without a lock, away at times, slow, failing now and then; it counts.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use collectors::contract::BoxFuture;
use evidenced::archive::{Archive, ArchiveError, Body, Created, SharedReader};
use signing::{digest::Digest, layout::CHECKPOINT, store::Reader};

#[derive(Clone, Default)]
pub struct Memory(Arc<Store>);

#[derive(Default)]
pub struct Store {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// The names of what was created, in order.
    pub created: Mutex<Vec<String>>,
    pub away: AtomicBool,
    /// Of so many writes one fails; 0: none.
    pub fails_one_in: AtomicU64,
    /// How long a write takes, in milliseconds.
    pub slow: AtomicU64,
    /// Whether nothing can be removed, as by an agent without the right to.
    pub keeps: AtomicBool,
    writes: AtomicU64,
    /// Objects and listings that were asked for.
    pub reads: AtomicUsize,
    going: AtomicUsize,
    /// The most writes that went on at once.
    pub most: AtomicUsize,
}

impl std::ops::Deref for Memory {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

impl Store {
    pub fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what it holds below `dir`.
    pub fn dump(&self, dir: &std::path::Path) {
        for (name, bytes) in &*self.objects() {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn there(&self) -> io::Result<()> {
        match self.away.load(SeqCst) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the store is away")),
            false => Ok(()),
        }
    }

    async fn write(&self) -> io::Result<()> {
        let going = self.going.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(going, SeqCst);
        tokio::time::sleep(Duration::from_millis(self.slow.load(SeqCst))).await;
        self.going.fetch_sub(1, SeqCst);
        self.there()?;
        let (at, of) = (self.writes.fetch_add(1, SeqCst), self.fails_one_in.load(SeqCst));
        match of > 0 && at % of == of - 1 {
            true => Err(io::Error::other("503 Slow Down")),
            false => Ok(()),
        }
    }
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> ArchiveError {
    let name = name.to_owned();
    move |source| ArchiveError::Io { place: "memory".into(), action, name, source }
}

impl Archive for Memory {
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>> {
        Box::pin(async move {
            self.write().await.map_err(failed("create", name))?;
            let bytes = match body {
                Body::Bytes(bytes) => bytes,
                Body::File(path) => std::fs::read(path).map_err(failed("create", name))?,
            };
            let mut objects = self.objects();
            match objects.get(name) {
                None => {
                    objects.insert(name.to_owned(), bytes);
                    self.created.lock().unwrap().push(name.to_owned());
                    Ok(Created::New)
                }
                Some(found) if *found == bytes => Ok(Created::Same),
                Some(found) => Err(ArchiveError::OtherBytes {
                    place: self.place(),
                    name: name.to_owned(),
                    found: Digest::of(found),
                    ours: Digest::of(&bytes),
                }),
            }
        })
    }

    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>> {
        Box::pin(async move { Reader::read(&*self.0, name, limit).map_err(failed("read", name)) })
    }

    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>> {
        Box::pin(async move { Ok(Archive::read(self, name, u64::MAX - 1).await?.map(|bytes| Digest::of(&bytes))) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>> {
        Box::pin(async move {
            let mut names = Vec::new();
            Reader::list(&*self.0, prefix, &mut |name| names.push(name.to_owned())).map_err(failed("list", prefix))?;
            Ok(names)
        })
    }

    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move {
            self.write().await.map_err(failed("replace", CHECKPOINT))?;
            let mut objects = self.objects();
            let found = objects.get(CHECKPOINT).map(Vec::as_slice);
            if found != old && found != Some(new) {
                return Err(ArchiveError::CheckpointMoved { place: self.place() });
            }
            objects.insert(CHECKPOINT.to_owned(), new.to_vec());
            Ok(())
        })
    }

    fn removes(&self) -> bool {
        !self.keeps.load(SeqCst)
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move {
            self.there().map_err(failed("remove", name))?;
            assert!(name.starts_with("append/") || name.contains(".p/"), "{name} is never removed");
            self.objects().remove(name);
            Ok(())
        })
    }

    fn reader(&self) -> SharedReader {
        self.0.clone()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

impl Reader for Store {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        self.there()?;
        self.reads.fetch_add(1, SeqCst);
        Ok(self.objects().get(name).map(|bytes| Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.there()?;
        self.reads.fetch_add(1, SeqCst);
        let names: Vec<_> = self.objects().keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        names.iter().for_each(|name| each(name));
        Ok(())
    }
}
