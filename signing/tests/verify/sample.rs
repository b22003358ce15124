//! The package of a sample: alone it shows what was drawn from what, and any change of it is seen.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use signing::{
    digest::Digest,
    package::sample::{self as packed, Parts},
    population::{
        AsOf, FORMAT, Frozen, Gap, How, Interim, Item, KIND, List, Of, Population, PopulationDocument, Procedure,
        Sample, SampleItem, Why, redraw,
    },
    time::Utc,
    verify::{SampleVerdict, Verdict, is_sample, sample},
};

use super::{anchored::*, sound::*};

const FROM: &str = "2026-11-01T00:00:00Z";
const TO: &str = "2026-11-02T00:00:00Z";

/// An archive of 24 hourly runs, of which one was missed, a population of their slots that is frozen in it, and a token after that.
struct World {
    archive: Memory,
    list: List,
    frozen: PopulationDocument,
    entry: u64,
}

fn document(list: &List, size: u64, root: Digest) -> PopulationDocument {
    let reason = "missed: down".to_owned();
    let gap = Gap {
        job: Some(job("host/accounts")),
        from: at("2026-11-01T05:00:00Z"),
        to: at("2026-11-01T06:00:00Z"),
        reason,
    };
    PopulationDocument {
        format: FORMAT.into(),
        origin: ORIGIN.into(),
        from: at(FROM),
        to: at(TO),
        as_of: AsOf { size, root, at: at(TO) },
        populations: vec![Population {
            control: "AC-01".into(),
            of: Of::Occurrences,
            kind: None,
            count: list.items.len() as u64,
            sha256: list.sha256(),
            not_observed: vec![gap],
        }],
    }
}

fn world() -> World {
    frozen_with(|_| {})
}

fn frozen_with(change: impl FnOnce(&mut PopulationDocument)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.keys(&key_set(1));
    writer.now += TimeDelta::seconds(1);
    writer.plan(&["host/accounts"], "started");
    let name = job("host/accounts");
    let mut items = Vec::new();
    for hour in 1..=24 {
        let slot = at(FROM) + TimeDelta::hours(hour);
        let entry = hour as u64 + 1;
        let mut item = Item {
            id: format!("host/accounts@this {slot}"),
            job: Some(name.clone()),
            from: slot,
            to: slot + TimeDelta::hours(1),
            state: "operated".into(),
            entry: Some(entry),
            bundle: None,
        };
        writer.now = slot + TimeDelta::seconds(1);
        if hour == 5 {
            writer.now = slot + TimeDelta::minutes(20);
            writer.missed(&name, slot);
            (item.state, item.entry) = ("not_observed".into(), None);
        } else {
            let statement = writer.run(&name, Some(slot));
            item.bundle = Some(statement.subject[0].digest.sha256);
        }
        items.push(item);
    }
    writer.append();
    writer.anchor(tsa(), writer.now + TimeDelta::minutes(1));
    let list = List::new(items).unwrap();
    writer.now += TimeDelta::hours(1);
    let known = writer.known.unwrap();
    let mut frozen = document(&list, known.size, known.root);
    change(&mut frozen);
    writer.document(KIND, &frozen.to_bytes());
    writer.append();
    writer.anchor(tsa(), writer.now + TimeDelta::minutes(1));
    World { archive: Memory::read(dir.path()), list, frozen, entry: 26 }
}

fn by_seed(size: u64) -> Procedure {
    Procedure { how: How::Seed, seed: Some("271828".parse().unwrap()), size, size_from: "given".into(), strata: None }
}

/// What is in the log of an item: for the missed slot its receipt.
fn evidence(item: &Item) -> Vec<u64> {
    vec![item.entry.unwrap_or(6)]
}

impl World {
    fn sample(&self, size: u64) -> Sample {
        let chosen = redraw(&self.list, &by_seed(size), None, &[]).unwrap().items;
        let items = chosen.into_iter().map(|(item, why)| SampleItem { evidence: evidence(&item), item, why });
        Sample {
            format: Sample::FORMAT.into(),
            origin: ORIGIN.into(),
            from: self.frozen.from,
            to: self.frozen.to,
            as_of: self.frozen.as_of,
            population: self.frozen.populations[0].clone(),
            completeness: "whole but for one hour".into(),
            frozen: Some(Frozen { entry: self.entry, document: Digest::of(&self.frozen.to_bytes()) }),
            procedure: by_seed(size),
            interim: None,
            items: items.collect(),
            controls: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn parts(&self) -> Parts {
        Parts { population: self.list.to_bytes(), readme: "how to verify".into(), ..Parts::default() }
    }

    fn pack(&self, sample: &Sample, parts: &Parts) -> Memory {
        let mut objects = BTreeMap::new();
        packed::make(&self.archive, sample, parts, &mut |name, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            assert!(objects.insert(name.to_owned(), bytes).is_none(), "{name} is given twice");
            Ok(())
        })
        .unwrap();
        Memory { objects, refused: BTreeSet::new() }
    }
}

fn judge(package: &Memory) -> SampleVerdict {
    sample(package, &believing()).unwrap()
}

fn codes(package: &Memory) -> Vec<&'static str> {
    judge(package).findings_by_code.keys().map(|code| code.as_str()).collect()
}

