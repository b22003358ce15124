//! `evidenced collectors`: what can be collected, what each collector needs, and which criteria its checks support. It reads no source.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context as _;
use collectors::contract::{Need, NeedKind, Pick, Spec};
use controls::{Criteria, Strength, parse_checks};
use serde::Serialize;

use crate::config::Duration;

/// `evidenced collectors`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only this one, such as host/accounts
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the built-in collectors and exits 0; or 2 where there is none of the name.
///
/// # Errors
/// When printing fails, or a collector's own checks cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let all = collectors::built_in();
    let all: Vec<Entry> = all.iter().map(|collector| Entry::new(collector.spec())).collect::<anyhow::Result<_>>()?;
    let code = print(args, all, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(ExitCode::from(code))
}

fn print(args: &Args, mut all: Vec<Entry>, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    all.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(id) = &args.id {
        let known = all.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>().join(", ");
        all.retain(|entry| entry.id == *id);
        if all.is_empty() {
            writeln!(err, "there is no collector {id:?}; there are: {known}")?;
            return Ok(2);
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all)?;
        writeln!(out)?;
        return Ok(0);
    }
    for (at, entry) in all.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        entry.print(out)?;
    }
    Ok(0)
}

/// What is said of a collector.
#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    version: u32,
    title: String,
    source: String,
    schedule: String,
    deadline: Duration,
    records: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowEntry>,
    inputs: Vec<InputEntry>,
    checks: Vec<CheckEntry>,
    needs: Vec<Need>,
}

/// How far back events are read.
#[derive(Debug, Serialize)]
struct WindowEntry {
    overlap: Duration,
    retained: Duration,
}

/// Another job's records.
#[derive(Debug, Serialize)]
struct InputEntry {
    name: String,
    collector: String,
    records: String,
    pick: &'static str,
    max_age: Duration,
}

/// A check with what it supports.
#[derive(Debug, Serialize)]
struct CheckEntry {
    id: String,
    population: String,
    item: String,
    title: String,
    criteria: Criteria,
}

