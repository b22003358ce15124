//! What types alone do not refuse: names, schedules and zones, jobs and sources that do not exist, limits that contradict each other.

use std::collections::BTreeSet;

use collectors::contract::Source;
use controls::parse_checks;
use signing::{errors::chain, layout::Job};

use super::{ConfigError, Duration, JobConfig, Loaded, Problem};
use crate::schedule;

/// The longest that fits a plan's seconds with room to add to a slot.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(31 * 86_400);

impl Loaded {
    /// Checks the settings against each other and against the sources, opened from [`Config::sources`](super::Config::sources) in their
    /// order. Gives notes on what is allowed and yet worth a look.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn validate(&self, sources: &[Source]) -> Result<Vec<String>, ConfigError> {
        let mut check = Check { loaded: self, problems: Vec::new(), notes: Vec::new() };
        check.top();
        check.sources();
        check.schedule();
        for (at, job) in self.config.jobs.iter().enumerate() {
            check.job(at, job, sources);
        }
        check.collectors(sources);
        check.promises(sources);
        match check.problems {
            problems if problems.is_empty() => Ok(check.notes),
            problems => Err(ConfigError::new(problems)),
        }
    }
}

struct Check<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Check<'_> {
    /// A mistake at a key. Where the key itself is not written, the nearest one around it that is gives the place.
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let mut around = key;
        let place = loop {
            if let Some(place) = self.loaded.places.get(around) {
                break place.clone();
            }
            match around.rfind(['.', '[']) {
                Some(at) => around = &around[..at],
                None => break String::new(),
            }
        };
        self.problems.push(Problem { place, key: key.to_owned(), message: message.into() });
    }

    fn top(&mut self) {
        let config = &self.loaded.config;
        if let Some(origin) = &config.origin
            && !is_origin(origin)
        {
            self.refuse(
                "origin",
                format!("{origin:?} is no name for a log: write a host name and a path, such as `evidence.acme.example/prod`"),
            );
        }
        if config.period.is_some_and(|period| period.from > period.to) {
            self.refuse("period.to", "the period ends before it begins");
        }
        for (key, path) in [("state_dir", &config.state_dir), ("signing.keys", &config.signing.keys)] {
            if path.as_os_str().is_empty() {
                self.refuse(key, "the path is empty");
            }
        }
        self.keys();
        self.archive();
        self.timestamps();
        self.witnesses();
        if config.parallel_jobs == 0 || config.parallel_jobs > 64 {
            self.refuse("parallel_jobs", format!("{} is not from 1 to 64", config.parallel_jobs));
        }
        if config.append_every < Duration::seconds(1) || config.append_every > Duration::seconds(3600) {
            self.refuse("append_every", format!("{} is not from 1s to 1h", config.append_every));
        }
        if config.stop_within < Duration::seconds(1) {
            self.refuse("stop_within", format!("{} is not enough to finish a write: at least 1s", config.stop_within));
        }
        if config.max_spool_bytes.is_some_and(|bytes| bytes < 1 << 20) {
            self.refuse("max_spool_bytes", "a bundle needs room: at least 1048576 (1 MiB)");
        }
    }

    fn keys(&mut self) {
        let signing = &self.loaded.config.signing;
        let two = [
            ("signing.receipts".to_owned(), &signing.receipts),
            ("signing.checkpoints".to_owned(), &signing.checkpoints),
        ];
        let earlier = signing.earlier.iter().enumerate().map(|(at, key)| (format!("signing.earlier[{at}]"), key));
        for (name, key) in two.into_iter().chain(earlier) {
            for (key, message) in key.problems() {
                self.refuse(&format!("{name}{key}"), message);
            }
        }
        if signing.receipts == signing.checkpoints {
            self.refuse("signing.checkpoints", "receipts and checkpoints are signed with two keys: name another one");
        }
    }

    fn archive(&mut self) {
        let config = &self.loaded.config;
        if let Some(s3) = &config.archive.s3 {
            for (key, message) in s3.problems() {
                self.refuse(&format!("archive.s3.{key}"), message);
            }
            self.notes.extend(s3.notes());
        }
        let Some(directory) = &config.archive.directory else { return };
        if config.archive.s3.is_some() {
            self.refuse("archive.s3", "`archive.directory` is written too: an archive is in one place");
        }
        if directory.as_os_str().is_empty() {
            self.refuse("archive.directory", "the path is empty");
        } else if config.state_dir == *directory {
            self.refuse("state_dir", "state_dir and the archive are two directories: name another one");
        } else if config.state_dir.starts_with(directory) {
            self.refuse(
                "state_dir",
                "state_dir lies in the archive, which auditors are given: name a directory outside of it",
            );
        }
    }

    fn witnesses(&mut self) {
        let witnesses = &self.loaded.config.signing.witnesses;
        for (at, witness) in witnesses.iter().enumerate() {
            for (key, message) in witness.problems() {
                self.refuse(&format!("signing.witnesses[{at}].{key}"), message);
            }
            let key = witness.witness().ok();
            if key.is_some() && witnesses[..at].iter().any(|other| other.witness().ok() == key) {
                self.refuse(&format!("signing.witnesses[{at}].key"), "the same witness is named before: write it once");
            }
        }
    }

    fn timestamps(&mut self) {
        let timestamps = &self.loaded.config.signing.timestamps;
        let (least, longest) = (Duration::seconds(1), Duration::seconds(86_400));
        let within = |length: Duration| length >= least && length <= longest;
        if !within(timestamps.anchor_every) {
            let message = format!("{} is not from 1s to 1d", timestamps.anchor_every);
            self.refuse("signing.timestamps.anchor_every", message);
        }
        for (at, authority) in timestamps.authorities.iter().enumerate() {
            let key = |name: &str| format!("signing.timestamps.authorities[{at}].{name}");
            if let Some(message) = not_an_address(&authority.url) {
                self.refuse(&key("url"), message);
            } else if timestamps.authorities[..at].iter().any(|other| other.url == authority.url) {
                self.refuse(&key("url"), "the same authority is named before: write it once");
            }
            if !within(authority.every) {
                self.refuse(&key("every"), format!("{} is not from 1s to 1d", authority.every));
            }
            if authority.ca.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                self.refuse(&key("ca"), "the path is empty");
            }
        }
        if timestamps.in_seals && timestamps.authorities.is_empty() {
            self.refuse("signing.timestamps.in_seals", "there is nobody to ask: name `authorities` too");
        }
        if timestamps.authorities.len() == 1 {
            self.notes.push(
                "signing.timestamps.authorities: one alone; name a second one, of another operator, for when its key turns out stolen".into(),
            );
        }
    }

    fn sources(&mut self) {
        let mut names = BTreeSet::new();
        for (at, source) in self.loaded.config.sources.iter().enumerate() {
            if Job::new("collector", &source.name).is_err() || source.name.contains('@') || source.name.len() > 40 {
                let message = format!("{:?} is no name: letters, digits, `-`, `_` and `.`, at most 40", source.name);
                self.refuse(&format!("sources[{at}].name"), message);
            } else if !names.insert(&source.name) {
                self.refuse(&format!("sources[{at}].name"), format!("there is another source named {:?}", source.name));
            }
            let (kind, problems) = match (&source.host, &source.aws) {
                (Some(host), None) => ("host", host.problems()),
                (None, Some(aws)) => ("aws", aws.problems()),
                (None, None) => {
                    self.refuse(&format!("sources[{at}]"), "a source needs its kind: write `host: {}` or `aws: {}`");
                    continue;
                }
                (Some(_), Some(_)) => {
                    self.refuse(&format!("sources[{at}]"), "a source is of one kind: write two, each with its name");
                    continue;
                }
            };
            for (key, message) in problems {
                self.refuse(&format!("sources[{at}].{kind}.{key}"), message);
            }
        }
        if self.loaded.config.sources.is_empty() {
            self.refuse("sources", "there is nothing to read: name a source, or leave `sources` out to read this host");
        }
    }

    fn schedule(&mut self) {
        let defaults = &self.loaded.config.schedule;
        if let Err(error) = schedule::parse("@daily", &defaults.zone) {
            self.refuse("schedule.zone", chain(&error));
        }
        self.attempts("schedule.attempts", Some(defaults.attempts));
        for (name, length, least) in [
            ("start_within", defaults.start_within, 1),
            ("grace", defaults.grace, 0),
            ("spread", defaults.spread, 0),
            ("settle", defaults.settle, 1),
        ] {
            self.length(&format!("schedule.{name}"), Some(length), least);
        }
        if defaults.spread > defaults.start_within {
            self.refuse("schedule.spread", "longer than start_within: runs would be missed before they start");
        }
    }

    fn job(&mut self, at: usize, job: &JobConfig, sources: &[Source]) {
        let key = |name: &str| format!("jobs[{at}].{name}");
        let matches = |source: &&Source| job.source.as_ref().is_none_or(|name| *name == source.name);
        let has = |source: &Source| source.collectors.iter().any(|c| c.spec().id == job.collector);
        if !sources.iter().filter(matches).any(has) {
            let known: BTreeSet<&str> =
                sources.iter().flat_map(|source| &source.collectors).map(|c| c.spec().id.as_str()).collect();
            if let Some(name) = &job.source
                && !sources.iter().any(|source| source.name == *name)
            {
                let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
                self.refuse(&key("source"), format!("there is no source {name:?}; there are: {}", names.join(", ")));
            } else {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                self.refuse(
                    &key("collector"),
                    format!("no source has a collector {:?}; there are: {known}", job.collector),
                );
            }
        }
        let jobs = &self.loaded.config.jobs;
        if jobs[..at].iter().any(|other| other.collector == job.collector && other.source == job.source) {
            self.refuse(&key("collector"), "another entry before it is for the same collector and source: write one");
        }
        if !job.enabled && job.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
            self.refuse(&key("enabled"), "a job that is switched off needs a `reason`: auditors read it");
        }
        let zone = job.zone.as_deref().unwrap_or(&self.loaded.config.schedule.zone);
        if let Some(written) = &job.schedule
            && schedule::parse("@daily", zone).is_ok()
            && let Err(error) = schedule::parse(written, zone)
        {
            self.refuse(&key("schedule"), chain(&error));
        }
        if let Some(zone) = &job.zone
            && let Err(error) = schedule::parse("@daily", zone)
        {
            self.refuse(&key("zone"), chain(&error));
        }
        self.attempts(&key("attempts"), job.attempts);
        self.length(&key("deadline"), job.deadline, 1);
        self.length(&key("start_within"), job.start_within, 1);
        self.length(&key("grace"), job.grace, 0);
        self.length(&key("spread"), job.spread, 0);
        let defaults = &self.loaded.config.schedule;
        let written = job.spread.is_some() || job.start_within.is_some();
        if written && job.spread.unwrap_or(defaults.spread) > job.start_within.unwrap_or(defaults.start_within) {
            self.refuse(&key("spread"), "longer than start_within: runs would be missed before they start");
        }
    }

    fn attempts(&mut self, key: &str, attempts: Option<u32>) {
        if attempts.is_some_and(|attempts| attempts == 0 || attempts > 20) {
            self.refuse(key, "a run has from 1 to 20 attempts");
        }
    }

    fn length(&mut self, key: &str, length: Option<Duration>, least_seconds: u64) {
        let Some(length) = length else { return };
        if length.get().subsec_nanos() != 0 {
            self.refuse(key, format!("{length} is not whole seconds, which the plan states"));
        } else if length < Duration::seconds(least_seconds) {
            self.refuse(key, format!("{length} is too short: at least {least_seconds}s"));
        } else if length.get() > LONGEST {
            self.refuse(key, format!("{length} is too long: at most 31d"));
        }
    }

    /// What the sources bring: it is this program's own, so what is wrong in it is wrong in the program.
    fn collectors(&mut self, sources: &[Source]) {
        let mut used = BTreeSet::new();
        for spec in sources.iter().flat_map(|source| &source.collectors).map(|collector| collector.spec()) {
            match parse_checks(&spec.checks) {
                Err(error) => {
                    self.refuse("", format!("{}: its checks cannot be evaluated: {}", spec.id, chain(&error)))
                }
                Ok(checks) => used.extend(checks.iter().flat_map(controls::Check::parameter_names)),
            }
        }
        for name in self.loaded.config.controls.parameters.keys().filter(|name| !used.contains(*name)) {
            self.notes.push(format!("controls.parameters.{name}: no check of these sources looks at it"));
        }
    }
}

impl Check<'_> {
    /// The collectors, checks and sources that written controls name.
    fn promises(&mut self, sources: &[Source]) {
        for written in &self.loaded.written {
            for (key, message) in written.unknown_names(sources) {
                self.problems.push(written.problem(&key, message));
            }
        }
    }
}

/// Why text is no address that a request can be sent to; without what may be a secret.
fn not_an_address(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if !["http", "https"].contains(&scheme) {
        return Some("write an address that begins with http:// or https://".into());
    }
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    if host.contains('@') {
        return Some(
            "the address holds a user or a password: no secret is written here, and timestamps need none".into(),
        );
    }
    (host.is_empty() || url.contains('#') || url.parse::<http::Uri>().is_err())
        .then(|| format!("{url:?} is no address"))
}

/// A schema-less URL, as C2SP tlog-checkpoint recommends for origins, that is a file name too.
pub(crate) fn is_origin(origin: &str) -> bool {
    origin.len() <= 120
        && origin.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && !part.ends_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        })
}
