//! Buckets in the S3 servers that others wrote, and archives in them.

pub mod proxy;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use agent::{
    archive::{
        Archive, S3Archive,
        s3::{ObjectLock, Open, S3Config},
    },
    clock::SystemClock,
    durable::Disk,
};
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider},
};

use crate::{aws::Server, tools};
use proxy::Proxy;

/// The origin of the archives.
pub const ORIGIN: &str = "localhost/test";

/// What the servers without permissions take.
pub const KEYS: (&str, &str) = ("AKIDTEST", "secret-for-this-machine-only");

/// Ceph's S3 server, which refuses what Object Lock must refuse, with a cluster in memory.
pub struct Radosgw(Server);

impl Radosgw {
    /// Starts it; `None`, with the reason printed, where Debian's packages are not installed.
    pub fn start() -> Option<Self> {
        let programs =
            ["radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "ceph-authtool", "monmaptool"];
        if let Some(missing) = programs.iter().find(|program| tools::which(program).is_none()) {
            eprintln!(
                "SKIPPED: {missing} is not installed; Debian has it in radosgw, ceph-mon, ceph-mgr, ceph-osd and ceph-common"
            );
            return None;
        }
        Some(Self(Server::start("s3_radosgw.py", &[])))
    }

    /// Its owner's keys.
    pub const KEYS: (&str, &str) = ("AKIDRADOSGW", "for-tests-on-this-machine-only");
}

impl std::ops::Deref for Radosgw {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

/// A bucket that nobody else has.
pub struct Bucket {
    /// Where it is asked.
    pub endpoint: String,
    /// Its name.
    pub name: String,
    keys: (String, String),
    client: Client,
}

impl Bucket {
    /// Made anew, with Object Lock or without; `keys` are the server's owner's.
    pub async fn make(endpoint: &str, keys: (&str, &str), locked: bool) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("evidence-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(keys.0, keys.1, None, None, "test"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .build();
        let client = Client::from_conf(config);
        client
            .create_bucket()
            .bucket(&name)
            .set_object_lock_enabled_for_bucket(locked.then_some(true))
            .send()
            .await
            .expect("a bucket can be made");
        Self { endpoint: endpoint.to_owned(), name, keys: (keys.0.to_owned(), keys.1.to_owned()), client }
    }

    /// As the bucket's owner.
    pub fn owner(&self) -> &Client {
        &self.client
    }

    /// What an agent is configured with.
    pub fn config(&self) -> S3Config {
        S3Config {
            prefix: Some("evidence/prod".into()),
            region: Some("us-east-1".into()),
            endpoint: Some(self.endpoint.clone()),
            path_style: true,
            object_lock: ObjectLock::default(),
            ..S3Config::new(&self.name)
        }
    }

    /// What the agent asks with.
    pub fn credentials(&self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Credentials::new(&self.keys.0, &self.keys.1, None, None, "test"))
    }

    /// What an agent opens its archive with.
    pub fn open<'a>(&self, config: &'a S3Config, state_dir: &'a Path, disk: &'a Disk) -> Open<'a> {
        let (clock, own) = (Arc::new(SystemClock), Some(self.credentials()));
        Open { config, origin: ORIGIN, state_dir, disk, clock, own }
    }

    /// An agent's archive with these settings, taken to do what S3 does.
    pub async fn archive_with(&self, config: &S3Config) -> S3Archive {
        let nowhere = Path::new("/nonexistent");
        S3Archive::connect(self.open(config, nowhere, &Disk::new())).await.expect("the settings can be used")
    }

    /// An agent's archive.
    pub async fn archive(&self) -> S3Archive {
        self.archive_with(&self.config()).await
    }

    /// An agent's archive, asked by way of a proxy.
    pub async fn archive_through(&self, proxy: &Proxy) -> S3Archive {
        self.archive_with(&S3Config { endpoint: Some(proxy.endpoint()), ..self.config() }).await
    }

    /// The archives of several agents that share the origin.
    pub async fn writers(&self, count: usize) -> Vec<Arc<dyn Archive>> {
        let mut writers: Vec<Arc<dyn Archive>> = Vec::new();
        for _ in 0..count {
            writers.push(Arc::new(self.archive().await));
        }
        writers
    }

    /// Copies the newest versions of all objects whose keys begin with `prefix` into `directory`, under the rest of their keys.
    pub async fn copy_to(&self, prefix: &str, directory: &Path) {
        let mut after = None;
        loop {
            let page =
                self.client.list_objects_v2().bucket(&self.name).prefix(prefix).set_continuation_token(after.take());
            let page = page.send().await.expect("a bucket lists");
            for key in page.contents().iter().filter_map(|object| object.key()) {
                let object =
                    self.client.get_object().bucket(&self.name).key(key).send().await.expect("an object reads");
                let bytes = object.body.collect().await.expect("a body reads").into_bytes();
                let path = directory.join(key.strip_prefix(prefix).expect("a key begins as asked"));
                fs::create_dir_all(path.parent().expect("a key has a name")).expect("a directory can be made");
                fs::write(path, bytes).expect("a file can be written");
            }
            after = page.next_continuation_token().map(str::to_owned);
            if after.is_none() {
                return;
            }
        }
    }

    /// The key of an object of [`ORIGIN`].
    pub fn key(&self, name: &str) -> String {
        format!("evidence/prod/localhost+test/{name}")
    }
}
