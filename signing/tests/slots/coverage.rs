//! Plans against receipts: each rule, by name.

use signing::{
    digest::Digest,
    plan::{Plan, Schedule},
    slots::{Change, Coverage, CoverageReport, SlotFinding},
    statement::{Cause, Missed, Outcome},
    time::Utc,
};

use crate::{at, daily, digest, hourly, job, plan};

const JOB: &str = "host/accounts@this";
const OTHER: &str = "host/sshd@this";

/// A log being written: coverage and the next index.
struct Log {
    coverage: Coverage,
    index: u64,
}

impl Log {
    fn new() -> Self {
        Self { coverage: Coverage::new(), index: 0 }
    }

    fn plan(&mut self, plan: &Plan) -> Digest {
        self.coverage.plan(self.index, digest(plan), plan);
        self.index += 1;
        digest(plan)
    }

    fn run(&mut self, plan: Digest, name: &str, slot: &str) {
        self.coverage.receipt(self.index, plan, &job(name), at(slot), Outcome::Collected, false);
        self.index += 1;
    }

    fn missed(&mut self, plan: Digest, name: &str, first: &str, last: &str, count: u64) {
        let (first, last) = (at(first), at(last));
        let missed =
            Missed { job: job(name), first, last, count, cause: Cause::Down, detail: "no agent ran".to_owned() };
        self.coverage.missed(self.index, plan, &missed);
        self.index += 1;
    }

    fn finish(&mut self, as_of: &str) -> (CoverageReport, Vec<SlotFinding>) {
        let report = self.coverage.finish(at(as_of));
        (report, self.coverage.take_findings())
    }
}

fn codes(findings: &[SlotFinding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.code).collect()
}

fn slots(coverage: &Coverage, upto: &str) -> Vec<String> {
    coverage.due(at(upto)).map(|(job, _, slot)| format!("{job} {}", slot.format("%d %H:%M"))).collect()
}

fn first_plan() -> Plan {
    plan("2026-11-22T03:30:00Z", None, &[(JOB, Some(hourly()))])
}

#[test]
fn every_slot_with_a_receipt_is_no_finding() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    for hour in 4..10 {
        log.run(p, JOB, &format!("2026-11-22T{hour:02}:00:00Z"));
    }
    let (report, findings) = log.finish("2026-11-22T10:00:00Z");
    assert_eq!(findings, []);
    assert_eq!((report.total.judged, report.total.open, report.total.uncovered), (6, 1, 0));
    assert_eq!(report.total.outcomes[&Outcome::Collected], 6);
    assert_eq!((report.first, report.last), (Some(at("2026-11-22T03:30:00Z")), Some(at("2026-11-22T10:00:00Z"))));
    assert!(report.in_force);
}

#[test]
fn a_slot_without_receipt_is_open_until_its_time_is_over_and_then_missing() {
    let open = |as_of: &str| {
        let mut log = Log::new();
        log.plan(&first_plan());
        let (report, findings) = log.finish(as_of);
        (report.total.judged, report.total.open, codes(&findings))
    };
    assert_eq!(open("2026-11-22T03:59:59Z"), (0, 0, vec![]));
    assert_eq!(open("2026-11-22T04:00:00Z"), (0, 1, vec![]));
    assert_eq!(open("2026-11-22T04:59:59.999Z"), (0, 1, vec![]));
    assert_eq!(open("2026-11-22T05:00:00Z"), (1, 1, vec!["SLOT-MISSING"]));
}

