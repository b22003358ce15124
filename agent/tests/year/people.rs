//! What people of the simulated organisation sign, and the timestamp authority that its log is shown to.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use chrono::TimeDelta;
use collectors::contract::BoxFuture;
use evidenced::{
    anchor::{Ask, AskError, Token},
    clock::{Clock as _, SimClock},
    durable::Disk,
    keystore,
};
use signing::{
    approval::{Approval, Kind, Records, Response, Signed, Waiver},
    keys::{FileKey, Signer as _},
    time::Utc,
    timestamp::{Hash, Roots, Verifier},
};

use crate::{
    drive::ORIGIN,
    scenario::{DAY, HOUR, Minute, Random, Scenario},
    tsa::{Make, Tsa, p256, pem},
};

/// How often the log is shown to the authority, at most.
pub const ANCHOR_EVERY: Duration = Duration::from_secs(12 * 3600);
/// For how long before and after the clock is set back the authority does not answer: entries of a clock that shows the same hours twice
/// lie between the same two tokens.
pub const SILENT: Minute = 4 * HOUR;

const PEOPLE: [&str; 2] = ["Ada Lovelace", "Grace Hopper"];
/// The first are promised; the last is not.
const CONTROLS: [&str; 8] = ["AC-01", "AC-02", "AC-03", "BK-01", "CF-01", "CH-01", "SH-01", "ZZ-99"];
/// The last is asked by no job.
const CHECKS: [&str; 6] = [
    "sim/accounts/is-ok",
    "sim/accounts/not-above",
    "sim/hosts/is-ok",
    "sim/logs/not-above",
    "sim/deploys/done",
    "sim/none/done",
];

/// What somebody signs.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its place in [`Scenario::said`], which is its text too.
    pub number: usize,
    pub by: &'static str,
    pub control: Option<&'static str>,
    pub check: Option<&'static str>,
    pub job: Option<usize>,
    /// None: all.
    pub records: Vec<String>,
    /// When a waiver expires; `None`: it is a response.
    pub until: Option<Minute>,
}

impl Said {
    /// Something about what there is, or about what there is not.
    pub fn new(random: &mut Random, scenario: &Scenario, number: usize, at: Minute) -> Self {
        let by = PEOPLE[random.within(0, PEOPLE.len() as i64) as usize];
        let control = CONTROLS[random.within(0, CONTROLS.len() as i64) as usize];
        let check = CHECKS[random.within(0, CHECKS.len() as i64) as usize];
        if random.one_in(4) {
            let (check, job, until) = (None, None, None);
            return Self { number, by, control: Some(control), check, job, records: Vec::new(), until };
        }
        let (control, check) = match random.within(0, 4) {
            0 | 1 => (Some(control), None),
            2 => (None, Some(check)),
            _ => (Some(control), Some(check)),
        };
        let asked = |job: &usize| {
            check.is_none_or(|check| check.rsplit_once('/').is_some_and(|(c, _)| c == scenario.jobs[*job].collector))
        };
        let always = scenario.configs[0].jobs.keys().copied().filter(asked).collect::<Vec<_>>();
        let job =
            (random.one_in(3) && !always.is_empty()).then(|| always[random.within(0, always.len() as i64) as usize]);
        let records = match random.one_in(3) {
            false => Vec::new(),
            true => (1..=6).filter(|_| random.one_in(2)).map(|n| format!("thing-{n:04}")).collect(),
        };
        // Some expire before the authority has seen them.
        let length = match random.within(0, 4) {
            0 => random.within(HOUR, 12 * HOUR),
            1 | 2 => random.within(2 * DAY, 10 * DAY),
            _ => random.within(20 * DAY, 90 * DAY),
        };
        Self { number, by, control, check, job, records, until: Some(at + length) }
    }

    pub fn kind(&self) -> Kind {
        if self.until.is_some() { Kind::Waiver } else { Kind::Response }
    }

    /// Whether it is about something that there is.
    pub fn is_about_something(&self) -> bool {
        self.control != CONTROLS.last().copied() && self.check != CHECKS.last().copied()
    }

    /// As it is signed and logged.
    pub fn sign(&self, scenario: &Scenario, people: &People, made_at: Utc) -> String {
        let (origin, approver, text) = (ORIGIN.to_owned(), self.by.to_owned(), format!("as said {}", self.number));
        let control = self.control.map(str::to_owned);
        let format = self.kind().format().to_owned();
        let approval = match self.until {
            None => Approval::Response(Response {
                format,
                origin,
                approver,
                made_at,
                deviation: None,
                control,
                text,
                remediation: None,
                remediation_by: None,
            }),
            Some(until) => Approval::Waiver(Waiver {
                format,
                origin,
                approver,
                made_at,
                control,
                check: self.check.map(str::to_owned),
                job: self.job.map(|job| scenario.jobs[job].name().parse().unwrap()),
                records: if self.records.is_empty() { Records::ALL } else { Records::These(self.records.clone()) },
                reason: text,
                until: scenario.instant(until),
                compensating: None,
            }),
        };
        let key = PEOPLE.iter().position(|name| *name == self.by).unwrap();
        String::from_utf8(Signed::new(approval, &people.keys[key]).unwrap().to_bytes()).unwrap()
    }

