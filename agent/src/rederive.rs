//! Derives a sealed bundle's records from its exchanges again, and its results from those, with this program's collectors and the
//! checks that the bundle carries. It asks no system anything, and believes nothing that the bundle says of itself.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use collectors::{
    contract::{Collector, Evidence, Exchange},
    recorder::EXCHANGES,
    window::Decided,
};
use controls::Results;
use sha2::{Digest as _, Sha256};
use signing::{
    bundle::{self, Bundle, CHECKS, ChecksDocument, RunFacts},
    statement::{Counts, Receipt},
    verify::{Derived, Rederive},
};
use tempfile::SpooledTempFile;

use crate::{
    jobs::Checks,
    run::{
        NOT_DERIVED, NOT_KEPT,
        derive::{Follows, counts, derive, sealed},
    },
};

/// Every collector of this program, by id.
pub struct Collectors(BTreeMap<String, Arc<dyn Collector>>);

impl Collectors {
    /// Those that are built in. Deriving needs no configuration and no host.
    pub fn built_in() -> Self {
        Self::of(collectors::built_in())
    }

    /// These.
    pub fn of(all: impl IntoIterator<Item = Arc<dyn Collector>>) -> Self {
        Self(all.into_iter().map(|collector| (collector.spec().id.clone(), collector)).collect())
    }
}

/// What differs, by file.
type Differences = Vec<(String, String)>;

impl Rederive for Collectors {
    fn rederive(
        &self,
        bundle: &mut Bundle<SpooledTempFile>,
        facts: &RunFacts,
        receipt: &Receipt,
    ) -> Result<Derived, String> {
        let (id, version) = (&facts.collector.id, facts.collector.version);
        let collector = match self.0.get(id) {
            None => return Ok(Derived::Unknown(format!("this program has no collector {id}"))),
            Some(found) if found.spec().version != version => {
                let here = found.spec().version;
                return Ok(Derived::Unknown(format!("they are by version {version} of {id}; this program has {here}")));
            }
            Some(found) => found,
        };
        if let Some(why) = not_derived(facts) {
            return Ok(Derived::Unknown(format!("the agent had none to seal: {why}")));
        }
        let work = tempfile::tempdir().map_err(|e| format!("no temporary directory: {e}"))?;
        let checks = match checks(bundle) {
            Ok(checks) => checks,
            Err(says) => return Ok(Derived::Other(vec![(CHECKS.into(), says)])),
        };
        let lines = work.path().join(EXCHANGES);
        let evidence = match Zipped::new(bundle, &lines) {
            Ok(evidence) => evidence,
            Err(e) => return Err(format!("{EXCHANGES} could not be unpacked: {e}")),
        };
        // A collector that panics on these exchanges did so, or would have, in the agent too.
        let derived = catch_unwind(AssertUnwindSafe(|| derive(collector.as_ref(), &evidence, work.path(), &checks)));
        let follows = match derived.unwrap_or_else(|_| Err(io::Error::other("the collector panicked"))) {
            Ok(done) => done,
            Err(e) => return Ok(Derived::Other(vec![("records".into(), format!("cannot be derived: {e}"))])),
        };
        let mut differences = said(&follows, facts);
        for kind in &collector.spec().kinds {
            let name = format!("records/{kind}.jsonl");
            let file = File::open(work.path().join(&name)).map_err(|e| format!("{name}, derived again: {e}"))?;
            if let Some(says) = compare(bundle, &name, BufReader::new(file))? {
                differences.push((name, says));
            }
        }
        differences.extend(compare_results(bundle, follows.results, facts, receipt));
        Ok(if differences.is_empty() { Derived::Same } else { Derived::Other(differences) })
    }
}

