//! Every AWS collector under every fault, through the program itself: what cannot be read is unknown. Nothing passes, fails or is absent
//! because an answer failed, nothing hangs, and what a second attempt mends is as if nothing had been.
//!
//! One run of the program reads the same account as many sources, whose sessions have a name each: a rule of the faulty server means one of
//! them. `COLLECTOR=aws/kms-keys cargo test --test aws_faults` tries one collector, `FAULT=truncated` one fault.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::aws::{
    AwsWorld, Seeded,
    estate::{Bundle, Collected, Estate},
    verdict::{self, Change, Restless},
};

/// A seeded account, and what the program reads in it when all is sound.
struct Shared {
    world: AwsWorld,
    seeded: Seeded,
    sound: Collected,
    restless: Restless,
    /// By collector, in the order of asking.
    operations: BTreeMap<String, Vec<String>>,
    /// Those that have pages, and whether they say that there is more in another way than by the token.
    paged: BTreeMap<String, bool>,
}

// The faults are the server's: one test at a time.
fn shared() -> MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let new = || {
        let world = AwsWorld::start();
        let sizes = ["members=0", "users=2", "buckets=2", "keys=2", "databases=2", "instances=2", "jobs=3"];
        let seeded = world.seed(&sizes, &["us-east-1"]);
        let collect = || Estate::new(&world, &seeded, &json!({}), &json!({})).collect(&[]);
        let other = collect();
        world.forget();
        let sound = collect();
        assert!(sound.bundles.len() >= 44, "{}", sound.said);
        for (collector, bundle) in &sound.bundles {
            assert_eq!(bundle.outcome(), "collected", "{collector}: {}", bundle.gaps());
        }
        let mut paged = BTreeMap::new();
        for call in world.calls().iter().filter(|call| call["pages"].is_object()) {
            paged.insert(call["call"].as_str().unwrap().to_owned(), call["pages"]["more"].is_string());
        }
        let restless = verdict::restless(&other, &sound);
        let wanted = std::env::var("COLLECTOR").ok();
        let mut operations = verdict::operations(&sound);
        operations.retain(|collector, _| wanted.as_ref().is_none_or(|wanted| wanted == collector));
        let operations = operations.into_iter().map(|(collector, of)| {
            let asked = sound.of(&collector).exchanges.iter().filter_map(|exchange| exchange["operation"].as_str());
            let mut order = Vec::new();
            asked.filter(|call| of.contains(*call)).for_each(|call| {
                if !order.iter().any(|known| known == call) {
                    order.push(call.to_owned());
                }
            });
            (collector, order)
        });
        let operations = operations.collect();
        Mutex::new(Shared { world, seeded, sound, restless, operations, paged })
    };
    SHARED.get_or_init(new).lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a fault must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Something is not known, and said to be not.
    Lose,
    /// The run says what the sound one says.
    Keep,
    /// One of the two: an answer may come in time.
    Either,
}

/// A kind of fault.
struct Fault {
    name: &'static str,
    must: Must,
    /// What the server is told beside the call.
    rule: fn() -> Value,
    of: Of,
    at: At,
    /// Whether the run is given no more than [`SHORT`].
    short: bool,
}

/// Which calls a kind of fault can meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    Paged,
    /// Pages of which something says that there are more, also where the token is gone.
    Counted,
}

/// Which calls of a collector it is tried on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Every,
    /// The first and the last: how an answer fails on its way is the client's, and the same for all.
    Ends,
    First,
    Last,
}

macro_rules! fault {
    ($name:literal, $must:ident, $of:ident, $at:ident, $($rule:tt)*) => {
        Fault { name: $name, must: Must::$must, rule: || json!($($rule)*), of: Of::$of, at: At::$at, short: false }
    };
}

static FAULTS: [Fault; 16] = [
    fault!("denied", Lose, All, Every, {"do": "deny"}),
    fault!("throttled", Lose, All, Ends, {"do": "throttle"}),
    fault!("5xx in HTML", Lose, All, Ends, {"do": "html"}),
    fault!("expired credentials", Lose, All, Ends, {"do": "expired"}),
    fault!("truncated", Lose, All, Every, {"do": "truncate"}),
    fault!("garbage", Lose, All, Every, {"do": "garbage"}),
    fault!("empty body", Lose, All, Ends, {"do": "empty-body"}),
    fault!("another operation's answer", Lose, All, Ends, {"do": "other"}),
    fault!("reset", Lose, All, Ends, {"do": "reset"}),
    Fault { short: true, ..fault!("hang", Lose, All, First, {"do": "hang", "seconds": 120}) },
    // Given up after the 30 s that an attempt may take.
    fault!("one hang", Either, All, Last, {"do": "hang", "times": 1}),
    Fault { short: true, ..fault!("slow body", Either, All, Ends, {"do": "drip"}) },
    fault!("pages of one", Keep, Paged, Every, {"do": "pages", "size": 1}),
    fault!("empty page first", Keep, Paged, Every, {"do": "empty"}),
    fault!("repeated token", Lose, Paged, Every, {"do": "repeat"}),
    // Where nothing but the token says that there is more, a list without it is whole: nobody could tell.
    fault!("dropped token", Either, Counted, Every, {"do": "drop"}),
];

