#![allow(clippy::unwrap_used)]
use signing::{
    package::sample as packed,
    population::{How, Why},
    verify::{Options, sample as judge},
};

use super::{
    sampling::{Choice, Earlier, sample},
    *,
};
use crate::testing::{self, Archive, Memory, Run, USERS, at, scoped, set};

const NAME: &str = "host/users@this";
const OTHER: &str = "host/users@other";

fn question(of: Of) -> Question {
    Question {
        control: "AC-01".into(),
        from: at("2026-07-01"),
        to: at("2026-07-04"),
        at: at("2026-07-10"),
        of: Some(of),
        kind: None,
    }
}

/// A control over users of two hosts.
fn archive() -> Archive {
    let mut archive = Archive::new("2026-06-30");
    let control = testing::control("AC-01", Frequency::Automated, "mfa_user_enrolled");
    archive.plan(&[(NAME, None), (OTHER, None)], "started");
    archive.controls(&set(&[control], vec![scoped(NAME, USERS), scoped(OTHER, USERS)]));
    archive
}

fn collected(archive: &mut Archive, question: &Question) -> (Memory, Collected) {
    let (memory, verdict) = archive.verified("");
    let found = collect(&Ledger::new(&memory, &verdict).unwrap(), question).unwrap();
    (memory, found)
}

fn ids(collected: &Collected) -> Vec<&str> {
    collected.list.items.iter().map(|item| item.id.as_str()).collect()
}

#[test]
fn items_are_the_newest_whole_list_of_each_job_at_the_end_of_the_period() {
    let mut archive = archive();
    archive.at("2026-07-02").run(&Run::by_hand(NAME).user("old", true));
    let whole = archive.at("2026-07-03").run(&Run::by_hand(NAME).user("ann", true).user("ben", false));
    archive.at("2026-07-03T09:00:00Z").run(&Run::by_hand(NAME).user("cut", true).failed("denied"));
    archive.at("2026-07-04").run(&Run::by_hand(NAME).user("later", true));
    archive.run(&Run::by_hand(OTHER).user("later", true));
    let (_, found) = collected(&mut archive, &question(Of::Items));
    assert_eq!(ids(&found), ["host/users@this ann", "host/users@this ben"]);
    assert!(found.list.items.iter().all(|item| item.entry == Some(whole) && item.bundle.is_some()));
    // Nothing is known of the other host: that is said, and no item made of it.
    assert_eq!(found.population.not_observed.len(), 1);
    let gap = &found.population.not_observed[0];
    assert_eq!((gap.job_name(), gap.from, gap.to), (OTHER, at("2026-07-01"), at("2026-07-04")));
    assert!(found.completeness.contains("Of host/users@other no whole list was read."), "{}", found.completeness);
    assert!(found.completeness.contains("the list of 2026-07-03T00:00:00Z"), "{}", found.completeness);
    assert_eq!(found.controls, [2]);
}

#[test]
fn a_kind_that_is_not_behind_the_control_and_an_unknown_control_are_refused() {
    let mut archive = archive();
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let refused = |question: &Question| collect(&ledger, question).unwrap_err().to_string();
    let other = Question { kind: Some("bucket".into()), ..question(Of::Items) };
    assert!(refused(&other).contains("those are: user"), "{}", refused(&other));
    let unknown = Question { control: "AC-99".into(), ..question(Of::Items) };
    assert!(refused(&unknown).contains("AC-99"));
    assert!(refused(&question(Of::Events)).contains("dated_by"));
}

const EVENTS: &str = "[{id: is-ok, item: mfa_user_enrolled, population: event, pass: .ok, says: '{id} is not ok'}]";

/// A control over events of one job.
fn events() -> Archive {
    let mut archive = Archive::new("2026-06-30");
    let mut control = testing::control("AC-01", Frequency::PerEvent, "mfa_user_enrolled");
    control.dated_by = testing::dated_by("event", 0);
    archive.plan(&[(NAME, None)], "started");
    archive.controls(&set(&[control], vec![scoped(NAME, EVENTS)]));
    archive
}

