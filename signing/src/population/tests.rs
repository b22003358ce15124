#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use super::*;

fn at(day: u32) -> Utc {
    format!("2026-07-{day:02}T00:00:00Z").parse().unwrap()
}

fn item(id: &str, job: &str) -> Item {
    let (state, entry) = ("operated".to_owned(), Some(7));
    Item { id: id.into(), job: Some(job.parse().unwrap()), from: at(1), to: at(2), state, entry, bundle: None }
}

fn list(count: u32) -> List {
    let job = |n| if n % 4 == 0 { "b@y" } else { "a@x" };
    List::new((0..count).map(|n| item(&format!("i{n}"), job(n))).collect()).unwrap()
}

fn seed(text: &str) -> Seed {
    text.parse().unwrap()
}

fn by_seed(size: u64, text: &str) -> Procedure {
    Procedure { how: How::Seed, seed: Some(seed(text)), size, size_from: "given".into(), strata: None }
}

#[test]
fn a_list_has_one_spelling_and_any_other_is_refused() {
    let list = list(12);
    let bytes = list.to_bytes();
    assert_eq!(List::parse(&bytes).unwrap(), list);
    assert_eq!(List::parse(b"").unwrap().items, []);
    assert!(matches!(List::parse(&bytes[..bytes.len() - 1]), Err(BadList::Line(12))));
    let text = String::from_utf8(bytes).unwrap();
    for other in [text.replacen(':', ": ", 1), text.replacen("\"entry\":7,", "", 1), text.replacen("}\n", "}\n\n", 1)] {
        assert!(matches!(List::parse(other.as_bytes()), Err(BadList::Line(_))), "{other}");
    }
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.swap(3, 4);
    assert!(matches!(List::parse(lines.concat().as_bytes()), Err(BadList::Order(5))));
    assert!(matches!(List::new(vec![item("x", "a@x"), item("x", "b@y")]), Err(BadList::Twice(_))));
}

#[test]
fn a_seed_draws_the_same_items_again_and_another_seed_or_population_others() {
    let list = list(200);
    let drawn = |list: &List, size, text| redraw(list, &by_seed(size, text), None, &[]).unwrap().items;
    let first = drawn(&list, 25, "31415");
    assert_eq!(first.len(), 25);
    assert_eq!(first, drawn(&list, 25, "31415"));
    assert_eq!(first[..10], drawn(&list, 10, "31415")[..]);
    assert_ne!(first, drawn(&list, 25, "31416"));
    let mut grown = list.items.clone();
    grown.push(item("one more", "a@x"));
    assert_ne!(first[..], drawn(&List::new(grown).unwrap(), 25, "31415")[..]);
    assert_eq!(drawn(&list, 1_000, "1").len(), 200);
    assert_eq!(drawn(&List::new(Vec::new()).unwrap(), 5, "1"), []);
    for bad in ["", "two\nlines", "tab\t"] {
        assert!(bad.parse::<Seed>().is_err(), "{bad:?}");
    }
}

#[test]
fn strata_get_their_share_and_none_that_has_items_is_left_out() {
    let shares = |counts: &[(&str, u64)], size| {
        let strata: BTreeMap<String, u64> = counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        allocate(&strata, size).into_iter().map(|share| share.size).collect::<Vec<_>>()
    };
    assert_eq!(shares(&[("a", 50), ("b", 50)], 10), [5, 5]);
    assert_eq!(shares(&[("a", 60), ("b", 30), ("c", 10)], 7), [4, 2, 1]);
    assert_eq!(shares(&[("a", 1), ("b", 1), ("c", 1)], 2), [1, 1, 1]);
    assert_eq!(shares(&[("a", 1), ("b", 998), ("c", 1)], 10), [1, 8, 1]);
    assert_eq!(shares(&[("a", 0), ("b", 3)], 10), [3]);
    assert_eq!(shares(&[("a", 2), ("b", 2)], 3), [2, 1]);
    assert_eq!(shares(&[], 3), [0; 0]);
    for (a, b, c, size) in [(7, 11, 13, 9), (1, 1, 97, 4), (33, 33, 34, 100), (5, 500, 5, 6)] {
        let shares = shares(&[("a", a), ("b", b), ("c", c)], size);
        assert_eq!(shares.iter().sum::<u64>(), size.min(a + b + c), "{shares:?}");
        assert!(shares.iter().zip([a, b, c]).all(|(share, count)| *share >= 1 && *share <= count), "{shares:?}");
    }
}

