//! Reports by hand: awkward ones, empty ones, large ones.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, TimeZone as _};
use controls::{Category, Counts, Frequency, HipaaKind, Outcome, Requirement, Strength};
use serde_json::json;
use signing::{
    digest::Digest,
    layout::Job,
    population::{Gap, Of, Population},
    slots::{Range, SlotCounts, Uncovered},
    statement::{Cause, Outcome as Run},
    time::Utc,
    verify::Limit,
};

use crate::model::*;

/// What a name in an account may hold.
pub const EVIL: &str = "</td><script>alert(1)</script><img src=x onerror=\"alert(2)\">\" autofocus \
    \u{202e}txt.exe\u{2066}\u{200f}\u{0}\u{200b}\u{feff}'&";

const FIRST: (i32, u32, u32) = (2025, 12, 1);

fn utc(y: i32, m: u32, d: u32, h: u32) -> Utc {
    chrono::Utc.with_ymd_and_hms(y, m, d, h, 0, 0).unwrap()
}

fn job(name: &str) -> Job {
    name.parse().unwrap()
}

fn first() -> NaiveDate {
    NaiveDate::from_ymd_opt(FIRST.0, FIRST.1, FIRST.2).unwrap()
}

fn day(n: u64) -> Utc {
    first().checked_add_days(Days::new(n)).unwrap().and_time(chrono::NaiveTime::MIN).and_utc()
}

fn daily(job: &Job, evil: &str, state: impl Fn(u64) -> OccurrenceState) -> Vec<Occurrence> {
    (0..365)
        .map(|n| {
            let state = state(n);
            Occurrence {
                job: Some(job.clone()),
                from: day(n),
                to: day(n + 1),
                state,
                part: usize::from(n > 180),
                runs: 24,
                entry: Some(n * 24),
                record: None,
                reason: match state {
                    OccurrenceState::Operated => String::new(),
                    OccurrenceState::NotObserved => format!("24 slots missed (down) {evil}"),
                    _ => format!("2 of 31 users have no MFA {evil}"),
                },
            }
        })
        .collect()
}

fn counts(of: &[Occurrence]) -> OccurrenceCounts {
    let n = |state| of.iter().filter(|one| one.state == state).count() as u64;
    let mut counts = OccurrenceCounts {
        required: 0,
        operated: n(OccurrenceState::Operated),
        deviation: n(OccurrenceState::Deviation),
        not_observed: n(OccurrenceState::NotObserved),
        no_occasion: n(OccurrenceState::NoOccasion),
        open: n(OccurrenceState::Open),
    };
    counts.required = counts.operated + counts.deviation + counts.not_observed;
    counts
}

fn slots() -> SlotCounts {
    SlotCounts {
        judged: 8_760,
        outcomes: BTreeMap::from([(Run::Collected, 8_600), (Run::Partial, 30), (Run::Failed, 10)]),
        late: 4,
        missed: BTreeMap::from([(Cause::Down, 100), (Cause::Crashed, 15)]),
        uncovered: 5,
        open: 2,
    }
}

fn control(id: &str, evil: &str, occurrences: Vec<Occurrence>, frequency: Frequency) -> ControlReport {
    let counts = counts(&occurrences);
    let jobs: std::collections::BTreeSet<Job> = occurrences.iter().filter_map(|one| one.job.clone()).collect();
    let part = |from, to, because: &str| Part {
        from: day(from),
        to: day(to),
        because: because.to_owned(),
        document: (from > 0).then(|| Digest::of(b"controls")),
        statement: format!("Every interactive user signs in with a second factor. {evil}"),
        frequency,
        scope: jobs.iter().map(|job| (job.clone(), Digest::of(job.as_str().as_bytes()))).collect(),
        left_out: vec![(job("host/packages@spare"), evil.to_owned())],
        counts,
    };
    ControlReport {
        id: id.to_owned(),
        title: format!("Second factor for every interactive user {evil}"),
        owner: format!("Head of platform {evil}"),
        statement: format!("Every interactive user signs in with a second factor, without exception. {evil}"),
        frequency,
        items: vec!["mfa_user_enrolled".into(), evil.to_owned()],
        links: vec![
            Link { framework: "soc2", criterion: "CC6.1".into(), strength: Strength::Direct },
            Link { framework: "hipaa", criterion: "164.312(d)".into(), strength: Strength::Partial },
        ],
        counts,
        slots: slots(),
        parts: vec![part(0, 181, ""), part(181, 365, &format!("The parameter max_idle_days was changed {evil}"))],
        occurrences,
        more_occurrences: 0,
        observations: Vec::new(),
        deviations: 0,
        open_deviations: 0,
        last_complete: Some(utc(2026, 11, 21, 3)),
        says: format!(
            "Of {} required occurrences {} were observed to operate. {evil}",
            counts.required, counts.operated
        ),
    }
}