fn event(run: Run, id: &str, at: &str) -> Run {
    run.record("event", serde_json::json!({"id": id, "at": at, "ok": true}))
}

fn run() -> Run {
    let mut run = Run::by_hand(NAME).checks(EVENTS);
    run.populations.clear();
    run.populations.insert("event".into(), signing::bundle::Population::Whole);
    run
}

#[test]
fn events_count_once_by_their_latest_state_and_windows_that_nobody_read_are_named() {
    let mut archive = events();
    let first = run().window("2026-07-01T06:00:00Z", "2026-07-02T00:00:00Z", true);
    let first = event(event(first, "a", "2026-07-01T08:00:00Z"), "moved", "2026-07-01T09:00:00Z");
    archive.at("2026-07-02").run(&first);
    let second = run().window("2026-07-02T12:00:00Z", "2026-07-05T00:00:00Z", true);
    let second = event(event(second, "a", "2026-07-01T08:00:00Z"), "moved", "2026-06-30T09:00:00Z");
    let second = event(event(event(second, "day", "2026-07-03"), "after", "2026-07-04T00:00:00Z"), "bad", "soon");
    let second = archive.at("2026-07-05").run(&second);
    let (_, found) = collected(&mut archive, &Question { of: None, ..question(Of::Events) });
    assert_eq!(found.population.of, Of::Events);
    assert_eq!(ids(&found), ["host/users@this a", "host/users@this day"]);
    assert!(found.list.items.iter().all(|item| item.entry == Some(second) && item.from == item.to));
    let gaps: Vec<(Utc, Utc)> = found.population.not_observed.iter().map(|gap| (gap.from, gap.to)).collect();
    let hours = |day: &str, hour: &str| at(&format!("2026-07-{day}T{hour}:00:00Z"));
    assert_eq!(
        gaps,
        [
            (hours("01", "00"), hours("01", "06")),
            (hours("01", "00"), hours("04", "00")),
            (hours("02", "00"), hours("02", "12"))
        ]
    );
    assert!(found.population.not_observed[1].reason.contains("\"bad\""), "{:?}", found.population.not_observed);
    assert!(found.completeness.contains("how many events fell there is not known"), "{}", found.completeness);
}

/// Users `u0` to `u<count>`, of which every third is a contractor.
fn listed(count: u32) -> Archive {
    let mut archive = archive();
    let mut run = Run::by_hand(NAME);
    for n in 0..count {
        let role = if n % 3 == 0 { "contractor" } else { "staff" };
        let record = serde_json::json!({"id": format!("u{n}"), "ok": true, "role": {"name": role}});
        run = run.record("user", record);
    }
    archive.at("2026-07-03").run(&run);
    archive
}

fn by_seed(size: u64, strata: Option<&str>) -> Choice {
    let seed = "16180".parse().unwrap();
    Choice::Seed { seed, size, size_from: "given".into(), strata: strata.map(str::to_owned) }
}

fn packed(memory: &Memory, drawn: &sampling::Drawn) -> Memory {
    let mut objects = BTreeMap::new();
    packed::make(memory, &drawn.sample, &drawn.parts, &mut |name, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        objects.insert(name.to_owned(), bytes);
        Ok(())
    })
    .unwrap();
    Memory(objects)
}

#[test]
fn a_sample_is_packed_with_its_evidence_and_verifies_alone() {
    let mut archive = listed(30);
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let found = collect(&ledger, &question(Of::Items)).unwrap();
    for strata in [None, Some("job"), Some("role.name")] {
        let drawn = sample(&ledger, &found, None, &by_seed(9, strata), &[]).unwrap();
        let judged = judge(&packed(&memory, &drawn), &Options::trusting(testing::trust())).unwrap();
        assert_eq!(judged.findings, [], "{strata:?}");
        assert_eq!((judged.items, judged.without_evidence, judged.control.as_str()), (9, 0, "AC-01"));
        assert!(judged.limits.iter().any(|limit| limit.code == "SAMPLE-NOT-FROZEN"));
        assert_eq!(judged.limits.iter().any(|limit| limit.code == "SAMPLE-STRATA"), strata == Some("role.name"));
        if strata == Some("role.name") {
            let shares: Vec<u64> =
                drawn.sample.procedure.strata.unwrap().strata.iter().map(|stratum| stratum.size).collect();
            assert_eq!(shares, [3, 6]);
        }
    }
    let refused = sample(&ledger, &found, None, &by_seed(9, Some("rolle")), &[]).unwrap_err().to_string();
    assert!(refused.contains("\"rolle\""), "{refused}");
    let all = sample(&ledger, &found, None, &by_seed(99, None), &[]).unwrap();
    assert_eq!(all.sample.items.len(), 30);
    assert!(
        all.sample.notes.iter().any(|note| note.contains("these are all that there are")),
        "{:?}",
        all.sample.notes
    );
}

