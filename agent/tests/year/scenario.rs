//! What is made to happen to the simulated agent, minute by minute. All of it follows from the seed; nothing here looks at the agent.

use std::collections::BTreeMap;

use chrono::{Datelike as _, TimeDelta};
use signing::time::Utc;

use crate::{
    people::Said,
    world::{Happening, System, Thing},
};

/// Minutes since midnight of the period's first day.
pub type Minute = i64;
pub const HOUR: Minute = 60;
pub const DAY: Minute = 24 * HOUR;

/// How long after its slot a run may start, and from when on it is late.
pub const START_WITHIN: Minute = 20;
pub const GRACE: Minute = 5;
/// How long a run may take, and how long from its end into the log.
pub const DEADLINE: Minute = 60;
pub const SETTLE: Minute = 10;
/// What is made to happen happens so long after the full minute: never at a slot.
pub const AFTER: i64 = 10;
/// So many seconds after that somebody signs: never when the authority is asked.
pub const TO_SIGN: i64 = 20;

/// What a job's system gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Things that there are.
    State,
    /// What happened within a window.
    Events,
    /// A list of all that ever happened.
    Dated,
}

impl Reads {
    pub fn kind(self) -> &'static str {
        match self {
            Self::State => "thing",
            Self::Events => "event",
            Self::Dated => "review",
        }
    }
}

/// When a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// At each multiple of so many minutes, which divide a day.
    Every(Minute),
    /// At half past two in Berlin.
    Berlin,
    /// Each Sunday at 04:00 UTC.
    Sunday,
}

impl Times {
    pub fn crontab(self) -> (String, &'static str) {
        match self {
            Self::Every(30) => ("*/30 * * * *".into(), "UTC"),
            Self::Every(60) => ("0 * * * *".into(), "UTC"),
            Self::Every(DAY) => ("0 0 * * *".into(), "UTC"),
            Self::Every(minutes) => (format!("0 */{} * * *", minutes / HOUR), "UTC"),
            Self::Berlin => ("30 2 * * *".into(), "Europe/Berlin"),
            Self::Sunday => ("0 4 * * sun".into(), "UTC"),
        }
    }
}

/// A job.
#[derive(Debug, Clone)]
pub struct JobPlan {
    pub collector: &'static str,
    pub source: &'static str,
    pub reads: Reads,
    pub times: Times,
    /// The evidence items of its two checks; of events, of its one.
    pub items: [&'static str; 2],
}

impl JobPlan {
    pub fn name(&self) -> String {
        format!("{}@{}", self.collector, self.source)
    }

    pub fn checks(&self) -> String {
        let [first, second] = self.items;
        match self.reads {
            Reads::State => format!(
                "
- {{id: is-ok, item: {first}, population: 'thing | .active', exempt: .exempt, pass: .ok, says: '{{id}} is not ok'}}
- id: not-above
  item: {second}
  population: thing
  pass: .level <= $parameters.most_level
  says: '{{id}} is above'
  parameters: {{most_level: 90}}
"
            ),
            reads => format!(
                "[{{id: done, item: {first}, population: {}, pass: .ok, says: '{{id}} was not done'}}]",
                reads.kind()
            ),
        }
    }
}

/// What a system does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Good,
    /// Good, after [`crate::world::SLOW`].
    Slow,
    /// The first half of the list, without its end.
    Half,
    /// Refused.
    Denied,
    /// Fails, each time.
    Error,
    /// Fails once.
    ErrorThenGood,
    /// Nothing, for ever.
    Hang,
    /// The first half, then nothing for ever.
    HangHalf,
}

/// What is done to the agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Do {
    /// With a configuration.
    Start(usize),
    Stop,
    Kill,
    Away(bool),
    Pause(String),
    Resume,
    /// The clock goes so many minutes forward at once, and a second clock agrees.
    Forward(Minute),
    /// The clock goes years forward, nothing agrees, and after so many minutes it is right again.
    Wrong(Minute),
    /// The clock goes back.
    Back(Minute),
    ByHand(Vec<usize>),
    /// Somebody signs this, [`TO_SIGN`] later.
    Sign(usize),
}

