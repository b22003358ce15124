//! The policy that the program prints is enough, is no more than is asked for, and each of its actions matters to its own checks alone.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde_json::{Value, json};
use tests::aws::{
    AwsWorld, Seeded,
    estate::{Bundle, Collected, Estate},
    verdict::{Restless, apart, change, restless},
};

/// One account and one region, so that everything can be read many times.
struct Shared {
    world: AwsWorld,
    seeded: Seeded,
    policy: Value,
    sound: Collected,
    restless: Restless,
    calls: Vec<Value>,
}

impl Shared {
    /// Puts a policy in place of the reader's.
    fn grant(&self, policy: &Value) {
        for account in self.seeded.accounts() {
            self.world.grant(&account, self.seeded.text("/collector/role"), policy);
        }
    }

    fn estate(&self) -> Estate {
        Estate::new(&self.world, &self.seeded, &json!({}), &json!({}))
    }
}

fn shared() -> MutexGuard<'static, Shared> {
    static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let world = AwsWorld::start();
        let seeded = world.seed(&["members=0"], &["us-east-1"]);
        let estate = Estate::new(&world, &seeded, &json!({}), &json!({}));
        let policy: Value = serde_json::from_str(&estate.expect(0, &["iam-policy"])).unwrap();
        world.enforce(true, true);
        world.grant(&seeded.accounts()[0], seeded.text("/collector/role"), &policy);
        world.forget();
        let sound = estate.collect(&["--fail-on", "partial"]);
        let calls = world.calls();
        let again = Estate::new(&world, &seeded, &json!({}), &json!({})).collect(&[]);
        let restless = restless(&sound, &again);
        Mutex::new(Shared { world, seeded, policy, sound, restless, calls })
    });
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The actions of a policy.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap();
    statements.iter().flat_map(|s| s["Action"].as_array().unwrap()).map(|a| a.as_str().unwrap().to_owned()).collect()
}

/// The policy without some of its actions.
fn without(policy: &Value, fewer: &BTreeSet<&str>) -> Value {
    let mut policy = policy.clone();
    let statements = policy["Statement"].as_array_mut().unwrap();
    for statement in statements.iter_mut() {
        statement["Action"].as_array_mut().unwrap().retain(|action| !fewer.contains(action.as_str().unwrap()));
    }
    statements.retain(|statement| statement["Action"].as_array().is_some_and(|actions| !actions.is_empty()));
    policy
}

#[test]
fn with_the_printed_policy_alone_every_collector_reads_everything() {
    let shared = shared();
    assert_eq!(shared.sound.code, Some(0), "{}", shared.sound.said);
    for (collector, bundle) in &shared.sound.bundles {
        assert_eq!((bundle.outcome(), bundle.gaps()), ("collected", "[]".to_owned()), "{collector}");
    }
}

#[test]
fn every_call_that_is_made_is_within_the_printed_policy_and_every_action_of_it_is_used() {
    let shared = shared();
    let allowed = actions(&shared.policy);
    let used: BTreeSet<String> = shared.calls.iter().map(|call| call["action"].as_str().unwrap().to_owned()).collect();
    let own = ["sts:AssumeRole", "sts:GetCallerIdentity"];
    let beyond: Vec<&String> = used.difference(&allowed).filter(|action| !own.contains(&action.as_str())).collect();
    assert!(beyond.is_empty(), "asked without being in the policy: {beyond:?}");
    let idle: Vec<&String> = allowed.difference(&used).filter(|action| !own.contains(&action.as_str())).collect();
    assert!(idle.is_empty(), "in the policy without being asked: {idle:?}");
}

/// Which collectors ask with which action, besides those with which a run finds out where it may ask.
fn users(shared: &Shared) -> BTreeMap<String, BTreeSet<String>> {
    let action_of: BTreeMap<&str, &str> =
        shared.calls.iter().map(|call| (call["call"].as_str().unwrap(), call["action"].as_str().unwrap())).collect();
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (collector, operations) in tests::aws::verdict::operations(&shared.sound) {
        for operation in operations {
            if let Some(action) = action_of.get(operation.as_str()) {
                users.entry((*action).to_owned()).or_default().insert(collector.clone());
            }
        }
    }
    users
}

#[test]
fn one_action_less_makes_the_checks_that_rest_on_it_unknown_and_changes_no_other_collector() {
    let shared = shared();
    let users = users(&shared);
    assert!(users.len() > 100, "{users:?}");
    let (mut wrong, mut told) = (Vec::new(), BTreeSet::new());
    for group in apart(&users) {
        let fewer: BTreeSet<&str> = group.iter().map(String::as_str).collect();
        shared.grant(&without(&shared.policy, &fewer));
        let now = shared.estate().collect(&["--fail-on", "partial"]);
        assert_eq!(now.code, Some(1), "without {fewer:?}:\n{}", now.said);
        for (collector, bundle) in &shared.sound.bundles {
            let (run, action) = (now.of(collector), group.iter().find(|action| users[*action].contains(collector)));
            let changed = change(bundle, run, &shared.restless);
            wrong.extend(changed.wrong.iter().map(|what| format!("without {action:?}: {what}")));
            let Some(action) = action else {
                if !changed.lost.is_empty() || run.outcome() != "collected" {
                    wrong.push(format!("{collector} needs none of {fewer:?}: {}, {:?}", run.outcome(), changed.lost));
                }
                continue;
            };
            if run.outcome() == "collected" || !says(run, action) {
                wrong.push(format!(
                    "{collector} does not say that it lacks {action}: {}, {}",
                    run.outcome(),
                    run.gaps()
                ));
            }
            if !changed.lost.is_empty() {
                told.insert(action.clone());
            }
        }
    }
    shared.grant(&shared.policy);
    wrong.extend(
        users.keys().filter(|a| !told.contains(*a)).map(|a| format!("nothing is unknown without {a}: is it needed?")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a run names an action that it was refused.
fn says(run: &Bundle, action: &str) -> bool {
    let refused = run.exchanges.iter().filter(|exchange| exchange["answer"] == "denied");
    run.gaps().contains(action)
        || refused.into_iter().any(|exchange| exchange["detail"].as_str().is_some_and(|detail| detail.contains(action)))
}