/// Why the agent had no records to seal: its collector failed while deriving, or what was read could not be in a bundle.
fn not_derived(facts: &RunFacts) -> Option<&str> {
    let said = |why: &str| [NOT_DERIVED, NOT_KEPT].iter().any(|begin| why.starts_with(begin));
    let why = |population: &bundle::Population| matches!(population, bundle::Population::Unread(why) if said(why));
    let all = !facts.populations.is_empty() && facts.populations.values().all(why);
    facts.populations.values().find_map(|population| match population {
        bundle::Population::Unread(why) if all => Some(why.as_str()),
        _ => None,
    })
}

/// The checks that the bundle says its results came from; whether the plan named them is for whoever reads plans.
fn checks(bundle: &mut Bundle<SpooledTempFile>) -> Result<Checks, String> {
    let bytes = bundle.file(CHECKS).map_err(|e| e.to_string())?;
    let document = ChecksDocument::from_bytes(&bytes).map_err(|e| e.to_string())?;
    Checks::new(&document.checks, document.parameters).map_err(|e| format!("{e:#}"))
}

/// What `run.json` says of the lists.
fn said(follows: &Follows, facts: &RunFacts) -> Differences {
    let derived = &follows.derived;
    let mut differences = Vec::new();
    let mut differ = |what: &str| differences.push((bundle::RUN_FACTS.to_owned(), format!("{what} do not follow")));
    if sealed(&derived.populations) != facts.populations {
        differ("its populations");
    }
    if derived.gaps != facts.gaps {
        differ("its gaps");
    }
    if derived.records != facts.records {
        differ("its numbers of records");
    }
    // An attempt that ended too early kept no window, and read none.
    let follows = match (&facts.window, &follows.window) {
        (None, None) => true,
        (Some(said), None) => !said.whole,
        (None, Some(_)) => false,
        (Some(said), Some(Decided { window, previous, .. })) => {
            (said.from, said.to, said.previous) == (window.from, window.to, *previous)
                && (follows.read_all || !said.whole)
        }
    };
    if !follows {
        differ("its window");
    }
    differences
}

/// Where a file of the bundle and the one derived again part; `None` where they are the same.
fn compare(
    bundle: &mut Bundle<SpooledTempFile>,
    name: &str,
    mut derived: impl BufRead,
) -> Result<Option<String>, String> {
    if bundle.length(name).is_none() {
        return Ok(Some("is not in the bundle".to_owned()));
    }
    let mut sealed = BufReader::new(bundle.stream(name).map_err(|e| e.to_string())?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for line in 1_u64.. {
        ours.clear();
        theirs.clear();
        derived.read_until(b'\n', &mut ours).map_err(|e| format!("{name}, derived again: {e}"))?;
        sealed.read_until(b'\n', &mut theirs).map_err(|e| format!("{name}: {e}"))?;
        match (ours.is_empty(), theirs.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => return Ok(Some(format!("has more records than the {} derived again", line - 1))),
            (false, true) => return Ok(Some(format!("ends before record {line}, which derives again"))),
            _ if ours != theirs => return Ok(Some(format!("record {line} is not the one derived again"))),
            _ => {}
        }
    }
    Ok(None)
}

/// `results.json` against the checks on the records derived again, and the receipt's numbers against `results.json`.
fn compare_results(
    bundle: &mut Bundle<SpooledTempFile>,
    derived: Results,
    facts: &RunFacts,
    receipt: &Receipt,
) -> Differences {
    let name = "results.json";
    let mut differences = Vec::new();
    let mut differ = |says: String| differences.push((name.to_owned(), says));
    let sealed = bundle.stream(name).map_err(|e| e.to_string());
    let sealed = sealed.and_then(|file| Results::read(BufReader::new(file)).map_err(|e| e.to_string()));
    let sealed = match sealed {
        Ok(sealed) => sealed,
        Err(e) => {
            differ(e);
            return differences;
        }
    };
    // Titles, criteria and an item's own parameters come from the catalogue, which another version may have revised.
    let same_program = facts.agent.version == env!("CARGO_PKG_VERSION");
    if sealed.checks.len() != derived.checks.len() {
        differ(format!("it has {} checks; its {CHECKS} has {}", sealed.checks.len(), derived.checks.len()));
    }
    for (sealed, mut derived) in sealed.checks.iter().zip(derived.checks) {
        if !same_program {
            derived.title.clone_from(&sealed.title);
            derived.criteria.clone_from(&sealed.criteria);
            derived.definition.parameters.clone_from(&sealed.definition.parameters);
        }
        if *sealed != derived {
            differ(format!("the check {} does not give this on the records derived again", sealed.id));
        }
    }
    if counts(sealed.totals()) != receipt.totals {
        differ("its totals are not the receipt's".to_owned());
    }
    if let Some(checks) = &receipt.checks {
        let of: BTreeMap<String, Counts> = sealed.checks.iter().map(|c| (c.id.clone(), counts(c.counts()))).collect();
        if of != *checks {
            differ("its numbers for single checks are not the receipt's".to_owned());
        }
    }
    differences
}

/// A bundle's exchanges: their lines unpacked, since they are gone through more than once, and their bodies read from the ZIP.
struct Zipped<'a> {
    bundle: Mutex<&'a mut Bundle<SpooledTempFile>>,
    lines: &'a Path,
}