/// A year with what is hard to show; `evil` is in every string.
pub fn awkward(evil: &str) -> Report {
    use OccurrenceState::{Deviation as Bad, NoOccasion, NotObserved as Gap, Open, Operated};
    let users = job("aws/iam-users@production");
    let second = job("okta/users@corporate-with-a-name-that-goes-on");
    let mixed = |n: u64| match n {
        70..=100 | 128 | 200 | 201 => Bad,
        31..=33 | 150..=164 => Gap,
        362.. => Open,
        _ => Operated,
    };
    let mut two = daily(&users, evil, mixed);
    two.extend(daily(&second, evil, |n| match n {
        71 => Gap,
        // On its own day the second job alone deviates.
        210 => Bad,
        362.. => Open,
        _ => Operated,
    }));
    let quarters: Vec<Occurrence> = [(0, 90, Operated), (90, 182, Bad), (182, 274, Gap), (274, 365, Open)]
        .into_iter()
        .map(|(from, to, state)| Occurrence {
            job: Some(users.clone()),
            from: day(from),
            to: day(to),
            state,
            part: 0,
            runs: 1,
            entry: Some(from),
            record: Some(format!("review-{from} {evil}")),
            reason: if state == Operated { String::new() } else { format!("did not occur {evil}") },
        })
        .collect();
    let events: Vec<Occurrence> = (0..40)
        .map(|n| Occurrence {
            from: day(n * 9),
            to: day(n * 9),
            state: if n % 13 == 5 { Bad } else { Operated },
            record: Some(format!("pull-request-{n} {evil}")),
            ..quarters[1].clone()
        })
        .collect();
    let mut controls = vec![
        control("AC-01", evil, two, Frequency::Automated),
        control("AC-02", evil, quarters, Frequency::Quarterly),
        control("BK-01", evil, daily(&users, evil, |_| Gap), Frequency::Daily),
        control("CM-01", evil, events, Frequency::PerEvent),
        control("NET-01", evil, daily(&second, evil, |_| NoOccasion), Frequency::Daily),
        control("OPS-01", evil, daily(&users, evil, |_| Operated), Frequency::Automated),
        control(&format!("ZZ-{evil}"), evil, Vec::new(), Frequency::AsNeeded),
    ];
    controls[0].deviations = 3;
    controls[0].open_deviations = 1;
    controls[3].more_occurrences = 812;
    Report {
        format: FORMAT,
        program: format!("0.1.0 {evil}"),
        origin: format!("evidence.acme.example/prod {evil}"),
        view: View::Period { from: day(0), to: day(365) },
        as_of: utc(2026, 11, 28, 6),
        frameworks: Frameworks {
            soc2: vec![Category::Security, Category::ProcessingIntegrity],
            hipaa: Some("business_associate".into()),
        },
        notice: vec![
            "Prepared by management’s tool. Not a SOC 2 report, an opinion or a HIPAA determination.".into(),
            format!("Mappings were not reviewed by a CPA or counsel. {evil}"),
        ],
        integrity: Integrity {
            intact: true,
            statement: format!("ARCHIVE INTACT {evil}"),
            trust: "SHA256:HUT0fdzhEzfQrAMFR6yVt7ZLIPwLm5cx0Hx9vwdm9rc".into(),
            entries: 104_231,
            root: Some(Digest::of(b"root")),
            sections: vec![SectionText {
                name: "receipts".into(),
                says: format!("104,231 entries have a valid signature {evil}"),
            }],
            findings: Vec::new(),
            limits: vec![Limit {
                code: "TIME-OPEN",
                says: format!("No trusted time bounds the last 12 entries {evil}"),
            }],
        },
        controls,
        criteria: criteria(evil),
        hipaa: hipaa(evil),
        user_entity_controls: vec![Named {
            id: format!("CUEC-1 {evil}"),
            text: format!("Users keep their passwords {evil}"),
        }],
        vendor_expectations: vec![VendorExpectation {
            vendor: format!("AWS {evil}"),
            text: format!("Keys are rotated {evil}"),
            controls: vec!["AC-01".into()],
        }],
        jobs: jobs(&[&users, &second], evil),
        deviations: deviations(&users, evil),
        drift: drift(&users, evil),
        more_drift: 0,
        trends: trends(&users, evil),
        changes: changes(evil),
        approvals: approvals(evil),
        populations: [Of::Occurrences, Of::Items, Of::Events].map(|of| frozen(of, evil)).into(),
        evidence: vec![Evidence {
            entry: 1_680,
            job: Some(users.clone()),
            name: format!("bundle/2026/02/09/x.zip {evil}"),
            sha256: Digest::of(b"bundle"),
            seal: format!("seal/2026/02/09/x.sigstore.json {evil}"),
            sealed_at: utc(2026, 2, 9, 2),
        }],
        not_shown: vec![format!("What is between runs {evil}"), format!("What systems did not report {evil}")],
    }
}

