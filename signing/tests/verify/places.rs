//! What a store says of the objects beside their bytes, and archives of which only a part is looked for.

use std::io::{self, Read};

use signing::{
    store::{Hold, Reader},
    verify::{Options, Part, verify},
};

use super::sound::*;

/// An archive in a store that tells more.
struct Telling<'a> {
    memory: &'a Memory,
    covered: Vec<(String, &'static str)>,
    hold: Hold,
}

impl Reader for Telling<'_> {
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send + '_>>> {
        self.memory.open(name)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        self.memory.list(prefix, each)
    }

    fn covered(&self, each: &mut dyn FnMut(&str, &str)) {
        self.covered.iter().for_each(|(name, by)| each(name, by));
    }

    fn hold(&self) -> Hold {
        self.hold.clone()
    }
}

#[test]
fn an_original_that_is_covered_is_a_finding_until_its_retention_has_ended() {
    let memory = small(|_| {});
    let (seal, bundle) = (memory.names("seal/").remove(0), memory.names("bundle/").remove(0));
    let covered = vec![(seal.clone(), "it was deleted"), (bundle.clone(), "it was deleted")];
    let store = Telling { memory: &memory, covered, hold: Hold::Nothing };
    let judge = |as_of| {
        let options = Options { as_of: Some(at(as_of)), ..Options::trusting(trust()) };
        found(&verify(&store, &options, &|_| {}).unwrap())
    };
    let code = "OBJECT-COVERED".to_owned();
    assert_eq!(judge("2027-12-05T00:00:00Z"), [(code.clone(), seal.clone()), (code.clone(), bundle)].into());
    assert_eq!(judge("2027-12-07T00:00:00Z"), [(code, seal)].into());
}

#[test]
fn how_the_store_holds_objects_is_told_and_is_a_limit_unless_it_holds_all_firmly() {
    let memory = small(|_| {});
    let judge = |hold| {
        let store = Telling { memory: &memory, covered: Vec::new(), hold };
        let verdict = verify(&store, &Options::trusting(trust()), &|_| {}).unwrap();
        let says = verdict.sections.iter().find(|section| section.name == "store").unwrap().says.clone();
        (verdict.limits.iter().map(|limit| limit.code).filter(|code| code.contains("LOCK")).collect::<Vec<_>>(), says)
    };
    assert_eq!(judge(Hold::Nothing).0, ["NO-OBJECT-LOCK"]);
    let (limits, says) = judge(Hold::Weak("3 of 9 are not held".into()));
    assert_eq!((limits, says.as_str()), (vec!["WEAK-OBJECT-LOCK"], "3 of 9 are not held (limit WEAK-OBJECT-LOCK)"));
    let (limits, says) = judge(Hold::Firm("all 9 are held".into()));
    assert_eq!((limits, says.as_str()), (vec![], "all 9 are held"));
}

#[test]
fn a_part_says_what_was_not_looked_for_and_never_that_the_archive_is_intact() {
    let mut memory = sound();
    // Two jobs every hour from the 1st on: what is sealed for later days than the part's is taken away.
    let gone = |name: &String| name.starts_with("bundle/") && !name.starts_with("bundle/2026/11/02/");
    let names: Vec<String> = memory.names("bundle/").into_iter().filter(gone).collect();
    assert!(!names.is_empty());
    for name in &names {
        memory.objects.remove(name);
    }
    let part = |from, to| Options { part: Some(Part { from: at(from), to: at(to) }), ..Options::trusting(trust()) };
    let verdict = memory.judge_with(&part("2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z")).unwrap();
    assert_eq!(verdict.findings, []);
    let numbers = &verdict.numbers;
    assert_eq!(numbers.bundles, memory.names("bundle/").len() as u64);
    assert_eq!(numbers.seals + numbers.outside, numbers.entries);
    assert!(numbers.outside > 0 && verdict.limits.iter().any(|limit| limit.code == "PART"));
    let says = "LOG INTACT, and the archive from 2026-11-02T00:00:00Z to 2026-11-03T00:00:00Z, with ";
    assert!(verdict.statement.starts_with(says), "{}", verdict.statement);

    let wider = memory.judge_with(&part("2026-11-02T00:00:00Z", "2026-11-04T00:00:00Z")).unwrap();
    assert!(!wider.intact && wider.findings.iter().all(|finding| finding.code.as_str() == "BUNDLE-MISSING"));
}