impl<'a> Zipped<'a> {
    /// Unpacks the lines into a new file.
    fn new(bundle: &'a mut Bundle<SpooledTempFile>, lines: &'a Path) -> io::Result<Self> {
        let mut file = bundle.stream(EXCHANGES).map_err(io::Error::other)?;
        io::copy(&mut file, &mut File::options().write(true).create_new(true).open(lines)?)?;
        Ok(Self { bundle: Mutex::new(bundle), lines })
    }
}

impl Evidence for Zipped<'_> {
    fn exchanges(&self) -> Box<dyn Iterator<Item = io::Result<Exchange>> + '_> {
        match File::open(self.lines) {
            Err(e) => Box::new(std::iter::once(Err(e))),
            Ok(file) => {
                Box::new(BufReader::new(file).lines().map(|line| {
                    serde_json::from_str(&line?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
                }))
            }
        }
    }

    fn body(&self, exchange: &Exchange) -> io::Result<Vec<u8>> {
        let Some(name) = &exchange.body else { return Ok(Vec::new()) };
        let mut bundle = self.bundle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = bundle.stream(name).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if Some(hex::encode(Sha256::digest(&bytes))) != exchange.sha256 {
            let says = format!("{name} is not what exchange {} kept", exchange.number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, says));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::{
        fs,
        io::{Seek as _, Write as _},
        path::Path,
    };

    use collectors::{
        contract::{Context, WindowSpec},
        host::{self, access::Host, config::HostConfig},
        recorder::{Recorder, WorkEvidence},
    };
    use serde_json::Value;
    use signing::{
        bundle::{Agent, Attempt, CollectorFacts, RUN_FACTS_FORMAT, SourceFacts},
        digest::Digest,
        layout::Job,
        statement::{Outcome, Window},
        time::Utc,
    };

    use super::*;

    /// A run of a host collector on a root directory of its own, as a directory to be bundled, with its facts and receipt.
    async fn run(id: &str, work: &Path) -> (RunFacts, Receipt) {
        run_with(id, work, None).await
    }

    async fn run_with(id: &str, work: &Path, window: Option<Decided>) -> (RunFacts, Receipt) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/h:/bin/sh\n")
            .unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nsudo:x:27:bob\n").unwrap();
        let config = HostConfig { root: root.path().to_owned(), ..HostConfig::default() };
        let all = host::all(&Host::new(&config.root, None), &config);
        let collector = all.into_iter().find(|collector| collector.spec().id == id).unwrap();
        let at: Utc = "2026-11-22T04:00:00Z".parse().unwrap();
        let mut recorder = Recorder::new(work).unwrap();
        if let Some(window) = &window {
            window.keep(&mut recorder, at).unwrap();
        }
        let mut context =
            Context { recorder: &mut recorder, now: Arc::new(move || at), inputs: Vec::new(), window: None };
        collector.collect(&mut context).await.unwrap();
        let spec = collector.spec();
        let checks = Checks::new(&spec.checks, Value::Null).unwrap();
        let Follows { derived, results, read_all, .. } =
            derive(collector.as_ref(), &WorkEvidence::new(work), work, &checks).unwrap();
        fs::write(work.join("results.json"), results.to_bytes()).unwrap();
        fs::write(work.join(CHECKS), checks.document()).unwrap();
        let facts = RunFacts {
            format: RUN_FACTS_FORMAT.into(),
            job: Job::new(id, "this").unwrap(),
            slot: None,
            source: SourceFacts { name: "this".into(), kind: "host".into(), identity: Value::Null },
            collector: CollectorFacts { id: id.into(), version: spec.version },
            agent: Agent { version: env!("CARGO_PKG_VERSION").into() },
            plan: Digest::of(b"plan"),
            started_at: at,
            ended_at: at,
            attempts: vec![Attempt { started_at: at, ended_at: at, error: None }],
            outcome: Outcome::Partial,
            reason: String::new(),
            late: false,
            populations: sealed(&derived.populations),
            gaps: derived.gaps,
            records: derived.records.clone(),
            window: window.map(|Decided { window, previous, .. }| Window {
                from: window.from,
                to: window.to,
                whole: read_all,
                previous,
            }),
            inputs: Vec::new(),
        };
        let totals = results.totals();
        let receipt = Receipt {
            job: facts.job.clone(),
            slot: None,
            started_at: at,
            ended_at: at,
            attempts: 1,
            late: false,
            outcome: Outcome::Partial,
            reason: String::new(),
            records: derived.records.values().sum(),
            totals: counts(totals),
            results: Digest::of(&results.to_bytes()),
            checks: None,
            window: None,
        };
        (facts, receipt)
    }

    fn rederive(work: &Path, facts: &RunFacts, receipt: &Receipt) -> Derived {
        let mut zip = SpooledTempFile::new(1 << 20);
        fs::write(work.join(bundle::RUN_FACTS), serde_json::to_vec(facts).unwrap()).unwrap();
        bundle::write(work, &mut zip).unwrap();
        zip.flush().unwrap();
        zip.rewind().unwrap();
        let mut bundle = Bundle::open(zip, bundle::MAX_UNPACKED).unwrap();
        Collectors::built_in().rederive(&mut bundle, facts, receipt).unwrap()
    }

    #[tokio::test]
    async fn records_and_results_of_a_run_derive_again_to_the_same_bytes() {
        let work = tempfile::tempdir().unwrap();
        let (facts, receipt) = run("host/accounts", work.path()).await;
        assert!(receipt.records > 0);
        assert_eq!(rederive(work.path(), &facts, &receipt), Derived::Same);
    }

    #[tokio::test]
    async fn a_record_a_result_and_a_number_that_do_not_follow_are_named() {
        let work = tempfile::tempdir().unwrap();
        let (facts, receipt) = run("host/accounts", work.path()).await;
        let other = |derived| match derived {
            Derived::Other(files) => files,
            other => panic!("{other:?}"),
        };
        let (kind, _) = facts.records.iter().find(|(_, count)| **count > 0).unwrap();
        let name = format!("records/{kind}.jsonl");
        let path = work.path().join(&name);
        let sealed = fs::read_to_string(&path).unwrap();
        fs::write(&path, sealed.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let files = other(rederive(work.path(), &facts, &receipt));
        assert!(files.iter().any(|(file, _)| *file == name), "{files:?}");
        fs::write(&path, &sealed).unwrap();

        let path = work.path().join("results.json");
        let results = fs::read_to_string(&path).unwrap();
        fs::write(&path, results.replacen("\"pass\":", "\"pass\":1", 1)).unwrap();
        let files = other(rederive(work.path(), &facts, &receipt));
        assert!(files.iter().any(|(file, _)| file == "results.json"), "{files:?}");
        fs::write(&path, &results).unwrap();

        let mut counted = receipt.clone();
        counted.totals.fail += 1;
        let files = other(rederive(work.path(), &facts, &counted));
        assert_eq!(files, [("results.json".into(), "its totals are not the receipt's".into())]);

        let mut facts = facts.clone();
        facts.gaps.push("invented".into());
        let files = other(rederive(work.path(), &facts, &receipt));
        assert_eq!(files, [("run.json".into(), "its gaps do not follow".into())]);
    }

    #[tokio::test]
    async fn a_window_and_the_gap_before_it_follow_from_the_exchange_that_keeps_it() {
        let work = tempfile::tempdir().unwrap();
        let at = |text: &str| text.parse::<Utc>().unwrap();
        let day = std::time::Duration::from_secs(86_400);
        let spec = WindowSpec { overlap: day, retained: 30 * day };
        let window = Decided::new(spec, at("2026-11-22T04:00:00Z"), Ok(Some(at("2026-10-01T00:00:00Z"))));
        let (facts, receipt) = run_with("host/accounts", work.path(), Some(window)).await;
        assert!(facts.gaps.iter().any(|gap| gap.contains("the source no longer keeps them")), "{:?}", facts.gaps);
        assert_eq!(rederive(work.path(), &facts, &receipt), Derived::Same);
        let does_not_follow = |change: &dyn Fn(&mut RunFacts), what: &str| {
            let mut facts = facts.clone();
            change(&mut facts);
            let says = format!("{what} do not follow");
            assert_eq!(rederive(work.path(), &facts, &receipt), Derived::Other(vec![("run.json".into(), says)]));
        };
        does_not_follow(&|facts| drop(facts.gaps.pop()), "its gaps");
        does_not_follow(&|facts| facts.window = None, "its window");
        does_not_follow(&|facts| facts.window.as_mut().unwrap().from = at("2026-10-01T00:00:00Z"), "its window");
        does_not_follow(&|facts| facts.window.as_mut().unwrap().previous = None, "its window");
        // Not everything of a host is there to be read here: this was not read whole.
        assert!(!facts.window.unwrap().whole);
        does_not_follow(&|facts| facts.window.as_mut().unwrap().whole = true, "its window");
        let (mut facts, receipt) = run("host/accounts", tempfile::tempdir().unwrap().path()).await;
        facts.window =
            Some(Window { from: at("2026-10-01T00:00:00Z"), to: facts.started_at, whole: true, previous: None });
        assert!(matches!(rederive(work.path(), &facts, &receipt), Derived::Other(_)), "a window that nothing keeps");
    }

    #[tokio::test]
    async fn another_version_of_a_collector_is_unknown_and_not_the_same() {
        let work = tempfile::tempdir().unwrap();
        let (mut facts, receipt) = run("host/accounts", work.path()).await;
        facts.collector.version += 1;
        assert!(matches!(rederive(work.path(), &facts, &receipt), Derived::Unknown(_)));
        facts.collector.id = "host/nothing".into();
        assert!(matches!(rederive(work.path(), &facts, &receipt), Derived::Unknown(_)));
    }

    #[tokio::test]
    async fn a_run_whose_reading_could_not_be_kept_says_so_and_is_no_forgery() {
        let work = tempfile::tempdir().unwrap();
        let (mut facts, receipt) = run("host/accounts", work.path()).await;
        for why in [NOT_DERIVED, NOT_KEPT] {
            for population in facts.populations.values_mut() {
                *population = bundle::Population::Unread(format!("{why}: too many files"));
            }
            assert!(matches!(rederive(work.path(), &facts, &receipt), Derived::Unknown(_)), "{why}");
        }
        *facts.populations.values_mut().next().unwrap() = bundle::Population::Whole;
        assert!(matches!(rederive(work.path(), &facts, &receipt), Derived::Other(_)), "only where nothing is claimed");
    }
}
