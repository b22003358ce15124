//! The verdict for people.

use std::collections::BTreeMap;

use signing::{
    time::Utc,
    verify::{Code, EntryVerdict, Finding, Limit, SampleVerdict, Section, Verdict, span},
};

use crate::plain::safe;

/// Findings that the text lists; `--json` lists more.
const LISTED: usize = 100;

/// The verdict of an archive; `beside` is what else lies in it.
pub(crate) fn text(verdict: &Verdict, beside: &[String], now: Utc) -> String {
    let mut out = String::new();
    for section in &verdict.sections {
        let mut says = section.says.clone();
        if section.name == "coverage"
            && verdict.as_of_from != "given"
            && let Some(newest) = verdict.newest_entry_at.filter(|newest| *newest <= now)
        {
            says += &format!(" ({} ago by this computer's clock)", span((now - newest).num_seconds()));
        }
        line(&mut out, section.name, &says);
    }
    limits(&mut out, &verdict.sections, &verdict.limits);
    if !beside.is_empty() {
        let says = format!("not part of this archive, and not looked at: {}", beside.join(", "));
        line(&mut out, "beside", &says);
    }
    for pending in verdict.pending.first.iter().take(20) {
        line(&mut out, "pending", &format!("{}: {}", pending.object, pending.says));
    }
    if verdict.pending.total > 20 {
        line(&mut out, "pending", &format!("and {} more", verdict.pending.total - 20));
    }
    findings(&mut out, &verdict.findings, verdict.findings_total, &verdict.findings_by_code);
    out + &verdict.statement + "\n"
}

/// The verdict of one entry.
pub(crate) fn entry(verdict: &EntryVerdict) -> String {
    let mut out = String::new();
    for section in &verdict.sections {
        line(&mut out, section.name, &section.says);
    }
    limits(&mut out, &verdict.sections, &verdict.limits);
    findings(&mut out, &verdict.findings, verdict.findings_total, &verdict.findings_by_code);
    out + &verdict.statement + "\n"
}

/// The verdict of a sample.
pub(crate) fn sample(verdict: &SampleVerdict) -> String {
    let mut out = String::new();
    for section in &verdict.sections {
        line(&mut out, section.name, &section.says);
    }
    limits(&mut out, &verdict.sections, &verdict.limits);
    findings(&mut out, &verdict.findings, verdict.findings_total, &verdict.findings_by_code);
    out + &verdict.statement + "\n"
}

fn line(out: &mut String, name: &str, says: &str) {
    out.push_str(&format!("{name:<10} {}\n", safe(says)));
}

/// Limits that a section carries are not said twice.
fn limits(out: &mut String, sections: &[Section], limits: &[Limit]) {
    for limit in limits {
        let code = format!("(limit {})", limit.code);
        if !sections.iter().any(|section| section.says.contains(&code)) {
            line(out, "limit", &format!("{} {code}", limit.says));
        }
    }
}

fn findings(out: &mut String, findings: &[Finding], total: u64, by_code: &BTreeMap<Code, u64>) {
    for finding in findings.iter().take(LISTED) {
        let entry = finding.index.map_or(String::new(), |index| format!(", entry {index}"));
        let object = safe(&finding.object);
        out.push_str(&format!("{object}{entry}\n    {} (finding {})\n", safe(&finding.says), finding.code));
    }
    if total > LISTED as u64 {
        out.push_str(&format!("and {} more findings; --json lists them\n", total - LISTED as u64));
    }
    let meanings: BTreeMap<&str, &str> = by_code.keys().map(|code| (code.as_str(), code.means())).collect();
    for (code, meaning) in meanings {
        out.push_str(&format!("{code}: {meaning}\n"));
    }
}