#[test]
fn missing_slots_are_named_in_ranges_with_their_plan() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T04:00:00Z");
    log.run(p, JOB, "2026-11-22T08:00:00Z");
    let (report, findings) = log.finish("2026-11-22T11:30:00Z");
    let job = &report.jobs[0];
    let ranges: Vec<_> = job.uncovered.iter().map(|u| (u.first, u.last, u.count, u.plan)).collect();
    assert_eq!(
        ranges,
        [
            (at("2026-11-22T05:00:00Z"), at("2026-11-22T07:00:00Z"), 3, p),
            (at("2026-11-22T09:00:00Z"), at("2026-11-22T10:00:00Z"), 2, p)
        ]
    );
    assert_eq!((job.counts.judged, job.counts.uncovered, job.counts.open), (7, 5, 1));
    assert_eq!(codes(&findings), ["SLOT-MISSING", "SLOT-MISSING"]);
    assert_eq!((findings[0].index, findings[0].slot), (0, Some(at("2026-11-22T05:00:00Z"))));
    assert!(
        findings[0].sentence.starts_with("3 slots of host/accounts@this from 2026-11-22T05:00:00Z to"),
        "{findings:?}"
    );
}

#[test]
fn the_second_receipt_for_a_slot_is_a_finding_and_the_first_counts() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T04:00:00Z");
    log.coverage.receipt(2, p, &job(JOB), at("2026-11-22T04:00:00Z"), Outcome::Failed, true);
    let (report, findings) = log.finish("2026-11-22T04:30:00Z");
    assert_eq!((codes(&findings), findings[0].index), (vec!["SLOT-DOUBLE"], 2));
    assert_eq!(report.total.outcomes.keys().collect::<Vec<_>>(), [&Outcome::Collected]);
    assert_eq!((report.total.judged, report.total.late), (1, 0));
}

#[test]
fn a_receipt_after_a_later_one_is_out_of_order_but_covers() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T05:00:00Z");
    log.run(p, JOB, "2026-11-22T04:00:00Z");
    let (report, findings) = log.finish("2026-11-22T06:30:00Z");
    assert_eq!((codes(&findings), findings[0].index), (vec!["SLOT-ORDER"], 2));
    assert_eq!((report.total.judged, report.total.uncovered), (2, 0));
    assert_eq!(report.jobs[0].last_covered, Some(at("2026-11-22T05:00:00Z")));
}

#[test]
fn a_receipt_for_no_slot_is_a_finding_that_says_why() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T04:01:00Z");
    log.run(p, JOB, "2026-11-22T04:00:00.500Z");
    log.run(p, JOB, "2026-11-22T03:00:00Z");
    log.run(p, OTHER, "2026-11-22T04:00:00Z");
    let (report, findings) = log.finish("2026-11-22T04:30:00Z");
    assert_eq!(codes(&findings), ["SLOT-UNKNOWN"; 4]);
    for (finding, why) in
        findings.iter().zip(["does not name it", "does not name it", "plan in force then", "no plan before"])
    {
        assert!(finding.sentence.contains(why), "{}", finding.sentence);
    }
    assert_eq!((report.total.judged, report.total.open), (0, 1));
}

#[test]
fn slots_due_under_a_plan_keep_it_when_their_receipts_follow_the_next_plan() {
    let one = first_plan();
    let two = plan("2026-11-22T06:10:00Z", Some(&one), &[(JOB, Some(daily(&[30], &[6, 7])))]);
    let mut log = Log::new();
    let p1 = log.plan(&one);
    log.run(p1, JOB, "2026-11-22T04:00:00Z");
    let p2 = log.plan(&two);
    assert_eq!(
        log.coverage.due(at("2026-11-22T07:00:00Z")).collect::<Vec<_>>(),
        [
            (job(JOB), p1, at("2026-11-22T05:00:00Z")),
            (job(JOB), p1, at("2026-11-22T06:00:00Z")),
            (job(JOB), p2, at("2026-11-22T06:30:00Z"))
        ]
    );
    log.run(p1, JOB, "2026-11-22T05:00:00Z");
    log.run(p1, JOB, "2026-11-22T06:00:00Z");
    log.run(p2, JOB, "2026-11-22T06:30:00Z");
    let (report, findings) = log.finish("2026-11-22T07:00:00Z");
    assert_eq!(findings, []);
    assert_eq!((report.total.judged, report.total.open), (4, 0));
}