#[test]
fn ids_that_the_population_lacks_are_refused_by_name_and_others_taken() {
    let mut archive = listed(5);
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let found = collect(&ledger, &question(Of::Items)).unwrap();
    let ids = |ids: &[&str]| Choice::Ids(ids.iter().map(|id| format!("{NAME} {id}")).collect());
    let drawn = sample(&ledger, &found, None, &ids(&["u4", "u1"]), &[]).unwrap();
    assert_eq!((drawn.sample.procedure.how, drawn.sample.items.len()), (How::Ids, 2));
    assert!(drawn.sample.items.iter().all(|item| item.why == Why::Named));
    assert!(judge(&packed(&memory, &drawn), &Options::trusting(testing::trust())).unwrap().intact);
    let refused = sample(&ledger, &found, None, &ids(&["u4", "u9"]), &[]).unwrap_err().to_string();
    assert!(refused.contains("u9") && !refused.contains("u4"), "{refused}");
}

#[test]
fn a_frozen_population_is_computed_again_from_what_the_log_held_then() {
    let mut archive = listed(8);
    let (memory, verdict) = archive.verified("");
    let asked = question(Of::Items);
    let found = collect(&Ledger::new(&memory, &verdict).unwrap(), &asked).unwrap();
    let written = document(&Ledger::new(&memory, &verdict).unwrap(), std::slice::from_ref(&found)).unwrap();
    let entry = archive.at("2026-07-06").document(KIND, &written.to_bytes());
    // A run by hand that is logged later, with a start within the period, changes what follows now, and not what was frozen.
    archive.at("2026-07-03T12:00:00Z").run(&Run::by_hand(NAME).user("late", true));
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    assert_eq!(ids(&collect(&ledger, &asked).unwrap()), ["host/users@this late"]);
    let again = compared(&ledger, &asked).unwrap();
    assert_eq!((again.frozen.unwrap().entry, again.differs), (entry, None));
    assert_eq!(again.collected.list, found.list);
    let drawn = sample(&ledger, &again.collected, again.frozen, &by_seed(3, None), &[]).unwrap();
    let judged = judge(&packed(&memory, &drawn), &Options::trusting(testing::trust())).unwrap();
    assert_eq!(judged.findings, []);

    let mut other = listed(8);
    let mut wrong = written;
    wrong.populations[0].count = 7;
    // The archives are written alike up to here.
    other.verified("");
    other.at("2026-07-06").document(KIND, &wrong.to_bytes());
    let (memory, verdict) = other.verified("");
    assert_eq!(verdict.findings, []);
    let again = compared(&Ledger::new(&memory, &verdict).unwrap(), &asked).unwrap();
    assert!(again.differs.unwrap().contains("froze 7 items"));
}