fn archive_codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.findings_by_code.keys().map(|code| code.as_str()).collect()
}

fn limits(verdict: &SampleVerdict) -> Vec<&'static str> {
    verdict.limits.iter().map(|limit| limit.code).collect()
}

#[test]
fn a_sample_verifies_alone_with_the_time_by_which_its_population_was_fixed() {
    let world = world();
    let package = world.pack(&world.sample(24), &world.parts());
    assert!(is_sample(&package).unwrap() && !is_sample(&world.archive).unwrap());
    let verdict = judge(&package);
    assert_eq!(verdict.findings, []);
    assert_eq!((verdict.items, verdict.entries.len(), verdict.without_evidence), (24, 25, 0));
    let by: Utc = world.frozen.to + TimeDelta::minutes(61) + TimeDelta::seconds(2);
    assert_eq!(verdict.frozen_by, Some(by));
    assert_eq!(limits(&verdict), ["SAMPLE-LIST", "ONE-ENTRY-KEYS", "TIME-OPEN", "ONE-ENTRY"]);
    assert!(verdict.statement.starts_with("SAMPLE INTACT, with 4 limits."), "{}", verdict.statement);
    let unobserved = verdict.sections.iter().find(|section| section.name == "unobserved").unwrap();
    assert!(unobserved.says.contains("missed: down"), "{unobserved:?}");
    let again = world.pack(&world.sample(24), &world.parts());
    assert_eq!(package.objects, again.objects);
}

#[test]
fn every_flipped_byte_of_a_sample_is_seen_but_for_what_is_written_for_people() {
    let world = world();
    let package = world.pack(&world.sample(2), &world.parts());
    for (name, bytes) in package.objects.iter().filter(|(name, _)| *name != "README.txt") {
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(3)) {
            let mut altered = package.clone();
            altered.objects.get_mut(name).unwrap()[at] ^= 0x01;
            let judged = sample(&altered, &believing());
            // The note is in words, and the digits of a count or the letters of a note carry no proof.
            let told = name == "sample.json" && judged.as_ref().is_ok_and(|verdict| verdict.intact);
            let verdict = if told { continue } else { judged };
            assert!(verdict.is_err() || !verdict.unwrap().intact, "{name} at {at}");
        }
    }
    // Without a token, or one of two proofs, less is known of the time, which is a limit.
    let optional = |name: &str| name == "README.txt" || name.ends_with(".tsr") || name.ends_with(".tlog-proof");
    for name in package.objects.keys().filter(|name| !optional(name)) {
        let mut less = package.clone();
        less.objects.remove(name);
        let judged = sample(&less, &believing());
        assert!(judged.is_err() || !judged.unwrap().intact, "{name} is not missed");
    }
    let mut unproved = package.clone();
    unproved.objects.retain(|name, _| !name.starts_with("entry/26/") || !name.ends_with(".tlog-proof"));
    assert!(codes(&unproved).contains(&"PROOF-MISSING"));
    let mut more = package.clone();
    more.objects.insert("entry/3/other.json".into(), Vec::new());
    assert_eq!(codes(&more), ["UNKNOWN-OBJECT"]);
    let mut more = package;
    let bundle = world.archive.names("bundle/").into_iter().find(|name| !more.objects.contains_key(name)).unwrap();
    more.objects.insert(bundle.clone(), world.archive.objects[&bundle].clone());
    assert_eq!(codes(&more), ["UNKNOWN-OBJECT"]);
}

#[test]
fn an_item_that_was_dropped_exchanged_or_added_is_seen() {
    let world = world();
    let whole = world.sample(6);
    let code = |change: &dyn Fn(&mut Sample)| {
        let mut sample = whole.clone();
        change(&mut sample);
        codes(&world.pack(&sample, &world.parts()))
    };
    let other = world.sample(24).items.pop().unwrap();
    assert_eq!(code(&|_| {}), [""; 0]);
    assert_eq!(code(&|sample| drop(sample.items.pop())), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.items[2] = other.clone()), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.items.push(other.clone())), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.items.swap(0, 1)), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.procedure.seed = "3".parse().ok()), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.procedure.seed = None), ["SAMPLE-DRAW"]);
    assert_eq!(code(&|sample| sample.items[0].evidence = vec![6]), ["SAMPLE-ITEM"]);
    let observed = whole.items.iter().position(|item| item.item.entry.is_some()).unwrap();
    let told = code(&|sample| {
        let item = &mut sample.items[observed];
        item.item.entry = Some(26);
        item.evidence = vec![26];
    });
    assert_eq!(told, ["SAMPLE-DRAW", "SAMPLE-ITEM"]);
}