#[test]
fn a_receipt_that_names_another_plan_is_a_finding() {
    let one = first_plan();
    let two = plan("2026-11-22T06:00:00Z", Some(&one), &[(JOB, Some(hourly()))]);
    let mut log = Log::new();
    let p1 = log.plan(&one);
    log.run(Digest::of(b"no plan"), JOB, "2026-11-22T04:00:00Z");
    log.run(digest(&two), JOB, "2026-11-22T05:00:00Z");
    log.plan(&two);
    log.run(p1, JOB, "2026-11-22T06:00:00Z");
    let (report, findings) = log.finish("2026-11-22T06:30:00Z");
    assert_eq!(codes(&findings), ["SLOT-PLAN"; 3]);
    assert!(findings[1].sentence.contains("not in the log before it"), "{}", findings[1].sentence);
    assert!(findings[2].sentence.ends_with("names the plan at entry 0; the slot was due under the plan at entry 3"));
    assert_eq!((report.total.judged, report.total.uncovered), (3, 0), "each covers its slot");
}

#[test]
fn a_missed_receipt_covers_its_slots_with_its_cause() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.missed(p, JOB, "2026-11-22T04:00:00Z", "2026-11-22T08:00:00Z", 5);
    log.run(p, JOB, "2026-11-22T09:00:00Z");
    let (report, findings) = log.finish("2026-11-22T10:00:00Z");
    assert_eq!(findings, []);
    assert_eq!((report.total.judged, report.total.missed[&Cause::Down]), (6, 5));
}

#[test]
fn a_missed_receipt_with_a_wrong_count_or_span_is_a_finding() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.missed(p, JOB, "2026-11-22T04:00:00Z", "2026-11-22T06:00:00Z", 4);
    log.missed(p, JOB, "2026-11-22T08:00:00Z", "2026-11-22T07:00:00Z", 2);
    log.missed(p, JOB, "2026-11-22T07:00:00Z", "2026-11-22T07:30:00Z", 1);
    let (report, findings) = log.finish("2026-11-22T06:30:00Z");
    assert_eq!(codes(&findings), ["SLOT-COUNT", "SLOT-COUNT", "SLOT-UNKNOWN"]);
    assert!(findings[0].sentence.contains("says that 4 slots") && findings[0].sentence.ends_with("the plan names 3"));
    assert_eq!(report.total.missed[&Cause::Down], 3);
}

#[test]
fn a_missed_receipt_over_two_plans_is_a_finding() {
    let one = first_plan();
    let two = plan("2026-11-22T05:30:00Z", Some(&one), &[(JOB, Some(hourly()))]);
    let mut log = Log::new();
    let p1 = log.plan(&one);
    log.plan(&two);
    log.missed(p1, JOB, "2026-11-22T04:00:00Z", "2026-11-22T06:00:00Z", 3);
    let (_, findings) = log.finish("2026-11-22T06:30:00Z");
    assert_eq!(codes(&findings), ["SLOT-PLAN"]);
}

#[test]
fn a_missed_receipt_that_overlaps_others_counts_each_slot_once() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T04:00:00Z");
    log.run(p, JOB, "2026-11-22T07:00:00Z");
    log.missed(p, JOB, "2026-11-22T04:00:00Z", "2026-11-22T09:00:00Z", 6);
    let (report, findings) = log.finish("2026-11-22T09:30:00Z");
    assert_eq!(codes(&findings), ["SLOT-DOUBLE", "SLOT-ORDER"]);
    assert!(findings[0].sentence.starts_with("2 slots"), "{}", findings[0].sentence);
    assert_eq!((report.total.judged, report.total.missed[&Cause::Down]), (6, 4));
}