fn criteria(evil: &str) -> Vec<CriterionReport> {
    let linked = |evidenced| vec![LinkedControl { control: "AC-01".into(), strength: Strength::Direct, evidenced }];
    let one = |id: &str, treatment, state, controls| CriterionReport {
        id: id.into(),
        category: Category::Security,
        group: format!("CC6 logical and physical access {evil}"),
        paraphrase: format!("Access is restricted to who needs it {evil}"),
        treatment,
        state,
        controls,
    };
    let carved = Treatment::CarvedOut {
        organisation: format!("AWS {evil}"),
        expected: vec![format!("Doors are locked {evil}")],
    };
    vec![
        one("CC6.1", Treatment::Own, CriterionState::EvidenceMapped, linked(true)),
        one("CC6.2", Treatment::Own, CriterionState::PartlyMapped, linked(false)),
        one("CC6.4", carved, CriterionState::CarvedOut, Vec::new()),
        one(
            "CC6.5",
            Treatment::NotApplicable { reason: format!("No media {evil}") },
            CriterionState::NotApplicable,
            Vec::new(),
        ),
        one(
            "CC6.6",
            Treatment::Inclusive { organisation: format!("Cloudy {evil}") },
            CriterionState::NotCovered,
            Vec::new(),
        ),
    ]
}

fn hipaa(evil: &str) -> Vec<HipaaReport> {
    let one = |citation: &str, requirement, decision: Option<String>, proposed| HipaaReport {
        citation: citation.into(),
        kind: HipaaKind::Spec,
        requirement,
        title: format!("Person or entity authentication {evil}"),
        paraphrase: format!("Who asks for access is who they say {evil}"),
        proposed,
        binds: (citation == "164.312(d)").then_some("covered_entity"),
        effective: Some(format!("2013-03-26 {evil}")),
        treatment: Treatment::Own,
        state: CriterionState::PartlyMapped,
        decision,
        controls: vec![LinkedControl { control: "AC-02".into(), strength: Strength::Indirect, evidenced: true }],
    };
    vec![
        one("164.312(d)", Requirement::Required, None, false),
        one("164.312(a)(2)(iii)", Requirement::Addressable, Some("no decision recorded".into()), false),
        one("164.312(a)(2)(iv)", Requirement::Addressable, Some(format!("implemented {evil}")), true),
    ]
}

fn jobs(names: &[&Job], evil: &str) -> Vec<JobReport> {
    let days = |job: usize| {
        (0..365)
            .map(|n| DayCounts {
                day: day(n).date_naive(),
                collected: if (150..165).contains(&n) { 0 } else { 24 },
                partial: u32::from(n % 40 == 3),
                failed: 0,
                missed: if (150..165).contains(&n) { 24 } else { 0 },
                uncovered: u32::from(n == 300 && job == 0),
                open: 0,
                failing: 0,
            })
            .collect()
    };
    names
        .iter()
        .enumerate()
        .map(|(n, job)| JobReport {
            job: (*job).clone(),
            slots: slots(),
            by_hand: 3,
            days: days(n),
            uncovered: vec![Uncovered {
                first: utc(2026, 9, 27, 3),
                last: utc(2026, 9, 27, 7),
                count: 5,
                plan: Digest::of(b"plan"),
            }],
            window_gaps: (n == 1).then(|| vec![Range { from: utc(2026, 5, 1, 0), to: utc(2026, 5, 2, 0) }]),
            controls: vec!["AC-01".into(), format!("ZZ-{evil}")],
        })
        .collect()
}