#[test]
fn another_population_than_the_frozen_one_is_seen_and_none_is_a_limit() {
    let world = world();
    // One that lacks the hour that was missed, drawn by the same seed.
    let mut items = world.list.items.clone();
    items.retain(|item| item.entry.is_some());
    let shorter = World { list: List::new(items).unwrap(), archive: world.archive.clone(), ..frozen_with(|_| {}) };
    let mut sample = shorter.sample(3);
    sample.population.count = 23;
    sample.population.sha256 = shorter.list.sha256();
    assert_eq!(codes(&shorter.pack(&sample, &shorter.parts())), ["SAMPLE-POPULATION"]);
    assert!(codes(&world.pack(&world.sample(3), &shorter.parts())).contains(&"SAMPLE-POPULATION"));
    sample.frozen = None;
    let verdict = judge(&shorter.pack(&sample, &shorter.parts()));
    assert_eq!((verdict.intact, verdict.frozen_by), (true, None));
    assert!(limits(&verdict).contains(&"SAMPLE-NOT-FROZEN"));
    let mut sample = world.sample(3);
    sample.frozen = Some(Frozen { entry: 3, ..sample.frozen.unwrap() });
    assert_eq!(codes(&world.pack(&sample, &world.parts())), ["SAMPLE-POPULATION"]);
    let mut sample = world.sample(3);
    sample.population.not_observed.clear();
    assert_eq!(codes(&world.pack(&sample, &world.parts())), ["SAMPLE-POPULATION"]);
    let unbelieved = signing::verify::Options::trusting(trust());
    let package = world.pack(&world.sample(3), &world.parts());
    assert!(limits(&signing::verify::sample(&package, &unbelieved).unwrap()).contains(&"SAMPLE-NOT-FROZEN"));
}

#[test]
fn a_sample_that_is_rolled_forward_carries_its_first_draw_and_both_are_made_again() {
    let world = world();
    let first_list = List::new(world.list.items[..10].to_vec()).unwrap();
    let before = World { list: first_list, archive: world.archive.clone(), ..frozen_with(|_| {}) };
    let mut first = before.sample(4);
    (first.population.count, first.population.sha256) = (10, before.list.sha256());
    (first.frozen, first.to) = (None, at("2026-11-01T11:00:00Z"));
    let mut rolled = world.sample(8);
    rolled.interim =
        Some(Interim { sample: Digest::of(&first.to_bytes()), population: first.population.sha256, to: first.to });
    let chosen = redraw(&world.list, &by_seed(8), None, &[(first.clone(), before.list.clone())]).unwrap().items;
    rolled.items = chosen.into_iter().map(|(item, why)| SampleItem { evidence: evidence(&item), item, why }).collect();
    let parts = Parts { interim: vec![(first.to_bytes(), before.list.to_bytes())], ..world.parts() };
    assert_eq!(judge(&world.pack(&rolled, &parts)).findings, []);
    assert_eq!(rolled.items.iter().filter(|item| item.why == Why::Interim).count(), 4);
    let mut dropped = rolled.clone();
    dropped.items.remove(0);
    assert_eq!(codes(&world.pack(&dropped, &parts)), ["SAMPLE-DRAW"]);
    let mut redrawn = first.clone();
    redrawn.items.pop();
    let other = Parts { interim: vec![(redrawn.to_bytes(), before.list.to_bytes())], ..world.parts() };
    assert_eq!(codes(&world.pack(&rolled, &other)), ["SAMPLE-POPULATION", "SAMPLE-DRAW"]);
    assert_eq!(codes(&world.pack(&rolled, &world.parts())), ["SAMPLE-MALFORMED"]);
}

#[test]
fn the_archive_refuses_a_population_of_another_log_or_of_a_state_that_it_never_had() {
    let verdict = |change: &dyn Fn(&mut PopulationDocument)| {
        let world = frozen_with(change);
        world.archive.judge_with(&believing()).unwrap()
    };
    let good = verdict(&|_| {});
    assert_eq!((good.findings, good.numbers.populations, good.numbers.other_documents), (Vec::new(), 1, 0));
    assert_eq!(archive_codes(&verdict(&|document| document.origin = "other.example".into())), ["ORIGIN"]);
    assert_eq!(archive_codes(&verdict(&|document| document.as_of.root = Digest::of(b""))), ["LOG-FORKED"]);
    assert_eq!(archive_codes(&verdict(&|document| document.as_of.size = 27)), ["LOG-ORDER"]);
    assert_eq!(archive_codes(&verdict(&|document| document.format = "x".into())), ["DOCUMENT-MALFORMED"]);
    let mut gone = world();
    let name = gone.archive.names("document/population/").remove(0);
    gone.archive.objects.remove(&name);
    assert_eq!(archive_codes(&gone.archive.judge_with(&believing()).unwrap()), ["DOCUMENT-MISSING"]);
}
