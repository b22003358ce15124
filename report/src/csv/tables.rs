//! What stands in each table.

use std::io;

use signing::{slots::SlotCounts, statement::Outcome};

use super::{Cell, Rows, Table, word};
use crate::model::{DriftEvent, LinkedControl, Occurrence, OccurrenceCounts, Treatment};

/// The table of the drift.
pub const DRIFT: Table = Table {
    name: "drift",
    columns: &["at", "since", "job", "kind", "record", "change", "field", "before", "after", "rule", "says", "entry"],
    fill: |report, rows| report.drift.iter().try_for_each(|event| drift(event, rows)),
};

/// The table of the occurrences.
pub const OCCURRENCES: Table = Table {
    name: "occurrences",
    columns: &["control", "part", "job", "from", "to", "state", "runs", "entry", "record", "reason"],
    fill: |report, rows| {
        report.controls.iter().try_for_each(|c| c.occurrences.iter().try_for_each(|one| occurrence(&c.id, one, rows)))
    },
};

/// Every table, in the order in which a report is read.
pub const TABLES: &[Table] = &[
    Table {
        name: "integrity",
        columns: &["topic", "says"],
        fill: |report, rows| {
            let of = &report.integrity;
            rows.row([Cell::text("statement"), Cell::text(&of.statement)])?;
            rows.row([Cell::text("trust"), Cell::text(&of.trust)])?;
            rows.row([Cell::text("entries"), Cell::from(of.entries)])?;
            rows.row([Cell::text("as_of"), Cell::from(report.as_of)])?;
            of.sections
                .iter()
                .try_for_each(|section| rows.row([Cell::text(&section.name), Cell::text(&section.says)]))?;
            of.limits.iter().try_for_each(|limit| rows.row([Cell::text(limit.code), Cell::text(&limit.says)]))?;
            report.notice.iter().try_for_each(|says| rows.row([Cell::text("notice"), Cell::text(says)]))?;
            report.not_shown.iter().try_for_each(|says| rows.row([Cell::text("not_shown"), Cell::text(says)]))
        },
    },
    Table {
        name: "findings",
        columns: &["code", "object", "entry", "says", "meaning"],
        fill: |report, rows| {
            report.integrity.findings.iter().try_for_each(|f| {
                rows.row([
                    word(&f.code),
                    Cell::text(&f.object),
                    Cell::maybe(f.index),
                    Cell::text(&f.says),
                    Cell::text(f.meaning),
                ])
            })
        },
    },
    Table {
        name: "controls",
        columns: &[
            "control",
            "title",
            "owner",
            "statement",
            "frequency",
            "items",
            "required",
            "operated",
            "deviation",
            "not_observed",
            "no_occasion",
            "open",
            "deviations",
            "open_deviations",
            "slots_judged",
            "slots_collected",
            "slots_partial",
            "slots_failed",
            "slots_missed",
            "slots_uncovered",
            "slots_open",
            "last_complete",
            "unlisted_occurrences",
            "says",
        ],
        fill: |report, rows| {
            report.controls.iter().try_for_each(|c| {
                let head = [Cell::text(&c.id), Cell::text(&c.title), Cell::text(&c.owner), Cell::text(&c.statement)];
                let head = head.into_iter().chain([word(&c.frequency), Cell::list(&c.items)]);
                let deviations = [Cell::from(c.deviations), Cell::from(c.open_deviations)];
                let tail = [Cell::maybe(c.last_complete), Cell::from(c.more_occurrences), Cell::text(&c.says)];
                rows.row(head.chain(counts(&c.counts)).chain(deviations).chain(slots(&c.slots)).chain(tail))
            })
        },
    },
    Table {
        name: "links",
        columns: &["control", "framework", "criterion", "strength"],
        fill: |report, rows| {
            report.controls.iter().try_for_each(|c| {
                c.links.iter().try_for_each(|link| {
                    rows.row([
                        Cell::text(&c.id),
                        Cell::text(link.framework),
                        Cell::text(&link.criterion),
                        word(&link.strength),
                    ])
                })
            })
        },
    },
    Table {
        name: "parts",
        columns: &[
            "control",
            "part",
            "from",
            "to",
            "because",
            "document",
            "statement",
            "frequency",
            "required",
            "operated",
            "deviation",
            "not_observed",
            "no_occasion",
            "open",
        ],
        fill: |report, rows| {
            report.controls.iter().try_for_each(|c| {
                c.parts.iter().enumerate().try_for_each(|(number, part)| {
                    let place =
                        [Cell::text(&c.id), Cell::from(number as u64), Cell::from(part.from), Cell::from(part.to)];
                    let document = part.document.map(|document| document.to_string());
                    let what = [
                        Cell::text(&part.because),
                        Cell::maybe(document),
                        Cell::text(&part.statement),
                        word(&part.frequency),
                    ];
                    rows.row(place.into_iter().chain(what).chain(counts(&part.counts)))
                })
            })
        },
    },
    Table {
        name: "scope",
        columns: &["control", "part", "job", "checks_sha256", "left_out"],
        fill: |report, rows| {
            report.controls.iter().try_for_each(|c| {
                c.parts.iter().enumerate().try_for_each(|(number, part)| {
                    let place = || [Cell::text(&c.id), Cell::from(number as u64)].into_iter();
                    part.scope.iter().try_for_each(|(job, checks)| {
                        rows.row(place().chain([
                            Cell::text(job.as_str()),
                            Cell::text(checks.to_string()),
                            Cell::Nothing,
                        ]))
                    })?;
                    part.left_out.iter().try_for_each(|(job, why)| {
                        rows.row(place().chain([Cell::text(job.as_str()), Cell::Nothing, Cell::text(why)]))
                    })
                })
            })
        },
    },
    OCCURRENCES,
    Table {
        name: "observations",
        columns: &[
            "control",
            "job",
            "at",
            "age_seconds",
            "entry",
            "incomplete_since",
            "check",
            "outcome",
            "pass",
            "fail",
            "unknown",
            "not_applicable",
            "exempt",
        ],
        fill: |report, rows| {
            report.controls.iter().try_for_each(|c| {
                c.observations.iter().try_for_each(|one| {
                    let head = || {
                        let age = one.age_seconds.and_then(|age| u64::try_from(age).ok());
                        let at = [Cell::maybe(one.at), Cell::maybe(age), Cell::maybe(one.entry)];
                        let job = [Cell::text(&c.id), Cell::text(one.job.as_str())];
                        job.into_iter().chain(at).chain([Cell::from(one.incomplete_since)])
                    };
                    if one.checks.is_empty() {
                        return rows.row(head().chain((0..7).map(|_| Cell::Nothing)));
                    }
                    one.checks.iter().try_for_each(|check| {
                        let of = check.rows;
                        let found = [of.pass, of.fail, of.unknown, of.not_applicable, of.exempt].map(Cell::from);
                        rows.row(head().chain([Cell::text(&check.check), word(&check.outcome)]).chain(found))
                    })
                })
            })
        },
    },
    Table {
        name: "criteria",
        columns: &[
            "criterion",
            "category",
            "group",
            "paraphrase",
            "treatment",
            "organisation",
            "treatment_says",
            "state",
            "controls",
        ],
        fill: |report, rows| {
            report.criteria.iter().try_for_each(|c| {
                let what = [Cell::text(&c.id), word(&c.category), Cell::text(&c.group), Cell::text(&c.paraphrase)];
                rows.row(what.into_iter().chain(treatment(&c.treatment)).chain([word(&c.state), linked(&c.controls)]))
            })
        },
    },
    Table {
        name: "hipaa",
        columns: &[
            "citation",
            "kind",
            "requirement",
            "title",
            "paraphrase",
            "proposed",
            "effective",
            "treatment",
            "organisation",
            "treatment_says",
            "state",
            "decision",
            "controls",
            "binds",
        ],
        fill: |report, rows| {
            report.hipaa.iter().try_for_each(|h| {
                let what = [
                    Cell::text(&h.citation),
                    word(&h.kind),
                    word(&h.requirement),
                    Cell::text(&h.title),
                    Cell::text(&h.paraphrase),
                ];
                let force = [Cell::text(if h.proposed { "true" } else { "false" }), Cell::maybe(h.effective.clone())];
                let binds = Cell::maybe(h.binds.map(str::to_owned));
                let state = [word(&h.state), Cell::maybe(h.decision.clone()), linked(&h.controls), binds];
                rows.row(what.into_iter().chain(force).chain(treatment(&h.treatment)).chain(state))
            })
        },
    },
    Table {
        name: "user_entity_controls",
        columns: &["id", "text"],
        fill: |report, rows| {
            report.user_entity_controls.iter().try_for_each(|c| rows.row([Cell::text(&c.id), Cell::text(&c.text)]))
        },
    },
    Table {
        name: "vendor_expectations",
        columns: &["vendor", "text", "controls"],
        fill: |report, rows| {
            report
                .vendor_expectations
                .iter()
                .try_for_each(|of| rows.row([Cell::text(&of.vendor), Cell::text(&of.text), Cell::list(&of.controls)]))
        },
    },
    Table {
        name: "jobs",
        columns: &[
            "job",
            "slots_judged",
            "slots_collected",
            "slots_partial",
            "slots_failed",
            "slots_missed",
            "slots_uncovered",
            "slots_open",
            "by_hand",
            "controls",
        ],
        fill: |report, rows| {
            report.jobs.iter().try_for_each(|job| {
                let tail = [Cell::from(job.by_hand), Cell::list(&job.controls)];
                rows.row([Cell::text(job.job.as_str())].into_iter().chain(slots(&job.slots)).chain(tail))
            })
        },
    },
    Table {
        name: "jobs_by_day",
        columns: &["job", "day", "collected", "partial", "failed", "missed", "uncovered", "open", "failing"],
        fill: |report, rows| {
            report.jobs.iter().try_for_each(|job| {
                job.days.iter().try_for_each(|day| {
                    let of = [day.collected, day.partial, day.failed, day.missed, day.uncovered, day.open, day.failing];
                    let numbers = of.map(|number| Cell::from(u64::from(number)));
                    rows.row([Cell::text(job.job.as_str()), Cell::text(day.day.to_string())].into_iter().chain(numbers))
                })
            })
        },
    },
    Table {
        name: "uncovered",
        columns: &["job", "first", "last", "count", "plan"],
        fill: |report, rows| {
            report.jobs.iter().try_for_each(|job| {
                job.uncovered.iter().try_for_each(|of| {
                    let slots = [Cell::from(of.first), Cell::from(of.last), Cell::from(of.count)];
                    rows.row(
                        [Cell::text(job.job.as_str())]
                            .into_iter()
                            .chain(slots)
                            .chain([Cell::text(of.plan.to_string())]),
                    )
                })
            })
        },
    },
    Table {
        name: "windows",
        columns: &["job", "not_read_from", "not_read_to"],
        fill: |report, rows| {
            report.jobs.iter().try_for_each(|job| {
                job.window_gaps.iter().flatten().try_for_each(|gap| {
                    rows.row([Cell::text(job.job.as_str()), Cell::from(gap.from), Cell::from(gap.to)])
                })
            })
        },
    },
    Table {
        name: "deviations",
        columns: &[
            "deviation",
            "controls",
            "job",
            "check",
            "item",
            "kind",
            "record",
            "says",
            "first_seen",
            "last_seen",
            "runs",
            "not_before",
            "ended_at",
            "ended_how",
            "first_entry",
            "last_entry",
            "ended_entry",
            "waivers",
            "responses",
        ],
        fill: |report, rows| {
            report.deviations.iter().try_for_each(|d| {
                rows.row([
                    Cell::text(&d.id),
                    Cell::list(&d.controls),
                    Cell::text(d.job.as_str()),
                    Cell::text(&d.check),
                    Cell::text(&d.item),
                    Cell::text(&d.kind),
                    Cell::text(&d.record),
                    Cell::text(&d.says),
                    Cell::from(d.first_seen),
                    Cell::from(d.last_seen),
                    Cell::from(d.runs),
                    Cell::maybe(d.not_before),
                    Cell::maybe(d.ended.as_ref().map(|ended| ended.at)),
                    Cell::maybe(d.ended.as_ref().map(|ended| ended.how.to_owned())),
                    Cell::from(d.first_entry),
                    Cell::from(d.last_entry),
                    Cell::maybe(d.ended.as_ref().map(|ended| ended.entry)),
                    Cell::list(&d.waivers),
                    Cell::list(&d.responses),
                ])
            })
        },
    },
    DRIFT,
    Table {
        name: "trends",
        columns: &["job", "check", "kind", "privileged", "day", "size", "whole", "fail"],
        fill: |report, rows| {
            report.trends.iter().try_for_each(|trend| {
                trend.points.iter().try_for_each(|point| {
                    let of = [Cell::text(trend.job.as_str()), Cell::text(&trend.check), Cell::text(&trend.kind)];
                    let day = [word(&trend.privileged), Cell::text(point.day.to_string()), Cell::from(point.size)];
                    rows.row(of.into_iter().chain(day).chain([word(&point.whole), Cell::from(point.fail)]))
                })
            })
        },
    },
    Table {
        name: "changes",
        columns: &["at", "entry", "kind", "subject", "says", "reason", "lowers"],
        fill: |report, rows| {
            report.changes.iter().try_for_each(|c| {
                let what =
                    [Cell::from(c.at), Cell::from(c.entry), word(&c.kind), Cell::text(&c.subject), Cell::text(&c.says)];
                rows.row(
                    what.into_iter()
                        .chain([Cell::text(&c.reason), c.lowers.map_or(Cell::Nothing, |lowers| word(&lowers))]),
                )
            })
        },
    },
    Table {
        name: "approvals",
        columns: &["approval", "kind", "approver", "entry", "from", "until", "subject", "text", "void"],
        fill: |report, rows| {
            report.approvals.iter().try_for_each(|a| {
                let who = [Cell::text(&a.id), Cell::text(&a.kind), Cell::text(&a.approver), Cell::from(a.entry)];
                let when = [Cell::maybe(a.from), Cell::maybe(a.until)];
                let what = [Cell::text(&a.subject), Cell::text(&a.text), Cell::text(&a.void)];
                rows.row(who.into_iter().chain(when).chain(what))
            })
        },
    },
    Table {
        name: "populations",
        columns: &[
            "control",
            "from",
            "to",
            "of",
            "kind",
            "count",
            "sha256",
            "gaps",
            "entry",
            "not_after",
            "judged_up_to",
            "otherwise",
        ],
        fill: |report, rows| {
            report.populations.iter().try_for_each(|p| {
                let of = &p.population;
                let list =
                    [Cell::from(of.count), Cell::text(of.sha256.to_string()), Cell::from(of.not_observed.len() as u64)];
                let what = [Cell::text(of.of.as_str()), Cell::maybe(of.kind.clone())];
                let which = [Cell::text(&of.control), Cell::from(p.from), Cell::from(p.to)];
                let otherwise: Vec<String> = p.otherwise.iter().map(u64::to_string).collect();
                let place =
                    [Cell::from(p.entry), Cell::maybe(p.not_after), Cell::from(p.judged_up_to), Cell::list(&otherwise)];
                rows.row(which.into_iter().chain(what).chain(list).chain(place))
            })
        },
    },
    Table {
        name: "evidence",
        columns: &["entry", "job", "name", "sha256", "seal", "sealed_at"],
        fill: |report, rows| {
            report.evidence.iter().try_for_each(|e| {
                let job = Cell::maybe(e.job.as_ref().map(|job| job.as_str().to_owned()));
                let object = [Cell::text(&e.name), Cell::text(e.sha256.to_string()), Cell::text(&e.seal)];
                rows.row([Cell::from(e.entry), job].into_iter().chain(object).chain([Cell::from(e.sealed_at)]))
            })
        },
    },
];