fn deviations(job: &Job, evil: &str) -> Vec<Deviation> {
    let one = |n: u32, ended| Deviation {
        id: format!("D-00000000000{n}"),
        controls: vec!["AC-01".into()],
        job: job.clone(),
        check: format!("mfa-enrolled {evil}"),
        item: "mfa_user_enrolled".into(),
        kind: "iam-user".into(),
        record: format!("arn:aws:iam::123456789012:user/a-name-that-does-not-end-{} {evil}", "x".repeat(70)),
        says: format!("no MFA device is enrolled {evil}"),
        first_seen: utc(2026, 2, 9, 2),
        last_seen: utc(2026, 4, 9, 1),
        runs: 720,
        not_before: (n == 1).then(|| utc(2026, 2, 9, 1)),
        ended,
        first_entry: 1_680,
        last_entry: 3_000,
        waivers: if n == 2 { vec!["W-000000000001".into(), "W-000000000002".into()] } else { Vec::new() },
        responses: if n == 1 { vec!["R-000000000001".into()] } else { Vec::new() },
    };
    let ended = |how| Some(Ended { at: utc(2026, 4, 9, 2), entry: 3_001, how });
    vec![one(1, ended("passes")), one(2, None), one(3, ended("gone"))]
}

fn drift(job: &Job, evil: &str) -> Vec<DriftEvent> {
    let one = |change, fields, notable| DriftEvent {
        at: utc(2026, 2, 9, 2),
        since: utc(2026, 2, 9, 1),
        job: job.clone(),
        kind: format!("iam-user {evil}"),
        record: format!("arn:aws:iam::123456789012:user/kim {evil}"),
        change,
        fields,
        notable,
        entry: 1_680,
    };
    let field = |n: u32| FieldChange {
        field: format!("policies.{n} {evil}"),
        before: json!(format!("a {evil}")),
        after: json!({"b": [1, evil]}),
    };
    vec![
        one(DriftKind::Added, Vec::new(), None),
        one(
            DriftKind::Changed,
            (0..6).map(field).collect(),
            Some(Notable {
                rule: format!("new-administrator {evil}"),
                says: format!("is an administrator now {evil}"),
            }),
        ),
        one(DriftKind::Removed, Vec::new(), None),
    ]
}

fn trends(job: &Job, evil: &str) -> Vec<Trend> {
    let points = (0..365)
        .filter(|n| !(150..165).contains(n) && *n != 20 && *n != 22)
        .map(|n| TrendPoint {
            day: day(n).date_naive(),
            size: 31 + n / 30,
            whole: n % 50 != 9,
            fail: if n > 70 && n < 130 { 2 } else { 0 },
        })
        .collect();
    let one = |check: &str, privileged, points| Trend {
        job: job.clone(),
        check: format!("{check} {evil}"),
        kind: format!("iam-user {evil}"),
        privileged,
        points,
    };
    vec![
        one("mfa-enrolled", false, points),
        one("administrators", true, vec![TrendPoint { day: first(), size: 0, whole: true, fail: 0 }]),
        one("keys", false, Vec::new()),
    ]
}

fn changes(evil: &str) -> Vec<ChangeEntry> {
    let one = |kind, lowers, reason: String| ChangeEntry {
        at: day(181),
        entry: 4_344,
        kind,
        subject: format!("AC-01 {evil}"),
        says: format!("max_idle_days: 90 is 60 now {evil}"),
        reason,
        lowers,
    };
    vec![
        one(ChangeKind::Parameter, None, format!("Policy of June {evil}")),
        one(ChangeKind::Scope, Some(true), String::new()),
        one(ChangeKind::Plan, Some(false), "more often".into()),
    ]
}

fn frozen(of: Of, evil: &str) -> FrozenPopulation {
    let gap = Gap {
        job: Some(job("aws/iam-users@production")),
        from: day(3),
        to: day(4),
        reason: format!("agent_down {evil}"),
    };
    let control = if of == Of::Events { "AC-01".into() } else { format!("gone {evil}") };
    let kind = (of != Of::Occurrences).then(|| format!("account {evil}"));
    let population =
        Population { control, of, kind, count: 365, sha256: Digest::of(b"list"), not_observed: vec![gap; 5] };
    FrozenPopulation {
        from: day(0),
        to: day(365),
        population,
        entry: 104_200,
        judged_up_to: day(364),
        otherwise: vec![104_201],
        not_after: Some(day(366)),
    }
}