/// The calls by which a run finds out where it asks, and as whom.
const OF_SCOPE: [&str; 5] = [
    "ec2.DescribeRegions",
    "organizations.DescribeOrganization",
    "organizations.ListAccounts",
    "sts.AssumeRole",
    "sts.GetCallerIdentity",
];

/// In seconds.
const SHORT: u64 = 10;

impl Fault {
    fn rules(&self, call: &str, source: &str) -> Vec<Value> {
        let mut rules = vec![(self.rule)()];
        if self.name == "dropped token" {
            rules.push(json!({"do": "pages", "size": 1}));
        }
        for rule in &mut rules {
            rule["call"] = call.into();
            rule["who"] = format!("*/{source}").into();
        }
        rules
    }
}

/// Those that are asked for, or all; each with its place in the list.
fn wanted() -> impl Iterator<Item = (usize, &'static Fault)> {
    let only = std::env::var("FAULT").ok();
    FAULTS.iter().enumerate().filter(move |(_, fault)| only.as_ref().is_none_or(|only| only == fault.name))
}

/// A source, and what its collectors meet: `(call, fault)`, no two of them in one collector.
struct Trial {
    source: String,
    meets: BTreeMap<String, (String, &'static Fault)>,
}

impl Shared {
    /// The calls with the collectors that make them.
    fn callers(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (collector, calls) in &self.operations {
            for call in calls {
                found.entry(call).or_default().insert(collector.clone());
            }
        }
        found
    }

    /// Each fault with the calls that it is tried on, in as few sources as can be.
    fn trials(&self) -> Vec<Trial> {
        let mut things: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let (callers, everybody) = (self.callers(), self.operations.keys().cloned().collect::<BTreeSet<_>>());
        for (number, fault) in wanted() {
            for calls in self.operations.values() {
                let (first, last) = (calls.first().unwrap(), calls.last().unwrap());
                let tried = calls.iter().filter(|call| match fault.at {
                    At::Every => true,
                    At::Ends => *call == first || *call == last,
                    At::First => *call == first,
                    At::Last => *call == last,
                });
                let met = tried.filter(|call| match fault.of {
                    Of::All => true,
                    Of::Paged => self.paged.contains_key(*call),
                    Of::Counted => self.paged.get(*call) == Some(&true),
                });
                // All collectors that make the call meet it; one by which a run finds out where it asks, every collector.
                things.extend(met.map(|call| {
                    let callers = if OF_SCOPE.contains(&call.as_str()) { &everybody } else { &callers[call.as_str()] };
                    (format!("{number} {call}"), callers.clone())
                }));
            }
        }
        let groups = verdict::apart(&things).into_iter().enumerate();
        let trials = groups.map(|(at, group)| {
            let mut meets = BTreeMap::new();
            for thing in group {
                let (number, call) = thing.split_once(' ').unwrap();
                let fault = &FAULTS[number.parse::<usize>().unwrap()];
                let of = callers[call].iter().map(|collector| (collector.clone(), (call.to_owned(), fault)));
                meets.extend(of);
            }
            Trial { source: format!("s{at}"), meets }
        });
        trials.collect()
    }

    /// The settings of a source whose sessions have its name.
    fn source(&self, name: &str, more: Value) -> Value {
        let mut aws = self.seeded.source(&self.world);
        aws["session_name"] = name.into();
        aws["retry"] = json!({"attempts": 1});
        aws.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": name, "aws": aws})
    }

    /// Reads these jobs of these sources while these rules hold, and gives what was sealed: a bundle of each job, whatever it met.
    fn read(&self, sources: Vec<Value>, jobs: &[String], limits: Vec<Value>, rules: Vec<Value>) -> Vec<Bundle> {
        self.world.sound();
        self.world.fault(rules.into());
        let whole = json!({"sources": sources, "jobs": limits, "parallel_jobs": 64});
        let estate = Estate::new(&self.world, &self.seeded, &json!({}), &whole);
        let arguments: Vec<&str> = jobs.iter().map(String::as_str).collect();
        let (code, said, bundles) = estate.collect_from_all(&arguments);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(bundles.len(), jobs.len(), "{said}");
        bundles
    }