/// What a start is configured with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Jobs that it has, each with its times or why it is off.
    pub jobs: BTreeMap<usize, Result<Times, String>>,
    pub most_level: i64,
    /// Which text of the controls.
    pub text: usize,
    /// How often a control must operate that changes.
    pub weekly: bool,
    pub reason: String,
}

pub struct Scenario {
    pub seed: u64,
    pub zero: Utc,
    /// Days of the period.
    pub days: i64,
    pub jobs: Vec<JobPlan>,
    pub systems: Vec<System>,
    pub configs: Vec<Config>,
    /// What people sign, by number.
    pub said: Vec<Said>,
    /// In order of time.
    pub events: Vec<(Minute, Do)>,
    /// Stretches in and before which nothing may be slow.
    busy: Vec<(Minute, Minute)>,
    acts: BTreeMap<(usize, Minute), Act>,
}

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[from, to)`.
    pub fn within(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from).max(1) as u64) as i64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

const JOBS: [(&str, &str, Reads, Times, [&str; 2]); 12] = [
    ("sim/accounts", "prod", Reads::State, Times::Every(30), ["mfa_user_enrolled", "least_privilege_admins"]),
    ("sim/accounts", "test", Reads::State, Times::Every(30), ["mfa_user_enrolled", "least_privilege_admins"]),
    ("sim/hosts", "prod", Reads::State, Times::Every(30), ["mfa_root_privileged", "unique_user_ids"]),
    ("sim/hosts", "test", Reads::State, Times::Every(30), ["mfa_root_privileged", "unique_user_ids"]),
    ("sim/buckets", "prod", Reads::State, Times::Every(60), ["mfa_enforced_policy", "dormant_accounts"]),
    ("sim/logs", "prod", Reads::State, Times::Every(60), ["credential_key_age", "dormant_accounts"]),
    ("sim/keys", "test", Reads::State, Times::Every(60), ["privileged_access_trend", "deprovision_timely"]),
    ("sim/patches", "prod", Reads::State, Times::Berlin, ["access_provision_approved", "deprovision_timely"]),
    ("sim/network", "prod", Reads::State, Times::Sunday, ["access_review_remediated", "deprovision_timely"]),
    ("sim/deploys", "prod", Reads::Events, Times::Every(60), ["change_reviewed", ""]),
    ("sim/backups", "prod", Reads::Events, Times::Every(4 * HOUR), ["backup_job_success", ""]),
    ("sim/reviews", "prod", Reads::Dated, Times::Every(DAY), ["access_review_completed", ""]),
];
/// Jobs by their place in [`JOBS`].
pub const KEYS: usize = 6;
pub const NETWORK: usize = 8;

impl Scenario {
    /// A period of so many days; the agent stops `after` minutes past its end (before it, where negative).
    pub fn new(seed: u64, zero: Utc, days: i64, after: Minute) -> Self {
        let mut random = Random::new(seed);
        let jobs: Vec<JobPlan> = JOBS
            .into_iter()
            .map(|(collector, source, reads, times, items)| JobPlan { collector, source, reads, times, items })
            .collect();
        let minutes = days * DAY;
        let systems = jobs.iter().map(|job| system(&mut random, job.reads, minutes + DAY * 30)).collect();
        let mut scenario = Self {
            seed,
            zero,
            days,
            configs: configs(&jobs),
            jobs,
            systems,
            said: Vec::new(),
            events: Vec::new(),
            busy: Vec::new(),
            acts: BTreeMap::new(),
        };
        scenario.systems[KEYS].absent.push((minutes * 6 / 10, minutes * 7 / 10));
        scenario.happen(&mut random, minutes + after);
        scenario.sign(&mut random);
        scenario
    }

    pub fn instant(&self, minute: Minute) -> Utc {
        self.zero + TimeDelta::minutes(minute)
    }

    /// The instant at which something is done.
    pub fn done(&self, minute: Minute) -> Utc {
        self.instant(minute) + TimeDelta::seconds(AFTER)
    }

    /// The minute that an instant lies in.
    pub fn minute(&self, at: Utc) -> Minute {
        (at - self.zero).num_seconds().div_euclid(60)
    }

    /// The first full minute at or after an instant.
    pub fn minute_up(&self, at: Utc) -> Minute {
        -(-(at - self.zero).num_seconds()).div_euclid(60)
    }

    /// When the agent is stopped for good.
    pub fn end(&self) -> Minute {
        self.events.last().map_or(0, |(minute, _)| *minute)
    }

    /// When the clock is set back.
    pub fn set_back(&self) -> impl Iterator<Item = Minute> {
        self.events.iter().filter(|(_, what)| matches!(what, Do::Back(_))).map(|(at, _)| *at)
    }

    /// Which configuration the newest start had.
    pub fn config_at(&self, minute: Minute) -> usize {
        let starts = self.events.iter().take_while(|(at, _)| *at <= minute);
        starts
            .filter_map(|(_, what)| if let Do::Start(config) = what { Some(*config) } else { None })
            .last()
            .unwrap_or(0)
    }

    /// What a system does that is asked in this minute.
    pub fn act(&self, job: usize, minute: Minute) -> Act {
        if let Some(act) = self.acts.get(&(job, minute)) {
            return *act;
        }
        let quiet = || !self.busy.iter().any(|(from, to)| from - 130 <= minute && minute <= to + 1);
        match Random::new(self.seed ^ (job as u64) << 48 ^ minute as u64).within(0, 10_000) {
            0..60 => Act::Half,
            60..100 => Act::Denied,
            100..120 => Act::Error,
            120..160 => Act::ErrorThenGood,
            160..180 if quiet() => Act::Slow,
            _ => Act::Good,
        }
    }

    /// What a job's times name in `[from, to)`.
    pub fn slots(&self, times: Times, from: Minute, to: Minute) -> Vec<Minute> {
        let first_day = from.div_euclid(DAY) - 1;
        let days = first_day..to.div_euclid(DAY) + 2;
        let all: Vec<Minute> = match times {
            Times::Every(minutes) => {
                let first = -(-from).div_euclid(minutes) * minutes;
                return (first..to).step_by(minutes as usize).collect();
            }
            Times::Berlin => days.map(|day| day * DAY + self.berlin(day)).collect(),
            Times::Sunday => {
                let is_sunday = |day: &i64| self.instant(day * DAY).weekday() == chrono::Weekday::Sun;
                days.filter(is_sunday).map(|day| day * DAY + 4 * HOUR).collect()
            }
        };
        all.into_iter().filter(|slot| from <= *slot && *slot < to).collect()
    }

    /// Half past two in Berlin as minutes of a day in UTC. In the European Union clocks change at 01:00 UTC on the last Sundays of March
    /// and October (Directive 2000/84/EC): on the first that time is skipped and three o'clock comes for it, on the second the first of
    /// two counts.
    fn berlin(&self, day: i64) -> Minute {
        let date = self.instant(day * DAY).date_naive();
        let last_sunday = |month: u32| {
            let last = chrono::NaiveDate::from_ymd_opt(date.year(), month, 31).expect("both months have 31 days");
            last - TimeDelta::days(i64::from(last.weekday().num_days_from_sunday()))
        };
        let (spring, autumn) = (last_sunday(3), last_sunday(10));
        if date == spring {
            60
        } else if spring < date && date <= autumn {
            30
        } else {
            90
        }
    }

    /// Incidents one after another, with some hours of quiet between.
    fn happen(&mut self, random: &mut Random, end: Minute) {
        // The period begins before anything runs.
        let mut at = 2 * DAY + 7 * HOUR + 7;
        self.events.push((at, Do::Start(0)));
        let mut config = 0;
        let mut long = false;
        loop {
            at += random.within(8, 60) * HOUR;
            at = at.div_euclid(HOUR) * HOUR + random.within(7, 16);
            if at + 3 * DAY > end {
                break;
            }
            let begun = at;
            let due = (config + 1) < self.configs.len() && at > end * (config as i64 + 1) / self.configs.len() as i64;
            let kind = if due { 100 } else { random.within(0, 12) };
            let mut length = random.within(10, 100);
            if random.one_in(3) {
                length = random.within(2, 30) * HOUR;
            }
            if !long && at > end / 3 && at + 6 * DAY < end && kind < 2 {
                (long, length) = (true, 4 * DAY);
            }
            // Nothing ends at a slot, nor when one can no longer start, nor before it began.
            let ends = |begun: Minute, length: Minute| {
                let at = begun + length;
                (at.div_euclid(30) * 30 + 7 + at.rem_euclid(9)).max(begun + 1)
            };
            let job = random.within(0, self.jobs.len() as i64) as usize;
            match kind {
                100 => {
                    config += 1;
                    at = ends(at, random.within(1, 90));
                    self.events.extend([(begun, Do::Stop), (at, Do::Start(config))]);
                }
                0 | 1 => {
                    at = ends(at, length);
                    self.events.extend([(begun, Do::Stop), (at, Do::Start(config))]);
                }
                2 => {
                    at = ends(at, length);
                    self.events.extend([(begun, Do::Kill), (at, Do::Start(config))]);
                }
                3 | 4 => {
                    // In the midst of a run that began at the full hour.
                    let act = if kind == 3 { Act::Hang } else { Act::HangHalf };
                    let end_it = if kind == 3 { Do::Kill } else { Do::Stop };
                    self.acts.insert((job, begun.div_euclid(HOUR) * HOUR), act);
                    at = if random.one_in(2) { begun + 1 } else { ends(at, length) };
                    self.events.extend([(begun, end_it), (at, Do::Start(config))]);
                }
                5 => {
                    at = ends(at, length);
                    self.events.extend([(begun, Do::Away(true)), (at, Do::Away(false))]);
                }
                6 => {
                    let down = ends(at, length);
                    let up = ends(down, 45);
                    at = ends(up, length);
                    let restart = [(down, Do::Kill), (up, Do::Start(config))];
                    self.events.push((begun, Do::Away(true)));
                    self.events.extend(restart);
                    self.events.push((at, Do::Away(false)));
                }
                7 => {
                    at = ends(at, length);
                    let why = format!("work on the systems {begun}");
                    self.events.extend([(begun, Do::Pause(why)), (at, Do::Resume)]);
                }
                8 => {
                    let to = ends(at, length);
                    self.events.push((begun, Do::Forward(to - begun)));
                    at = to;
                }
                9 => {
                    at = ends(at, random.within(30, 6 * HOUR));
                    self.events.push((begun, Do::Wrong(at - begun)));
                }
                10 => {
                    self.events.push((begun, Do::Back(random.within(20, 3 * HOUR))));
                    at += 4 * HOUR;
                }
                _ => {
                    let jobs = (0..self.jobs.len()).filter(|_| random.one_in(3)).collect();
                    self.events.push((begun, Do::ByHand(jobs)));
                }
            }
            self.busy.push((begun, at));
        }
        self.busy.push((end, end));
        let end = end.div_euclid(HOUR) * HOUR + 7;
        self.events.push((end, Do::Stop));
    }

    /// In quiet hours people sign.
    fn sign(&mut self, random: &mut Random) {
        let (mut at, end) = (3 * DAY, self.end());
        loop {
            at = (at + random.within(3, 40) * HOUR).div_euclid(HOUR) * HOUR + random.within(7, 16);
            if at + DAY > end {
                break;
            }
            if self.busy.iter().all(|(from, to)| at < from - HOUR || to + HOUR < at) {
                self.said.push(Said::new(random, self, self.said.len(), at));
                self.events.push((at, Do::Sign(self.said.len() - 1)));
            }
        }
        self.events.sort_by_key(|(at, _)| *at);
    }
}

fn configs(jobs: &[JobPlan]) -> Vec<Config> {
    let all = || jobs.iter().enumerate().map(|(at, job)| (at, Ok(job.times))).collect::<BTreeMap<_, _>>();
    let mut first = all();
    first.remove(&KEYS);
    let base = Config { jobs: first, most_level: 90, text: 0, weekly: true, reason: String::new() };
    // Each is the one before with one change.
    let mut configs = vec![base.clone()];
    let mut change = |reason: &str, change: &dyn Fn(&mut Config)| {
        let mut next = configs.last().expect("there is a first one").clone();
        change(&mut next);
        next.reason = reason.into();
        configs.push(next);
    };
    change("keys came into use", &|c| {
        c.jobs.insert(KEYS, Ok(Times::Every(60)));
    });
    change("hosts are many", &|c| {
        c.jobs.insert(3, Ok(Times::Every(60)));
    });
    change("a lower limit was decided", &|c| c.most_level = 80);
    change("the logs are looked at each day", &|c| c.weekly = false);
    change("the network moved", &|c| {
        c.jobs.insert(NETWORK, Err("the network moved to a provider".into()));
    });
    change("wording", &|c| c.text = 1);
    configs
}

fn system(random: &mut Random, reads: Reads, minutes: Minute) -> System {
    match reads {
        Reads::State => System { states: states(random, minutes), ..System::default() },
        Reads::Events => System { happenings: happenings(random, minutes, 7 * HOUR, 90), ..System::default() },
        Reads::Dated => System { happenings: happenings(random, minutes, 12 * DAY, DAY), ..System::default() },
    }
}

fn happenings(random: &mut Random, minutes: Minute, apart: Minute, decided: Minute) -> Vec<Happening> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < minutes {
        at += random.within(apart / 6, apart * 2);
        let happening = Happening {
            id: format!("event-{:05}", all.len()),
            at: at.div_euclid(30) * 30 + 1 + at.rem_euclid(5),
            decided: at + random.within(1, decided),
            ok: !random.one_in(15),
        };
        all.push(happening);
    }
    all
}

fn states(random: &mut Random, minutes: Minute) -> Vec<(Minute, BTreeMap<String, Thing>)> {
    let mut things = BTreeMap::new();
    let mut made = 0;
    let mut add = |random: &mut Random, things: &mut BTreeMap<String, Thing>| {
        made += 1;
        let thing = Thing {
            ok: !random.one_in(12),
            level: random.within(0, 93),
            active: true,
            exempt: random.one_in(9),
            admin: random.one_in(5),
        };
        things.insert(format!("thing-{made:04}"), thing);
    };
    for _ in 0..random.within(4, 9) {
        add(random, &mut things);
    }
    let mut all = vec![(Minute::MIN, things.clone())];
    let mut at = 0;
    while at < minutes {
        at += random.within(HOUR, 5 * DAY);
        let one = random.within(0, things.len() as i64) as usize;
        let Some(id) = things.keys().nth(one).cloned() else { continue };
        match random.within(0, 12) {
            0 => add(random, &mut things),
            1 if things.len() > 3 => drop(things.remove(&id)),
            kind => {
                let Some(thing) = things.get_mut(&id) else { continue };
                match kind {
                    2 => thing.active = !thing.active,
                    3 => thing.exempt = !thing.exempt,
                    4 => thing.admin = !thing.admin,
                    5 => thing.level = random.within(0, 99),
                    _ => thing.ok = !thing.ok || random.one_in(3),
                }
            }
        }
        all.push((at.div_euclid(30) * 30 + 1 + at.rem_euclid(5), things.clone()));
    }
    all
}