fn counts(of: &OccurrenceCounts) -> [Cell; 6] {
    [of.required, of.operated, of.deviation, of.not_observed, of.no_occasion, of.open].map(Cell::from)
}

fn slots(of: &SlotCounts) -> [Cell; 7] {
    let outcome = |outcome| of.outcomes.get(&outcome).copied().unwrap_or_default();
    let run = [Outcome::Collected, Outcome::Partial, Outcome::Failed].map(outcome);
    [of.judged, run[0], run[1], run[2], of.missed.values().sum(), of.uncovered, of.open].map(Cell::from)
}

fn treatment(of: &Treatment) -> [Cell; 3] {
    let (kind, organisation, says) = match of {
        Treatment::Own => ("own", "", String::new()),
        Treatment::CarvedOut { organisation, expected } => ("carved_out", organisation.as_str(), expected.join("; ")),
        Treatment::Inclusive { organisation } => ("inclusive", organisation.as_str(), String::new()),
        Treatment::NotApplicable { reason } => ("not_applicable", "", reason.clone()),
    };
    [Cell::text(kind), Cell::text(organisation), Cell::text(says)]
}

/// `AC-01 (direct, evidence); AC-02 (partial, no evidence)`.
fn linked(controls: &[LinkedControl]) -> Cell {
    let each = controls.iter().map(|of| {
        let evidence = if of.evidenced { "evidence" } else { "no evidence" };
        format!("{} ({}, {evidence})", of.control, word(&of.strength).into_text())
    });
    Cell::Text(each.collect::<Vec<_>>().join("; "))
}