fn approvals(evil: &str) -> Vec<Approval> {
    let one = |id: &str, kind: &str, void: &str, until| Approval {
        id: id.into(),
        kind: kind.into(),
        approver: format!("{evil} approver"),
        entry: 2_000,
        from: Some(utc(2026, 3, 1, 0)),
        until,
        subject: format!("deviation D-000000000002 {evil}"),
        text: format!("The contractor leaves in March {evil}"),
        void: void.into(),
        document: json!({}),
    };
    vec![
        one("W-000000000001", "waiver", "", Some(utc(2027, 3, 1, 0))),
        one("W-000000000002", "waiver", evil, None),
        one("R-000000000001", "response", "", None),
        one("H-000000000001", "decision", "", None),
        one(&format!("X-{evil}"), "other", "", None),
    ]
}

/// The same at an instant.
pub fn at_an_instant(evil: &str) -> Report {
    let mut report = awkward(evil);
    report.view = View::PointInTime { at: utc(2026, 6, 30, 23) };
    let check = |outcome, fail| ObservedCheck {
        check: format!("mfa-enrolled {evil}"),
        outcome,
        rows: Counts { pass: 29, fail, unknown: 1, not_applicable: 0, exempt: 3 },
    };
    let observations = vec![
        Observation {
            job: job("aws/iam-users@production"),
            at: Some(utc(2026, 6, 30, 20)),
            age_seconds: Some(3 * 3_600),
            entry: Some(5_000),
            checks: vec![check(Outcome::Fail, 2), check(Outcome::Unknown, 0)],
            incomplete_since: 2,
        },
        Observation {
            job: job("okta/users@corporate"),
            at: None,
            age_seconds: None,
            entry: None,
            checks: Vec::new(),
            incomplete_since: 9,
        },
    ];
    for (n, control) in report.controls.iter_mut().enumerate() {
        control.observations = if n == 2 { Vec::new() } else { observations.clone() };
        control.occurrences = Vec::new();
        control.parts = Vec::new();
        control.counts = OccurrenceCounts::default();
        control.last_complete = (n != 2).then(|| utc(2026, 6, 30, 20));
        control.says = format!("Last observed completely 3 hours before. {evil}");
    }
    report
}

/// Nothing at all.
pub fn empty() -> Report {
    let full = awkward("");
    Report {
        frameworks: Frameworks::default(),
        notice: Vec::new(),
        integrity: Integrity { root: None, sections: Vec::new(), limits: Vec::new(), ..full.integrity },
        controls: Vec::new(),
        criteria: Vec::new(),
        hipaa: Vec::new(),
        user_entity_controls: Vec::new(),
        vendor_expectations: Vec::new(),
        jobs: Vec::new(),
        deviations: Vec::new(),
        drift: Vec::new(),
        trends: Vec::new(),
        changes: Vec::new(),
        approvals: Vec::new(),
        populations: Vec::new(),
        not_shown: Vec::new(),
        evidence: Vec::new(),
        ..full
    }
}

/// 60 controls with 10 jobs each, a fifth of the days in some other state.
pub fn large() -> Report {
    use OccurrenceState::{Deviation as Bad, NotObserved as Gap, Operated};
    let mut report = awkward("plain");
    let names: Vec<Job> = (0..100).map(|n| job(&format!("aws/collector-{n}@account-{n:012}"))).collect();
    report.controls = (0..60)
        .map(|n: u64| {
            let occurrences = (0..10).flat_map(|j: u64| {
                let of = &names[((n * 7 + j * 3) % 100) as usize];
                daily(of, "", move |d| match (d * 7 + j * 13 + n) % 50 {
                    0..5 => Bad,
                    5..10 => Gap,
                    _ => Operated,
                })
            });
            let mut occurrences: Vec<Occurrence> = occurrences.collect();
            occurrences.sort_by(|a, b| (&a.job, a.from).cmp(&(&b.job, b.from)));
            control(&format!("C-{n:02}"), "", occurrences, Frequency::Automated)
        })
        .collect();
    report.jobs = names.iter().flat_map(|name| jobs(&[name], "")).collect();
    let one = report.deviations[1].clone();
    report.deviations = (0..6_000)
        .map(|n| Deviation { id: format!("D-{n:012x}"), controls: vec![format!("C-{:02}", n % 60)], ..one.clone() })
        .collect();
    let trend = report.trends[0].clone();
    report.trends = names
        .iter()
        .flat_map(|name| (0..5).map(|n| Trend { job: name.clone(), check: format!("check-{n}"), ..trend.clone() }))
        .collect();
    report
}