#[test]
fn plans_must_follow_each_other_by_digest_and_by_time() {
    let one = first_plan();
    let unchained = plan("2026-11-22T04:10:00Z", None, &[(JOB, Some(hourly()))]);
    let early = plan("2026-11-22T04:05:00Z", Some(&unchained), &[(JOB, Some(hourly()))]);
    let mut log = Log::new();
    log.plan(&plan("2026-11-22T03:00:00Z", Some(&one), &[]));
    log.plan(&unchained);
    log.plan(&early);
    let (_, findings) = log.finish("2026-11-22T04:30:00Z");
    let found: Vec<_> = findings.iter().map(|f| (f.code, f.index)).collect();
    assert_eq!(found, [("PLAN-CHAIN", 0), ("PLAN-CHAIN", 1), ("PLAN-ORDER", 2)]);
}

#[test]
fn a_plan_back_dated_before_receipted_slots_is_a_finding_and_takes_nothing_from_them() {
    let one = first_plan();
    let two = plan("2026-11-22T04:30:00Z", Some(&one), &[(JOB, Some(daily(&[15], &[4, 5, 6])))]);
    let mut log = Log::new();
    let p1 = log.plan(&one);
    log.run(p1, JOB, "2026-11-22T04:00:00Z");
    log.run(p1, JOB, "2026-11-22T05:00:00Z");
    let p2 = log.plan(&two);
    log.run(p2, JOB, "2026-11-22T05:15:00Z");
    log.run(p1, JOB, "2026-11-22T05:00:00Z");
    let (report, findings) = log.finish("2026-11-22T05:30:00Z");
    assert_eq!(codes(&findings)[..1], ["PLAN-ORDER"]);
    assert!(codes(&findings).contains(&"SLOT-DOUBLE"));
    assert_eq!((report.total.judged, report.total.uncovered), (3, 0));
}

#[test]
fn a_plan_whose_watermark_promises_too_much_is_a_finding() {
    let one = first_plan();
    let mut two = plan("2026-11-22T06:30:00Z", Some(&one), &[(JOB, Some(hourly()))]);
    let mark = |two: &mut Plan, at: Utc| two.jobs[0].watermark = Some(at);
    let found = |two: &Plan| {
        let mut log = Log::new();
        let p1 = log.plan(&one);
        log.run(p1, JOB, "2026-11-22T04:00:00Z");
        log.plan(two);
        codes(&log.coverage.take_findings())
    };
    mark(&mut two, at("2026-11-22T05:00:00Z"));
    assert_eq!(found(&two), Vec::<&str>::new());
    mark(&mut two, at("2026-11-22T05:00:01Z"));
    assert_eq!(found(&two), ["PLAN-WATERMARK"]);
}

#[test]
fn the_watermark_offered_is_the_first_slot_without_receipt_but_never_in_the_future() {
    let mut log = Log::new();
    let p = log.plan(&first_plan());
    log.run(p, JOB, "2026-11-22T04:00:00Z");
    let mark = |log: &Log, now: &str| log.coverage.watermark(&job(JOB), at(now));
    assert_eq!(mark(&log, "2026-11-22T04:30:00Z"), at("2026-11-22T04:30:00Z"));
    assert_eq!(mark(&log, "2026-11-22T07:30:00Z"), at("2026-11-22T05:00:00Z"));
    log.run(p, JOB, "2026-11-22T06:00:00Z");
    assert_eq!(mark(&log, "2026-11-22T07:30:00Z"), at("2026-11-22T05:00:00Z"));
    assert_eq!(log.coverage.watermark(&job("no/job@x"), at("2026-11-22T07:30:00Z")), at("2026-11-22T07:30:00Z"));
}