#[test]
fn a_report_lists_what_was_frozen_first_of_its_period_and_nothing_of_another() {
    let mut archive = listed(8);
    let (memory, verdict) = archive.verified("");
    let found = collect(&Ledger::new(&memory, &verdict).unwrap(), &question(Of::Items)).unwrap();
    let written = document(&Ledger::new(&memory, &verdict).unwrap(), std::slice::from_ref(&found)).unwrap();
    let first = archive.at("2026-07-06").document(KIND, &written.to_bytes());
    // Frozen again with another count, as somebody might who does not like the first: the first one counts.
    let mut again = written.clone();
    again.populations[0].count = 7;
    let second = archive.at("2026-07-07").document(KIND, &again.to_bytes());
    let (memory, verdict) = archive.verified("");
    assert_eq!(verdict.findings, []);
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let listed = |from, to| frozen_about(&ledger, at(from), at(to)).unwrap();
    let [one] = listed("2026-07-01", "2026-07-04").try_into().unwrap();
    assert_eq!((one.entry, &one.population, one.not_after), (first, &found.population, None));
    assert_eq!((one.otherwise.as_slice(), one.judged_up_to), ([second].as_slice(), written.as_of.at));
    // A longer period, and one that it reaches into, tell it with its own days; one that begins as it ends does not.
    assert_eq!(listed("2026-01-01", "2027-01-01"), std::slice::from_ref(&one));
    assert_eq!(listed("2026-07-03", "2026-08-01"), [one]);
    assert_eq!(listed("2026-07-04", "2026-08-01"), []);
}