#[test]
fn a_stratified_draw_takes_each_strata_share_by_the_same_order() {
    let list = list(100);
    let strata = list.items.iter().map(|item| (item.id.clone(), item.job_name().to_owned())).collect();
    let found = redraw(&list, &by_seed(8, "s"), Some(&strata), &[]).unwrap();
    let of = |job: &str| found.items.iter().filter(|(item, _)| item.job_name() == job).count();
    assert_eq!((of("a@x"), of("b@y")), (6, 2));
    assert_eq!(found.strata[1], Stratum { name: "b@y".into(), count: 25, size: 2 });
    let missing = redraw(&list, &by_seed(8, "s"), Some(&BTreeMap::new()), &[]).unwrap_err();
    assert!(missing.contains("no stratum"), "{missing}");
}

#[test]
fn a_draw_that_is_rolled_forward_keeps_the_first_and_draws_the_rest_from_what_came_since() {
    let (first, all) = (list(40), list(100));
    let before = Sample {
        format: Sample::FORMAT.into(),
        origin: "o".into(),
        from: at(1),
        to: at(9),
        as_of: AsOf { size: 1, root: Digest::of(b""), at: at(9) },
        population: Population {
            control: "C".into(),
            of: Of::Occurrences,
            kind: None,
            count: 40,
            sha256: first.sha256(),
            not_observed: Vec::new(),
        },
        completeness: String::new(),
        frozen: None,
        procedure: by_seed(10, "one"),
        interim: None,
        items: redraw(&first, &by_seed(10, "one"), None, &[])
            .unwrap()
            .items
            .into_iter()
            .map(|(item, why)| SampleItem { item, why, evidence: vec![7] })
            .collect(),
        controls: vec![3],
        notes: Vec::new(),
    };
    assert_eq!(Sample::from_bytes(&before.to_bytes()).unwrap(), before);
    assert_eq!(before.entries().into_iter().collect::<Vec<_>>(), [3, 7]);
    let drawn = redraw(&all, &by_seed(25, "two"), None, &[(before.clone(), first.clone())]).unwrap().items;
    assert_eq!(drawn.len(), 25);
    let kept: Vec<&Item> = drawn.iter().filter(|(_, why)| *why == Why::Interim).map(|(item, _)| item).collect();
    assert_eq!(kept, before.items.iter().map(|kept| &kept.item).collect::<Vec<_>>());
    let new = drawn.iter().filter(|(_, why)| *why == Why::Drawn);
    assert!(new.clone().count() == 15 && new.clone().all(|(item, _)| !first.items.contains(item)));
    assert_eq!(redraw(&all, &by_seed(4, "two"), None, &[(before.clone(), first.clone())]).unwrap().items.len(), 10);
}

#[test]
fn a_document_has_its_format_its_order_and_nothing_else() {
    let population = |control: &str| Population {
        control: control.into(),
        of: Of::Items,
        kind: Some("accounts".into()),
        count: 0,
        sha256: Digest::of(b""),
        not_observed: vec![Gap { job: Some("a@x".parse().unwrap()), from: at(1), to: at(2), reason: "down".into() }],
    };
    let document = PopulationDocument {
        format: FORMAT.into(),
        origin: "o".into(),
        from: at(1),
        to: at(9),
        as_of: AsOf { size: 1, root: Digest::of(b""), at: at(9) },
        populations: vec![population("A"), population("B")],
    };
    assert_eq!(PopulationDocument::from_bytes(&document.to_bytes()).unwrap(), document);
    assert!(document.find("B", Of::Items, Some("accounts")).is_some());
    assert!(document.find("B", Of::Events, Some("accounts")).is_none());
    let twice = PopulationDocument { populations: vec![population("A"), population("A")], ..document.clone() };
    assert!(PopulationDocument::from_bytes(&twice.to_bytes()).is_err());
    let other = PopulationDocument { format: "evidenced-population/2".into(), ..document.clone() };
    assert!(PopulationDocument::from_bytes(&other.to_bytes()).unwrap_err().contains("/2"));
    let more = String::from_utf8(document.to_bytes()).unwrap().replacen("{", "{\"more\":1,", 1);
    assert!(PopulationDocument::from_bytes(more.as_bytes()).is_err());
}