#[test]
fn every_change_of_plan_is_listed_and_a_restatement_is_none() {
    let one = plan("2026-11-22T00:00:00Z", None, &[(JOB, Some(hourly())), (OTHER, Some(hourly()))]);
    let restated = plan("2026-11-23T00:00:00Z", Some(&one), &[(JOB, Some(hourly())), (OTHER, Some(hourly()))]);
    let rarer =
        plan("2026-11-24T00:00:00Z", Some(&restated), &[(JOB, Some(daily(&[0], &[4]))), ("a/new@x", Some(hourly()))]);
    let paused = Plan { reason: "paused: moving house".to_owned(), ..plan("2026-11-25T00:00:00Z", Some(&rarer), &[]) };
    let still = plan("2026-11-26T00:00:00Z", Some(&paused), &[]);
    let mut resumed =
        plan("2026-11-27T00:00:00Z", Some(&still), &[(JOB, Some(daily(&[0], &[4]))), ("a/new@x", Some(hourly()))]);
    resumed.jobs[1].deadline_seconds = 7200;
    let mut log = Log::new();
    for plan in [&one, &restated, &rarer, &paused, &still, &resumed] {
        log.plan(plan);
    }
    let (report, _) = log.finish("2026-11-27T00:00:00Z");
    let found: Vec<_> = report.changes.iter().map(|c| (c.index, c.change.clone(), c.lowers)).collect();
    let words = |schedule: &Schedule| format!("{} UTC", schedule.text);
    let (every, four) = (words(&hourly()), words(&daily(&[0], &[4])));
    assert_eq!(
        found,
        [
            (2, Change::Schedule { job: job(JOB), before: every.clone(), after: four }, true),
            (2, Change::Removed { job: job(OTHER), schedule: every.clone(), because: None }, true),
            (2, Change::Added { job: job("a/new@x"), schedule: every }, false),
            (3, Change::Paused { jobs: 2 }, true),
            (5, Change::Resumed { jobs: 2 }, false),
            (5, Change::Allowance { job: job("a/new@x"), before_seconds: 3600, after_seconds: 9600 }, true),
        ]
    );
    assert_eq!(report.changes[3].reason, "paused: moving house");
}

#[test]
fn nothing_is_due_while_paused_and_what_was_due_before_stays_due() {
    let one = first_plan();
    let paused = plan("2026-11-22T05:30:00Z", Some(&one), &[]);
    let resumed = plan("2026-11-22T08:30:00Z", Some(&paused), &[(JOB, Some(hourly()))]);
    let mut log = Log::new();
    log.plan(&one);
    log.plan(&paused);
    log.plan(&resumed);
    assert_eq!(
        slots(&log.coverage, "2026-11-22T09:00:00Z"),
        [format!("{JOB} 22 04:00"), format!("{JOB} 22 05:00"), format!("{JOB} 22 09:00")]
    );
    let (report, findings) = log.finish("2026-11-22T09:00:00Z");
    assert_eq!((report.total.judged, report.total.open), (2, 1));
    assert_eq!(codes(&findings), ["SLOT-MISSING"]);
}

#[test]
fn uncovered_slots_come_in_ranges_of_one_plan_each() {
    let one = first_plan();
    let two = plan("2026-11-22T06:00:00Z", Some(&one), &[(JOB, Some(hourly()))]);
    let mut log = Log::new();
    let p1 = log.plan(&one);
    let p2 = log.plan(&two);
    log.run(p1, JOB, "2026-11-22T04:00:00Z");
    let given: Vec<_> = log
        .coverage
        .uncovered(&job(JOB), at("2026-11-22T09:00:00Z"))
        .map(|u| (u.first.format("%H").to_string(), u.last.format("%H").to_string(), u.count, u.plan))
        .collect();
    assert_eq!(given, [("05".into(), "05".into(), 1, p1), ("06".into(), "08".into(), 3, p2)]);
}