pub(super) fn occurrence(control: &str, one: &Occurrence, rows: &mut Rows<'_>) -> io::Result<()> {
    rows.row([
        Cell::text(control),
        Cell::from(one.part as u64),
        Cell::maybe(one.job.as_ref().map(|job| job.as_str().to_owned())),
        Cell::from(one.from),
        Cell::from(one.to),
        word(&one.state),
        Cell::from(u64::from(one.runs)),
        Cell::maybe(one.entry),
        Cell::maybe(one.record.clone()),
        Cell::text(&one.reason),
    ])
}

/// One row for each field that differs; of a record that came or went, one.
pub(super) fn drift(event: &DriftEvent, rows: &mut Rows<'_>) -> io::Result<()> {
    let head = || {
        let when =
            [Cell::from(event.at), Cell::from(event.since), Cell::text(event.job.as_str()), Cell::text(&event.kind)];
        when.into_iter().chain([Cell::text(&event.record), word(&event.change)])
    };
    let tail = || {
        let rule = Cell::maybe(event.notable.as_ref().map(|of| of.rule.clone()));
        [rule, Cell::maybe(event.notable.as_ref().map(|of| of.says.clone())), Cell::from(event.entry)]
    };
    if event.fields.is_empty() {
        return rows.row(head().chain([Cell::Nothing, Cell::Nothing, Cell::Nothing]).chain(tail()));
    }
    event.fields.iter().try_for_each(|field| {
        let values = [Cell::text(&field.field), word(&field.before), word(&field.after)];
        rows.row(head().chain(values).chain(tail()))
    })
}