impl Entry {
    fn new(spec: &Spec) -> anyhow::Result<Self> {
        let checks = parse_checks(&spec.checks).with_context(|| format!("the checks of {}", spec.id))?;
        let checks = checks.into_iter().filter_map(|check| {
            let item = controls::item(&check.item)?;
            Some(CheckEntry {
                population: match check.filter {
                    Some(filter) => format!("{} | {filter}", check.kind),
                    None => check.kind,
                },
                id: check.id,
                item: check.item,
                title: item.title.clone(),
                criteria: Criteria { soc2: item.tsc.clone(), hipaa: item.hipaa.clone() },
            })
        });
        let inputs = spec.inputs.iter().map(|input| InputEntry {
            name: input.name.clone(),
            collector: input.collector.clone(),
            records: input.kind.clone(),
            pick: match input.pick {
                Pick::Newest => "newest",
                Pick::DayBefore => "day before",
            },
            max_age: Duration::seconds(input.max_age.as_secs()),
        });
        Ok(Self {
            id: spec.id.clone(),
            version: spec.version,
            title: spec.title.clone(),
            source: spec.source.clone(),
            schedule: spec.schedule.clone(),
            deadline: Duration::seconds(spec.deadline.as_secs()),
            records: spec.kinds.clone(),
            window: spec.window.map(|window| WindowEntry {
                overlap: Duration::seconds(window.overlap.as_secs()),
                retained: Duration::seconds(window.retained.as_secs()),
            }),
            inputs: inputs.collect(),
            checks: checks.collect(),
            needs: spec.needs.clone(),
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.id, self.title)?;
        writeln!(out, "  schedule  {}, at most {} a run", self.schedule, self.deadline)?;
        writeln!(out, "  records   {}", self.records.join(", "))?;
        if let Some(WindowEntry { overlap, retained }) = &self.window {
            writeln!(
                out,
                "  events    since the newest whole reading, {overlap} again; kept by the source for {retained}"
            )?;
        }
        for input in &self.inputs {
            let InputEntry { name, collector, records, pick, max_age } = input;
            writeln!(out, "  input     {name}: {records} of {collector}, {pick}, at most {max_age} old")?;
        }
        for check in &self.checks {
            writeln!(out, "  check     {} of {}", check.id, check.population)?;
            writeln!(out, "              {}: {}", check.item, check.title)?;
            for (framework, links) in [("SOC 2", &check.criteria.soc2), ("HIPAA", &check.criteria.hipaa)] {
                if !links.is_empty() {
                    writeln!(out, "              {framework} {}", spelt(links))?;
                }
            }
        }
        for need in &self.needs {
            let kind = match need.kind {
                NeedKind::File => "file",
                NeedKind::Command => "command",
                NeedKind::Right => "right",
                NeedKind::Action => continue,
            };
            writeln!(out, "  needs     {kind} {}: {}", need.what, need.why)?;
        }
        let actions = self.needs.iter().filter(|need| need.kind == NeedKind::Action);
        let actions: Vec<&str> = actions.map(|need| need.what.as_str()).collect();
        if !actions.is_empty() {
            writeln!(out, "  needs     actions {}", actions.join(", "))?;
        }
        Ok(())
    }
}

/// `CC6.1, CC6.3 (partial)`.
fn spelt(links: &BTreeMap<String, Strength>) -> String {
    let mut links: Vec<_> = links.iter().collect();
    links.sort_by_key(|(id, strength)| (**strength, id.as_str()));
    let one = |(id, strength): (&String, &Strength)| match strength {
        Strength::Direct => id.clone(),
        Strength::Partial => format!("{id} (partial)"),
        Strength::Indirect => format!("{id} (indirect)"),
    };
    links.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration as Length;

    use collectors::contract::{Input, WindowSpec};

    use super::*;

    fn entry() -> Entry {
        Entry::new(&Spec {
            id: "host/shells".into(),
            version: 2,
            title: "Login shells".into(),
            source: "host".into(),
            schedule: "15 */6 * * *".into(),
            deadline: Length::from_secs(90),
            needs: [
                (NeedKind::Action, "iam:GetUser"),
                (NeedKind::File, "/etc/passwd"),
                (NeedKind::Action, "iam:ListUsers"),
            ]
            .map(|(kind, what)| Need {
                kind,
                what: what.into(),
                why: "which accounts there are".into(),
                cells: Vec::new(),
            })
            .into(),
            kinds: vec!["account".into()],
            checks:
                "[{id: no-shell, item: mfa_user_enrolled, population: account | .uid < 1000, pass: .ok, says: '{id}'}]"
                    .into(),
            inputs: vec![Input {
                name: "before".into(),
                collector: "host/accounts".into(),
                kind: "account".into(),
                pick: Pick::DayBefore,
                max_age: Length::from_secs(48 * 3600),
            }],
            window: Some(WindowSpec { overlap: Length::from_secs(6 * 3600), retained: Length::from_secs(30 * 86_400) }),
        })
        .unwrap()
    }

    fn printed(id: Option<&str>, json: bool) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = Args { id: id.map(str::to_owned), json };
        let code = print(&args, vec![entry()], &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_collector_says_what_it_asks_checks_and_needs() {
        assert_eq!(
            printed(None, false).1,
            "host/shells: Login shells\n\
             \x20 schedule  15 */6 * * *, at most 1m30s a run\n\
             \x20 records   account\n\
             \x20 events    since the newest whole reading, 6h again; kept by the source for 30d\n\
             \x20 input     before: account of host/accounts, day before, at most 2d old\n\
             \x20 check     no-shell of account | .uid < 1000\n\
             \x20             mfa_user_enrolled: MFA registered for every active human account\n\
             \x20             SOC 2 CC6.1, CC6.6 (partial)\n\
             \x20             HIPAA 164.312(d), 164.312(a)(1) (partial)\n\
             \x20 needs     file /etc/passwd: which accounts there are\n\
             \x20 needs     actions iam:GetUser, iam:ListUsers\n"
        );
    }

    #[test]
    fn json_says_the_same() {
        let (code, out, _) = printed(Some("host/shells"), true);
        let all: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(code, 0);
        assert_eq!(all[0]["checks"][0]["criteria"]["soc2"]["CC6.1"], "direct");
        assert_eq!(all[0]["needs"][0]["kind"], "action");
        assert_eq!(all[0]["window"], serde_json::json!({"overlap": "6h", "retained": "30d"}));
        assert_eq!(all[0]["inputs"][0]["max_age"], "2d");
    }

    #[test]
    fn a_name_that_is_none_is_answered_with_those_there_are() {
        let (code, out, err) = printed(Some("host/shell"), false);
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(err, "there is no collector \"host/shell\"; there are: host/shells\n");
    }

    #[test]
    fn every_built_in_collector_can_be_listed() {
        let all = collectors::built_in();
        for collector in &all {
            let entry = Entry::new(collector.spec()).unwrap_or_else(|error| panic!("{error:#}"));
            assert!(!entry.records.is_empty() && entry.id.contains('/'), "{}", entry.id);
        }
    }
}
