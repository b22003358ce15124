//! The verdict for people.

use std::collections::BTreeMap;

use signing::{
    time::Utc,
    verify::{Verdict, span},
};

use crate::plain::safe;

/// Findings that the text lists; `--json` lists more.
const LISTED: usize = 100;

/// The verdict of an archive; `beside` is what else lies in it.
pub(crate) fn text(verdict: &Verdict, beside: &[String], now: Utc) -> String {
    let mut out = String::new();
    let mut line = |name: &str, says: &str| out.push_str(&format!("{name:<10} {}\n", safe(says)));
    for section in &verdict.sections {
        let mut says = section.says.clone();
        if section.name == "coverage"
            && verdict.as_of_from != "given"
            && let Some(newest) = verdict.newest_entry_at.filter(|newest| *newest <= now)
        {
            says += &format!(" ({} ago by this computer's clock)", span((now - newest).num_seconds()));
        }
        line(section.name, &says);
    }
    for limit in &verdict.limits {
        // Limits that a section carries are not said twice.
        let code = format!("(limit {})", limit.code);
        if !verdict.sections.iter().any(|section| section.says.contains(&code)) {
            line("limit", &format!("{} {code}", limit.says));
        }
    }
    if !beside.is_empty() {
        line("beside", &format!("not part of this archive, and not looked at: {}", beside.join(", ")));
    }
    for pending in verdict.pending.first.iter().take(20) {
        line("pending", &format!("{}: {}", pending.object, pending.says));
    }
    if verdict.pending.total > 20 {
        line("pending", &format!("and {} more", verdict.pending.total - 20));
    }
    for finding in verdict.findings.iter().take(LISTED) {
        let entry = finding.index.map_or(String::new(), |index| format!(", entry {index}"));
        let object = safe(&finding.object);
        out.push_str(&format!("{object}{entry}\n    {} (finding {})\n", safe(&finding.says), finding.code));
    }
    if verdict.findings_total > LISTED as u64 {
        let more = verdict.findings_total - LISTED as u64;
        out.push_str(&format!("and {more} more findings; --json lists them\n"));
    }
    let meanings: BTreeMap<&str, &str> = verdict.findings_by_code.keys().map(|c| (c.as_str(), c.means())).collect();
    for (code, meaning) in meanings {
        out.push_str(&format!("{code}: {meaning}\n"));
    }
    out.push_str(&format!("{}\n", verdict.statement));
    out
}
