//! Drives the real agent through a scenario: its daemon, pipeline, archive and log, over simulated time. Nothing of what is sealed is
//! made here, but for the document of controls.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use chrono::TimeDelta;
use collectors::contract::{BoxFuture, Collector, Source};
use evidenced::{
    anchor::Anchoring,
    archive::{Archive, ArchiveError, Body, Created, DirArchive, Later, SharedReader},
    clock::{Clock as _, SimClock},
    config::{JobSettings, Wish},
    control::{Answer, Ask, Asked},
    daemon::{Daemon, Exit, Settings},
    durable::Disk,
    instance::Instance,
    jobs::Jobs,
    keystore,
    pipeline::{Options, Pipeline},
    run::Place,
};
use serde_json::json;
use signing::{digest::Digest, layout, store::Dir, time::Utc};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    people::{self, Authority, People},
    promises,
    scenario::{Config, Do, Minute, SETTLE, Scenario, TO_SIGN},
    world::Reader,
};

pub const ORIGIN: &str = "test/year";

/// An agent at work.
struct Agent {
    task: JoinHandle<Exit>,
    asked: mpsc::Sender<Asked>,
    signals: mpsc::Sender<()>,
    anchoring: Anchoring,
    _instance: Instance,
}

/// What the simulated agent leaves.
pub struct Left {
    _dir: Option<TempDir>,
    origin: PathBuf,
    /// The root key's fingerprint.
    pub trust: String,
    /// The clock at the end.
    pub now: Utc,
    /// When the log had what people signed, by number.
    pub logged: Vec<Utc>,
    pub authority: Arc<Authority>,
}

impl Left {
    pub fn reader(&self) -> Dir {
        Dir::new(&self.origin)
    }

    pub fn origin(&self) -> &Path {
        &self.origin
    }
}

struct Drive {
    scenario: Arc<Scenario>,
    dir: TempDir,
    clock: Arc<SimClock>,
    away: Arc<AtomicBool>,
    readers: Vec<Arc<Reader>>,
    agent: Option<Agent>,
    people: People,
    authority: Arc<Authority>,
    logged: Vec<Utc>,
    /// When the agent stopped last.
    stopped: Utc,
    /// The reason of the newest controls document, and its digest.
    promised: Option<(String, String)>,
}