#[test]
fn resumed_coverage_believes_watermarks_and_passes_over_what_lies_before() {
    let one = first_plan();
    let mut two = plan("2026-11-22T06:30:00Z", Some(&one), &[(JOB, Some(hourly()))]);
    two.jobs[0].watermark = Some(at("2026-11-22T06:30:00Z"));
    let mut three = plan("2026-11-22T09:30:00Z", Some(&two), &[(JOB, Some(hourly()))]);
    three.jobs[0].watermark = Some(at("2026-11-22T08:00:00Z"));
    assert_eq!(three.read_back_from(), at("2026-11-22T08:00:00Z"), "plan two is old enough");
    let mut coverage = Coverage::resume(7, digest(&two), &two);
    coverage.receipt(8, digest(&one), &job(JOB), at("2026-11-22T06:00:00Z"), Outcome::Collected, false);
    coverage.plan(9, digest(&three), &three);
    assert_eq!(
        coverage.due(at("2026-11-22T10:00:00Z")).collect::<Vec<_>>(),
        [
            (job(JOB), digest(&two), at("2026-11-22T08:00:00Z")),
            (job(JOB), digest(&two), at("2026-11-22T09:00:00Z")),
            (job(JOB), digest(&three), at("2026-11-22T10:00:00Z"))
        ]
    );
    let p = digest(&two);
    coverage.receipt(10, p, &job(JOB), at("2026-11-22T08:00:00Z"), Outcome::Collected, false);
    assert_eq!(coverage.take_findings(), []);
    assert_eq!(coverage.last_covered(&job(JOB)), Some(at("2026-11-22T08:00:00Z")));
    coverage.receipt(11, p, &job(JOB), at("2026-11-22T08:00:00Z"), Outcome::Collected, false);
    assert_eq!(codes(&coverage.take_findings()), ["SLOT-DOUBLE"]);
}

#[test]
fn runs_by_hand_fill_no_slot_but_are_counted() {
    let mut log = Log::new();
    log.plan(&plan("2026-11-22T03:30:00Z", None, &[(JOB, None)]));
    log.coverage.by_hand(&job(JOB));
    log.coverage.by_hand(&job(JOB));
    let (report, findings) = log.finish("2026-12-22T03:30:00Z");
    assert_eq!(findings, []);
    assert_eq!((report.by_hand, report.total.judged, report.first, report.last), (2, 0, None, None));
    assert!(!report.in_force);
}

#[test]
fn a_schedule_that_cannot_be_followed_is_a_finding() {
    let mut one = first_plan();
    one.zones.clear();
    let mut log = Log::new();
    log.plan(&one);
    let findings = log.coverage.take_findings();
    assert_eq!(codes(&findings), ["PLAN-SCHEDULE"]);
    assert!(findings[0].sentence.contains("no offsets for its zone"), "{}", findings[0].sentence);
}

#[test]
fn other_offsets_for_the_same_time_are_a_change_but_seeing_further_is_none() {
    use signing::plan::Offset;
    let offset = |from: Option<&str>, hours: i32| Offset { from: from.map(at), seconds: hours * 3600 };
    let with = |sealed_at: &str, previous: Option<&Plan>, zone: &[Offset]| {
        let mut plan = plan(sealed_at, previous, &[(JOB, Some(hourly()))]);
        plan.zones.insert("UTC".to_owned(), zone.to_vec());
        plan
    };
    let (march, october) = (Some("2027-03-28T01:00:00Z"), Some("2027-10-31T01:00:00Z"));
    let one = with("2026-11-22T00:00:00Z", None, &[offset(None, 1), offset(march, 2)]);
    let further = with("2026-11-23T00:00:00Z", Some(&one), &[offset(None, 1), offset(march, 2), offset(october, 1)]);
    let later = with("2027-04-23T00:00:00Z", Some(&further), &[offset(None, 2), offset(october, 1)]);
    let other = with("2027-04-24T00:00:00Z", Some(&later), &[offset(None, 3), offset(october, 1)]);
    let mut log = Log::new();
    for plan in [&one, &further, &later, &other] {
        log.plan(plan);
    }
    let (report, _) = log.finish("2026-11-22T00:00:00Z");
    let found: Vec<_> = report.changes.iter().map(|c| (c.index, &c.change)).collect();
    assert_eq!(found, [(3, &Change::Zone { zone: "UTC".to_owned() })]);
}