#[test]
fn a_first_draw_is_rolled_forward_and_another_one_refused() {
    let mut archive = listed(12);
    archive.at("2026-07-03T18:00:00Z");
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let early = Question { to: at("2026-07-04"), ..question(Of::Items) };
    let found = collect(&ledger, &early).unwrap();
    let drawn = sample(&ledger, &found, None, &by_seed(4, None), &[]).unwrap();
    let first = Earlier { sample: drawn.sample.to_bytes(), population: drawn.parts.population.clone() };
    let mut run = Run::by_hand(NAME);
    for n in 0..20 {
        run = run.user(&format!("u{n}"), true);
    }
    archive.at("2026-07-08").run(&run);
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let whole = Question { to: at("2026-07-10"), ..question(Of::Items) };
    let found = collect(&ledger, &whole).unwrap();
    let rolled = sample(&ledger, &found, None, &by_seed(7, None), std::slice::from_ref(&first)).unwrap();
    let whys: Vec<Why> = rolled.sample.items.iter().map(|item| item.why).collect();
    assert_eq!(whys, [vec![Why::Interim; 4], vec![Why::Drawn; 3]].concat());
    assert!(rolled.sample.items[4..].iter().all(|item| !drawn.parts.readme.contains(&item.item.id)));
    assert_eq!(judge(&packed(&memory, &rolled), &Options::trusting(testing::trust())).unwrap().findings, []);
    // At the year's end the two draws are continued once more.
    let again = Earlier { sample: rolled.sample.to_bytes(), population: rolled.parts.population.clone() };
    let later = Question { to: at("2026-07-12"), ..whole.clone() };
    archive.at("2026-07-11").run(&(20..30).fold(Run::by_hand(NAME), |run, n| run.user(&format!("u{n}"), true)));
    let (memory, verdict) = archive.verified("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let stages = [again.clone(), first.clone()];
    let found = collect(&ledger, &later).unwrap();
    let last = sample(&ledger, &found, None, &by_seed(9, None), &stages).unwrap();
    let whys: Vec<Why> = last.sample.items.iter().map(|item| item.why).collect();
    assert_eq!(whys, [vec![Why::Interim; 7], vec![Why::Drawn; 2]].concat());
    let package = packed(&memory, &last);
    let judged = judge(&package, &Options::trusting(testing::trust())).unwrap();
    assert_eq!((judged.findings, judged.limits.iter().any(|limit| limit.code == "SAMPLE-INTERIM")), (vec![], false));
    assert!(last.parts.readme.contains("Continues the draw up to 2026-07-04T00:00:00Z: 4 items stay."));
    for name in ["interim/sample.json", "interim/interim/population.jsonl"] {
        let mut cut = package.0.clone();
        assert!(cut.remove(name).is_some(), "{name}");
        let judged = judge(&Memory(cut), &Options::trusting(testing::trust())).unwrap();
        assert!(!judged.intact, "{name}");
    }
    let refused =
        |stages: &[Earlier]| sample(&ledger, &found, None, &by_seed(9, None), stages).unwrap_err().to_string();
    let alone = refused(std::slice::from_ref(&again));
    assert!(alone.contains("the one before it is missing"), "{alone}");
    assert!(refused(&[first.clone(), again]).contains("not the one that it names"));

    let other = Question { from: at("2026-07-02"), ..whole };
    let found = collect(&ledger, &other).unwrap();
    let refused =
        sample(&ledger, &found, None, &by_seed(7, None), std::slice::from_ref(&first)).unwrap_err().to_string();
    assert!(refused.contains("no beginning of this period"), "{refused}");
}

#[test]
fn occurrences_are_those_of_the_report_and_one_that_nobody_observed_stays_in_the_list() {
    let mut archive = archive();
    let good = archive.at("2026-07-01T04:00:00Z").run(&Run::by_hand(NAME).user("ann", true));
    let bad = archive.at("2026-07-02T04:00:00Z").run(&Run::by_hand(NAME).user("ann", false));
    let failed = archive.at("2026-07-03T04:00:00Z").run(&Run::by_hand(NAME).failed("denied"));
    let other = archive.at("2026-07-03T05:00:00Z").run(&Run::by_hand(OTHER).user("ben", true));
    archive.at("2026-07-05T00:00:00Z").plan(&[(NAME, None), (OTHER, None)], "restated");
    let (memory, found) = collected(&mut archive, &question(Of::Occurrences));
    let told: Vec<(&str, Option<u64>)> =
        found.list.items.iter().map(|item| (item.state.as_str(), item.entry)).collect();
    let nobody = ("not_observed", None);
    assert_eq!(
        told,
        [
            nobody,
            nobody,
            ("operated", Some(other)),
            ("operated", Some(good)),
            ("deviation", Some(bad)),
            ("not_observed", Some(failed))
        ]
    );
    assert_eq!(ids(&found)[3], "host/users@this 2026-07-01T00:00:00Z");
    let gaps = &found.population.not_observed;
    assert_eq!(gaps.len(), 2);
    assert_eq!((gaps[0].from, gaps[0].to), (at("2026-07-01"), at("2026-07-03")));
    assert!(found.completeness.starts_with("3 of 6 occurrences were not observed"), "{}", found.completeness);

    let verdict = memory.judge("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let frozen = all(&ledger, at("2026-07-01"), at("2026-07-04"), at("2026-07-10")).unwrap();
    assert_eq!(frozen.iter().map(|one| &one.population).collect::<Vec<_>>(), [&found.population]);
    let drawn = sample(&ledger, &found, None, &by_seed(6, Some("job")), &[]).unwrap();
    let judged = judge(&packed(&memory, &drawn), &Options::trusting(testing::trust())).unwrap();
    assert_eq!((judged.findings, judged.items, judged.without_evidence), (Vec::new(), 6, 2));
    assert!(drawn.sample.notes.iter().any(|note| note.starts_with("Of 2 items the log holds nothing")));
}

#[test]
fn what_no_job_reads_is_in_the_population_as_not_observed() {
    let mut archive = Archive::new("2026-06-30");
    let control = testing::control("AC-01", Frequency::Daily, "backup_protected");
    archive.controls(&set(&[control], vec![scoped(NAME, USERS)]));
    archive.plan(&[(NAME, None)], "restated");
    archive.at("2026-07-10").plan(&[(NAME, None)], "restated");
    let (memory, found) = collected(&mut archive, &question(Of::Occurrences));
    assert_eq!(found.list.items.iter().map(|item| &item.job).collect::<Vec<_>>(), [&None, &None, &None]);
    assert_eq!(ids(&found)[0], "no job 2026-07-01T00:00:00Z");
    assert_eq!((found.population.not_observed.len(), found.population.not_observed[0].job_name()), (1, "no job"));
    let verdict = memory.judge("");
    let ledger = Ledger::new(&memory, &verdict).unwrap();
    let drawn = sample(&ledger, &found, None, &by_seed(2, Some("job")), &[]).unwrap();
    let judged = judge(&packed(&memory, &drawn), &Options::trusting(testing::trust())).unwrap();
    assert_eq!((judged.findings, judged.items, judged.without_evidence), (Vec::new(), 2, 2));
}