    /// Whether it accepts, or answers, failures of this check on this record, which support these controls.
    pub fn is_about(&self, scenario: &Scenario, job: usize, check: &str, record: &str, controls: &[String]) -> bool {
        let full = format!("{}/{check}", scenario.jobs[job].collector);
        self.control.is_none_or(|control| controls.iter().any(|one| one == control))
            && self.check.is_none_or(|check| check == full)
            && self.job.is_none_or(|one| one == job)
            && (self.records.is_empty() || self.records.iter().any(|one| one == record))
    }
}

/// The keys of people who approve; the owner's `keys.json` names them.
pub struct People {
    keys: Vec<FileKey>,
}

impl People {
    /// Has the owner name them.
    pub fn named(keys: &Path, now: Utc) -> Self {
        let people = Self { keys: PEOPLE.iter().map(|_| FileKey::generate()).collect() };
        let (disk, paths) = (Disk::new(), keystore::Paths::in_dir(keys));
        let root = keystore::read_key(&keys.join("root.pem")).unwrap();
        for (name, key) in PEOPLE.iter().zip(&people.keys) {
            let approver = Some(((*name).to_owned(), *key.public()));
            let change = keystore::Change { approver, ..keystore::Change::default() };
            let draft = keystore::draft(&disk, &paths, &change, now).unwrap();
            keystore::install(&disk, &paths, &draft.sign(&root).unwrap(), now).unwrap();
        }
        people
    }
}

/// An authority with a clock of its own, which is never wrong, and reached as the archive is: when that is away, it is too.
pub struct Authority {
    tsa: Tsa,
    verifier: Verifier,
    scenario: Arc<Scenario>,
    clock: Arc<SimClock>,
    away: Arc<AtomicBool>,
    /// Whether the agent's clock is ahead by [`AHEAD`].
    ahead: Arc<AtomicBool>,
    /// The instants that its tokens say.
    given: Mutex<Vec<Utc>>,
}

/// How far ahead a wrong clock is.
pub const AHEAD: TimeDelta = TimeDelta::days(4000);

impl Authority {
    pub fn new(scenario: &Arc<Scenario>, clock: &Arc<SimClock>, away: &Arc<AtomicBool>) -> Arc<Self> {
        let tsa = Tsa::new(p256(3));
        Arc::new(Self {
            verifier: Verifier::new(tsa.roots()),
            tsa,
            scenario: scenario.clone(),
            clock: clock.clone(),
            away: away.clone(),
            ahead: Arc::default(),
            given: Mutex::default(),
        })
    }

    /// Says whether the agent's clock is ahead by [`AHEAD`].
    pub fn agent_is_ahead(&self, ahead: bool) {
        self.ahead.store(ahead, SeqCst);
    }

    pub fn roots(&self) -> Roots {
        self.tsa.roots()
    }

    /// Of the root, as PEM.
    pub fn certificate(&self) -> String {
        pem(&[&self.tsa.root])
    }

    pub fn given(&self) -> Vec<Utc> {
        self.given.lock().unwrap().clone()
    }

    fn now(&self) -> Utc {
        self.clock.now() - if self.ahead.load(SeqCst) { AHEAD } else { TimeDelta::zero() }
    }

    fn answers(&self) -> Result<(), AskError> {
        let minute = self.scenario.minute(self.now());
        let silent = self.scenario.set_back().any(|at| (at - SILENT..at + SILENT).contains(&minute));
        match silent || self.away.load(SeqCst) {
            true => Err(AskError::Status { status: 503, retry_after: None }),
            false => Ok(()),
        }
    }
}

/// As the agent asks it.
pub struct Asked(pub Arc<Authority>);

impl Ask for Asked {
    fn ask<'a>(&'a self, message: &'a [u8], _: Duration) -> BoxFuture<'a, Result<Token, AskError>> {
        Box::pin(async move {
            self.0.answers()?;
            // Never at an instant at which something is done.
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.0.answers()?;
            let at = self.0.now();
            let make = Make::new(&self.0.tsa).info(|info| {
                info.imprint = Hash::Sha256.of(message);
                info.time = at.format("%Y%m%d%H%M%SZ").to_string();
            });
            let der = make.build();
            let stamp = self.0.verifier.verify(&der, message)?;
            self.0.given.lock().unwrap().push(stamp.at);
            Ok(Token { der, stamp })
        })
    }
}