/// Makes all of it happen. To be called in a runtime with paused time.
pub async fn drive(scenario: &Arc<Scenario>) -> Left {
    let shared = Path::new("/dev/shm");
    // In memory where there is room, since every object is synced.
    let has_room = rustix::fs::statvfs(shared).is_ok_and(|fs| fs.f_bavail * fs.f_frsize > 2 << 30);
    let dir = if has_room { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
    let clock = Arc::new(SimClock::new(scenario.zero));
    keystore::make(&Disk::new(), &dir.path().join("keys"), ORIGIN, scenario.zero - TimeDelta::days(1)).unwrap();
    let people = People::named(&dir.path().join("keys"), scenario.zero - TimeDelta::hours(12));
    let reader = |(at, plan)| Arc::new(Reader::new(scenario, at, plan));
    let readers = scenario.jobs.iter().enumerate().map(reader).collect();
    let away = Arc::new(AtomicBool::new(false));
    let authority = Authority::new(scenario, &clock, &away);
    let mut drive = Drive {
        scenario: scenario.clone(),
        dir,
        clock,
        away,
        readers,
        agent: None,
        people,
        authority,
        logged: Vec::new(),
        stopped: scenario.zero,
        promised: None,
    };
    for (minute, what) in &scenario.events {
        drive.clock.sleep_until(scenario.done(*minute)).await;
        drive.make_happen(what).await;
    }
    let trust = drive.keys().set.root.fingerprint();
    let origin = drive.dir.path().join("archive").join(layout::origin_directory(ORIGIN));
    let (now, logged, authority) = (drive.stopped, drive.logged, drive.authority);
    let dir = match std::env::var_os("EVIDENCED_YEAR_KEEP") {
        None => Some(drive.dir),
        Some(_) => {
            let dir = drive.dir.keep();
            std::fs::write(dir.join("roots.pem"), authority.certificate()).unwrap();
            println!(
                "evidenced verify {0}/archive --trust {trust} --tsa-roots {0}/roots.pem --as-of {now:?}",
                dir.display()
            );
            None
        }
    };
    Left { origin, trust, now, logged, authority, _dir: dir }
}

impl Drive {
    fn keys(&self) -> keystore::Keys {
        keystore::open(&keystore::Paths::in_dir(&self.dir.path().join("keys"))).unwrap()
    }

    async fn make_happen(&mut self, what: &Do) {
        match what {
            Do::Start(config) => {
                let scenario = self.scenario.clone();
                self.agent = Some(self.start(&scenario.configs[*config]).await);
            }
            Do::Stop => {
                let agent = self.agent.take().unwrap();
                agent.signals.send(()).await.unwrap();
                assert!(matches!(agent.task.await.unwrap(), Exit::Done { .. }));
                self.stopped = self.clock.now();
                agent.anchoring.finish().await;
            }
            Do::Kill => {
                let agent = self.agent.take().unwrap();
                agent.task.abort();
                assert!(agent.task.await.unwrap_err().is_cancelled());
            }
            Do::Away(away) => self.away.store(*away, SeqCst),
            Do::Pause(reason) => self.ask(Ask::Pause { reason: reason.clone() }).await,
            Do::Resume => self.ask(Ask::Resume).await,
            Do::Forward(by) => self.clock.jump(TimeDelta::minutes(*by)),
            Do::Back(by) => self.clock.jump(TimeDelta::minutes(-*by)),
            Do::Wrong(minutes) => {
                self.clock.set_synchronised(Some(false));
                self.authority.agent_is_ahead(true);
                self.clock.jump(people::AHEAD);
                tokio::time::sleep(Duration::from_secs(*minutes as u64 * 60)).await;
                self.authority.agent_is_ahead(false);
                self.clock.jump(-people::AHEAD);
                // Whenever it is asked, it looks at the clock; else within a minute.
                self.ask(Ask::Status).await;
                tokio::time::sleep(Duration::from_secs(120)).await;
                self.clock.set_synchronised(Some(true));
            }
            Do::Sign(number) => {
                self.clock.sleep_until(self.clock.now() + TimeDelta::seconds(TO_SIGN)).await;
                let said = &self.scenario.said[*number];
                let document = said.sign(&self.scenario, &self.people, self.clock.now());
                self.ask(Ask::Approve { document }).await;
                self.logged.push(self.clock.now());
            }
            Do::ByHand(jobs) => {
                let only = jobs.iter().map(|job| self.scenario.jobs[*job].name()).collect::<Vec<_>>();
                let known = self.agent_jobs();
                let only: Vec<String> = only.into_iter().filter(|name| known.contains(name)).collect();
                if !only.is_empty() {
                    self.ask(Ask::Collect { only }).await;
                }
            }
        }
    }

    /// The jobs that the agent at work has.
    fn agent_jobs(&self) -> Vec<String> {
        let now = self.scenario.minute(self.clock.now());
        let config = &self.scenario.configs[self.scenario.config_at(now)];
        let has = |(at, times): (&usize, &Result<_, String>)| times.is_ok().then(|| self.scenario.jobs[*at].name());
        config.jobs.iter().filter_map(has).collect()
    }

    async fn ask(&self, ask: Ask) {
        let (answers, mut lines) = mpsc::unbounded_channel();
        self.agent.as_ref().unwrap().asked.send(Asked { ask: ask.clone(), answers }).await.unwrap();
        while let Some(line) = lines.recv().await {
            assert!(!matches!(line, Answer::Refused(_)), "{ask:?}: {line:?}");
            let waits = matches!(line, Answer::Done { waiting: Some(_), .. });
            assert!(!waits || !matches!(ask, Ask::Approve { .. }), "{ask:?}: {line:?}");
        }
    }

    fn jobs(&self, config: &Config) -> Jobs {
        let source = |name: &str| Source {
            name: name.into(),
            kind: "test".into(),
            identity: json!({"name": name}),
            collectors: config
                .jobs
                .keys()
                .filter(|at| self.scenario.jobs[**at].source == name)
                .map(|at| self.readers[*at].clone() as Arc<dyn Collector>)
                .collect(),
            not_run: None,
        };
        let minutes = |n: Minute| Duration::from_secs(n as u64 * 60);
        let parameters = json!({"most_level": config.most_level});
        Jobs::new(vec![source("prod"), source("test")], &parameters, |job, spec| {
            let at = self.scenario.jobs.iter().position(|plan| plan.name() == job.as_str()).unwrap();
            match &config.jobs[&at] {
                Err(reason) => Wish::Off(reason.clone()),
                Ok(times) => {
                    let (schedule, zone) = times.crontab();
                    Wish::Run(JobSettings {
                        schedule,
                        zone: zone.into(),
                        start_within: minutes(crate::scenario::START_WITHIN),
                        deadline: spec.deadline,
                        grace: minutes(crate::scenario::GRACE),
                        spread: Duration::ZERO,
                        attempts: 3,
                    })
                }
            }
        })
        .unwrap()
    }

    async fn start(&mut self, config: &Config) -> Agent {
        let disk = Disk::new();
        let state_dir = self.dir.path().join("state");
        disk.make_private_dirs(&state_dir).unwrap();
        let instance = Instance::take(&state_dir).unwrap();
        let options = Options {
            state_dir: state_dir.clone(),
            archive: Arc::new(self.archive(&disk)),
            origin: ORIGIN.into(),
            keys: self.keys().into(),
            clock: self.clock.clone(),
            disk: disk.clone(),
            instance: instance.id().into(),
        };
        let pipeline = Arc::new(Pipeline::open(options).await.unwrap());
        let settings = Settings {
            state_dir,
            parallel: 8,
            append_every: Duration::from_secs(600),
            max_spool_bytes: None,
            stop_within: Duration::from_secs(10),
            settle: Duration::from_secs(SETTLE as u64 * 60),
            retention_days: None,
            accept_clock: false,
            place: Place::Shared,
        };
        let jobs = self.jobs(config);
        if self.promised.as_ref().is_none_or(|(reason, _)| *reason != config.reason) {
            let previous = self.promised.take().map(|(_, digest)| digest);
            let promised = promises::controls(&self.scenario, config, &jobs, ORIGIN, previous);
            self.promised = Some((config.reason.clone(), promises::put_in_force(&pipeline, &promised).await));
        }
        let every = people::ANCHOR_EVERY;
        let authorities: Vec<(_, _, Box<dyn evidenced::anchor::Ask>)> =
            vec![("https://authority.test".into(), every, Box::new(people::Asked(self.authority.clone())))];
        let mut anchoring = Anchoring::of(pipeline.clone(), every, false, authorities);
        let mut daemon = Daemon::new(settings, jobs, pipeline, self.clock.clone(), disk).unwrap();
        daemon.show_anchors(anchoring.status());
        anchoring.start();
        let (asked, asks) = mpsc::channel(4);
        let (signals, signalled) = mpsc::channel(4);
        let task = tokio::spawn(daemon.run(asks, signalled));
        Agent { task, asked, signals, anchoring, _instance: instance }
    }

    fn archive(&self, disk: &Disk) -> Later {
        let (dir, disk, away) = (self.dir.path().join("archive"), disk.clone(), self.away.clone());
        let open = move || {
            let opened = match away.load(SeqCst) {
                false => DirArchive::open(&dir, ORIGIN, &disk)
                    .map(|archive| Arc::new(AtTimes { archive, away: away.clone() }) as Arc<dyn Archive>),
                true => Err(gone("open", "")),
            };
            Box::pin(std::future::ready(opened)) as BoxFuture<'static, _>
        };
        Later::new("archive".into(), Box::new(open))
    }
}

fn gone(action: &'static str, name: &str) -> ArchiveError {
    let source = std::io::ErrorKind::ConnectionRefused.into();
    ArchiveError::Io { place: "archive".into(), action, name: name.into(), source }
}

/// An archive that is away at times.
struct AtTimes {
    archive: DirArchive,
    away: Arc<AtomicBool>,
}

impl AtTimes {
    fn there(&self, action: &'static str, name: &str) -> Result<&DirArchive, ArchiveError> {
        match self.away.load(SeqCst) {
            true => Err(gone(action, name)),
            false => Ok(&self.archive),
        }
    }
}

impl Archive for AtTimes {
    fn create<'a>(&'a self, name: &'a str, body: Body) -> BoxFuture<'a, Result<Created, ArchiveError>> {
        Box::pin(async move { self.there("create", name)?.create(name, body).await })
    }

    fn read<'a>(&'a self, name: &'a str, limit: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ArchiveError>> {
        Box::pin(async move { self.there("read", name)?.read(name, limit).await })
    }

    fn digest<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Digest>, ArchiveError>> {
        Box::pin(async move { self.there("read", name)?.digest(name).await })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, ArchiveError>> {
        Box::pin(async move { self.there("list", prefix)?.list(prefix).await })
    }

    fn replace_checkpoint<'a>(
        &'a self,
        old: Option<&'a [u8]>,
        new: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { self.there("replace", "checkpoint")?.replace_checkpoint(old, new).await })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), ArchiveError>> {
        Box::pin(async move { self.there("remove", name)?.remove(name).await })
    }

    fn reader(&self) -> SharedReader {
        self.archive.reader()
    }

    fn place(&self) -> String {
        self.archive.place()
    }
}