    /// The calls that rules met, each with whose it was.
    fn met(&self) -> BTreeSet<(String, String)> {
        let text = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        let hit = self.world.faults().into_iter().filter(|rule| rule["hit"] != 0);
        hit.map(|rule| (text(&rule, "call"), text(&rule, "who"))).collect()
    }

    /// Reads with these faults, and says of each collector what is wrong.
    fn run(&self, trials: &[Trial], wrong: &mut Vec<String>) {
        let (mut sources, mut jobs, mut limits, mut rules) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        for Trial { source, meets } in trials {
            sources.push(self.source(source, json!({})));
            for (collector, (call, fault)) in meets {
                jobs.push(format!("{collector}@{source}"));
                if fault.short {
                    limits.push(json!({"collector": collector, "source": source, "deadline": format!("{SHORT}s")}));
                }
                rules.insert((source, call), fault.rules(call, source));
            }
        }
        let bundles = self.read(sources, &jobs, limits, rules.into_values().flatten().collect());
        let met = self.met();
        for bundle in &bundles {
            let trial = trials.iter().find(|trial| trial.source == bundle.source()).unwrap();
            let collector = bundle.collector();
            let (call, fault) = &trial.meets[&collector];
            let mut found = problems(self.sound.of(&collector), bundle, &self.restless, fault.must);
            // A run that may take no longer may end before it asks.
            if !fault.short && !met.contains(&(call.clone(), format!("*/{}", trial.source))) {
                found.push("nothing met it".into());
            }
            if took(bundle) > Duration::from_secs(if fault.short { SHORT + 30 } else { 120 }) {
                found.push(format!("it took {:?}", took(bundle)));
            }
            wrong.extend(found.into_iter().map(|what| format!("{collector}, {call}, {}: {what}", fault.name)));
        }
    }
}

/// What is wrong with a run under a fault, compared with the sound one.
fn problems(sound: &Bundle, now: &Bundle, restless: &Restless, must: Must) -> Vec<String> {
    let Change { mut wrong, lost } = verdict::change(sound, now, restless);
    let is_whole = now.outcome() == "collected" && now.run["gaps"] == json!([]);
    match must {
        Must::Keep if !is_whole => wrong.push(format!("it is {}: {}", now.outcome(), now.gaps())),
        Must::Keep => wrong.extend(lost.iter().map(|lost| format!("lost: {lost}"))),
        Must::Lose if is_whole => wrong.push("the run reads as whole".into()),
        Must::Lose | Must::Either if is_whole && !lost.is_empty() => {
            wrong.push(format!("the run reads as whole, and has lost: {}", lost.join("; ")));
        }
        Must::Lose | Must::Either => {}
    }
    wrong
}

fn took(bundle: &Bundle) -> Duration {
    let at = |name: &str| bundle.run[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    (at("ended_at") - at("started_at")).to_std().unwrap()
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// So many sources are read in one run of the program.
const AT_ONCE: usize = 16;

#[test]
fn no_fault_of_any_answer_makes_a_pass_a_failure_an_absence_or_a_hang() {
    let shared = shared();
    let trials = shared.trials();
    let meets = trials.iter().flat_map(|trial| &trial.meets);
    let met: BTreeSet<(&str, &str)> = meets.map(|(collector, (_, fault))| (collector.as_str(), fault.name)).collect();
    for fault in wanted().filter(|(_, fault)| fault.of == Of::All).map(|(_, fault)| fault.name) {
        let spared: Vec<&String> = shared.operations.keys().filter(|of| !met.contains(&(of.as_str(), fault))).collect();
        assert!(spared.is_empty(), "{fault} is not tried on {spared:?}");
    }
    let mut wrong = Vec::new();
    for batch in trials.chunks(AT_ONCE) {
        shared.run(batch, &mut wrong);
    }
    report(&wrong);
}

#[test]
fn what_a_second_attempt_mends_is_as_if_nothing_had_been() {
    let shared = shared();
    let faults = ["throttle", "html", "expired", "truncate", "reset"];
    let sources = faults.iter().map(|fault| shared.source(fault, json!({"retry": {"attempts": 3}})));
    let jobs = faults.iter().flat_map(|fault| shared.operations.keys().map(move |of| format!("{of}@{fault}")));
    let callers = shared.callers();
    let rules = faults.iter().flat_map(|fault| {
        let who = format!("*/{fault}");
        callers.keys().map(move |call| json!({"call": call, "who": who, "do": fault, "times": 1}))
    });
    let bundles = shared.read(sources.collect(), &jobs.collect::<Vec<_>>(), Vec::new(), rules.collect());
    let missed: Vec<Value> = shared.world.faults().into_iter().filter(|rule| rule["hit"] != 1).collect();
    assert!(missed.is_empty(), "not met: {missed:?}");
    let mut wrong = Vec::new();
    for bundle in &bundles {
        let found = problems(shared.sound.of(&bundle.collector()), bundle, &shared.restless, Must::Keep);
        wrong.extend(found.into_iter().map(|what| format!("{}, {}: {what}", bundle.collector(), bundle.source())));
    }
    report(&wrong);
}

#[test]
fn credentials_that_expire_in_mid_run_leave_what_was_read_and_make_the_rest_unknown() {
    let shared = shared();
    let moments = [("early", 20), ("midway", 60), ("late", 120)];
    let sources = moments.iter().map(|(name, _)| shared.source(name, json!({})));
    let jobs = moments.iter().flat_map(|(name, _)| shared.operations.keys().map(move |of| format!("{of}@{name}")));
    let rules =
        moments.iter().map(|(name, after)| json!({"who": format!("*/{name}"), "do": "expired", "after": after}));
    let bundles = shared.read(sources.collect(), &jobs.collect::<Vec<_>>(), Vec::new(), rules.collect());
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeSet::new());
    for bundle in &bundles {
        outcomes.insert((bundle.source().to_owned(), bundle.outcome() == "collected"));
        let found = problems(shared.sound.of(&bundle.collector()), bundle, &shared.restless, Must::Either);
        wrong.extend(found.into_iter().map(|what| format!("{}, {}: {what}", bundle.collector(), bundle.source())));
    }
    report(&wrong);
    for (name, _) in moments {
        assert!(outcomes.contains(&(name.to_owned(), false)), "{name}: every run was collected");
    }
    assert!(outcomes.iter().any(|(_, collected)| *collected), "nothing was read before they expired: {outcomes:?}");
}

#[test]
fn no_fault_of_how_a_run_begins_makes_a_place_absent() {
    let shared = shared();
    let role = format!("arn:aws:iam::{}:role/{}", shared.seeded.accounts()[0], shared.seeded.text("/collector/role"));
    let all = json!({"accounts": {"organization": {"role": role}}, "regions": "enabled"});
    let collectors = ["aws/iam-credential-report", "aws/ebs-encryption", "aws/organizations"];
    let read = |sources: Vec<Value>, rules: Vec<Value>| {
        let name = |source: &Value| source["name"].as_str().unwrap().to_owned();
        let jobs = sources.iter().flat_map(|source| collectors.map(|of| format!("{of}@{}", name(source))));
        let limit = |of: &str, source: &Value| json!({"collector": of, "source": name(source), "deadline": "30s"});
        let limits = sources.iter().flat_map(|source| collectors.map(|of| limit(of, source))).collect();
        shared.read(sources.clone(), &jobs.collect::<Vec<_>>(), limits, rules)
    };
    let sound: BTreeMap<String, Bundle> = read(vec![shared.source("sound", all.clone())], Vec::new())
        .into_iter()
        .map(|bundle| (bundle.collector(), bundle))
        .collect();
    let (mut sources, mut rules, mut what) = (Vec::new(), Vec::new(), BTreeMap::new());
    for call in OF_SCOPE {
        for fault in FAULTS.iter().filter(|fault| fault.of == Of::All) {
            let name = format!("s{}", sources.len());
            let mut rule = (fault.rule)();
            rule["call"] = call.into();
            match call {
                "sts.AssumeRole" => rule["parameters"] = json!({"RoleSessionName": name}),
                _ => rule["who"] = format!("*/{name}").into(),
            }
            rules.push(rule);
            sources.push(shared.source(&name, all.clone()));
            what.insert(name, (call, fault));
        }
    }
    let (mut wrong, mut lost) = (Vec::new(), BTreeSet::new());
    for bundle in &read(sources, rules) {
        let (call, fault) = what[bundle.source()];
        let change = verdict::change(&sound[&bundle.collector()], bundle, &shared.restless);
        wrong.extend(change.wrong.iter().map(|what| format!("{call}, {}: {what}", fault.name)));
        if !change.lost.is_empty() {
            lost.insert(bundle.source().to_owned());
        }
    }
    let silent = what.iter().filter(|(name, (_, fault))| fault.must == Must::Lose && !lost.contains(*name));
    wrong.extend(silent.map(|(_, (call, fault))| format!("{call}, {}: nothing is unknown", fault.name)));
    report(&wrong);
}
