//! `evidenced controls`: what is promised, by whom, how often, and what shows it here. It reads no source.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use controls::{Control, ControlSet, DatedBy, Strength, SwitchedOff};
use serde::Serialize;

use super::{
    agent,
    plain::{Align, safe, table},
};
use crate::promise;

/// `evidenced controls`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only this one, in full, such as AC-01
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Only those that map to one of these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub framework: Vec<Framework>,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--framework` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Framework {
    /// The Trust Services Criteria
    Soc2,
    /// The HIPAA Security Rule
    Hipaa,
}

/// Prints the controls that hold by the configuration and exits 0; or 2 where there is none of the id.
///
/// # Errors
/// A configuration that is refused; when printing fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(args.config.as_deref())?;
    let jobs = agent::jobs(&loaded)?;
    let set = promise::controls(&loaded, &jobs, loaded.config.origin.as_deref().unwrap_or_default());
    let code = print(args, &set, &mut io::stdout().lock(), &mut io::stderr().lock())?;
    Ok(ExitCode::from(code))
}

/// What is said of a control.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    id: &'a str,
    title: &'a str,
    owner: &'a str,
    statement: &'a str,
    frequency: &'static str,
    items: &'a [String],
    checks: &'a [String],
    soc2: &'a BTreeMap<String, Strength>,
    hipaa: &'a BTreeMap<String, Strength>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dated_by: Option<&'a DatedBy>,
    /// Jobs that run.
    jobs: Vec<&'a str>,
    /// Jobs that would support it and do not run, each with the reason.
    not_run: BTreeMap<&'a str, &'a str>,
}

impl<'a> Entry<'a> {
    fn new(control: &'a Control, set: &'a ControlSet) -> Self {
        let (mut jobs, mut not_run) = (Vec::new(), BTreeMap::new());
        for job in control.jobs(&set.scope) {
            match &job.off {
                None => jobs.push(job.job.as_str()),
                Some(reason) => drop(not_run.insert(job.job.as_str(), reason.as_str())),
            }
        }
        Self {
            id: &control.id,
            title: &control.title,
            owner: &control.owner,
            statement: &control.statement,
            frequency: control.frequency.as_str(),
            items: &control.items,
            checks: &control.checks,
            soc2: &control.soc2,
            hipaa: &control.hipaa,
            dated_by: control.dated_by.as_ref(),
            jobs,
            not_run,
        }
    }

    /// What reads it here, in a few words.
    fn read_by(&self) -> String {
        match (self.jobs.as_slice(), self.not_run.len()) {
            ([], 0) => "nothing here reads it".into(),
            ([], 1) => "1 job, which does not run".into(),
            ([], off) => format!("{off} jobs, none of which runs"),
            ([job], _) => (*job).to_owned(),
            (jobs, _) => format!("{} jobs", jobs.len()),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", self.id, safe(self.title))?;
        writeln!(out, "  {}", safe(self.statement))?;
        let owner = if self.owner.is_empty() { "nobody" } else { self.owner };
        writeln!(out, "  owner      {}", safe(owner))?;
        let dated = self.dated_by.map_or(String::new(), |by| format!(", dated by {} of {}", by.at, by.kind));
        writeln!(out, "  frequency  {}{dated}", self.frequency)?;
        for (name, list) in [("items", self.items), ("checks", self.checks)] {
            if !list.is_empty() {
                writeln!(out, "  {name:9}  {}", list.join(", "))?;
            }
        }
        for (name, links) in [("SOC 2", self.soc2), ("HIPAA", self.hipaa)] {
            if !links.is_empty() {
                writeln!(out, "  {name:9}  {}", in_words(links))?;
            }
        }
        if self.jobs.is_empty() && self.not_run.is_empty() {
            writeln!(out, "  jobs       nothing here reads it")?;
        }
        if !self.jobs.is_empty() {
            writeln!(out, "  jobs       {}", self.jobs.join(", "))?;
        }
        for (job, reason) in &self.not_run {
            writeln!(out, "  not run    {job}: {}", safe(reason))?;
        }
        Ok(())
    }
}

/// `CC6.1 direct, CC6.6 partial`: the strongest first.
fn in_words(links: &BTreeMap<String, Strength>) -> String {
    let mut links: Vec<(&String, &Strength)> = links.iter().collect();
    links.sort_by_key(|(_, strength)| **strength);
    let word = |strength: &Strength| match strength {
        Strength::Direct => "direct",
        Strength::Partial => "partial",
        Strength::Indirect => "indirect",
    };
    links.iter().map(|(id, strength)| format!("{id} {}", word(strength))).collect::<Vec<_>>().join(", ")
}

fn print(args: &Args, set: &ControlSet, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<u8> {
    let mut all: Vec<Entry<'_>> = set.controls.iter().map(|control| Entry::new(control, set)).collect();
    let asked = |framework: &Framework, entry: &Entry<'_>| match framework {
        Framework::Soc2 => !entry.soc2.is_empty(),
        Framework::Hipaa => !entry.hipaa.is_empty(),
    };
    all.retain(|entry| args.framework.is_empty() || args.framework.iter().any(|framework| asked(framework, entry)));
    if let Some(id) = &args.id {
        if let Some(off) = set.switched_off.iter().find(|off| off.id == *id) {
            writeln!(err, "error: {id} is switched off: {}", safe(&off.reason))?;
            return Ok(2);
        }
        all.retain(|entry| entry.id == *id);
        if all.is_empty() {
            writeln!(err, "error: there is no control {id:?}; `evidenced controls` lists them")?;
            return Ok(2);
        }
    }
    if args.json {
        #[derive(Serialize)]
        struct Listing<'a> {
            controls: Vec<Entry<'a>>,
            switched_off: &'a [SwitchedOff],
        }
        serde_json::to_writer_pretty(&mut *out, &Listing { controls: all, switched_off: &set.switched_off })?;
        writeln!(out)?;
        return Ok(0);
    }
    if args.id.is_some() {
        all.iter().try_for_each(|entry| entry.print(out))?;
        return Ok(0);
    }
    let direct = |links: &BTreeMap<String, Strength>| -> Vec<String> {
        links.iter().filter(|(_, strength)| **strength == Strength::Direct).map(|(id, _)| id.clone()).collect()
    };
    let hipaa =
        args.framework.is_empty() && set.frameworks.hipaa.is_some() || args.framework.contains(&Framework::Hipaa);
    let soc2 =
        args.framework.is_empty() && !set.frameworks.soc2.is_empty() || args.framework.contains(&Framework::Soc2);
    let row = |entry: &Entry<'_>| {
        let mut criteria = if soc2 { direct(entry.soc2) } else { Vec::new() };
        criteria.extend(if hipaa { direct(entry.hipaa) } else { Vec::new() });
        vec![entry.id.to_owned(), safe(entry.owner), entry.frequency.to_owned(), entry.read_by(), criteria.join(" ")]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = ["ID", "OWNER", "FREQUENCY", "READ BY", "DIRECTLY FOR"].map(|name| (name, Align::Left));
    write!(out, "{}", table(&head, &rows))?;
    let unread = all.iter().filter(|entry| entry.jobs.is_empty()).count();
    writeln!(out, "\n{} controls; of {unread} nothing here is read.", all.len())?;
    for off in &set.switched_off {
        writeln!(out, "Switched off: {} ({}): {}", off.id, safe(&off.title), safe(&off.reason))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use controls::{FrameworkSet, ScopedCheck, ScopedJob, starter};

    use super::*;

    fn set() -> ControlSet {
        let job = |job: &str, item: &str, off: Option<&str>| ScopedJob {
            job: job.into(),
            kind: "host".into(),
            version: 1,
            checks_sha256: "0".repeat(64),
            checks: vec![ScopedCheck { id: "c".into(), item: item.into(), kind: "k".into() }],
            off: off.map(str::to_owned),
        };
        let controls = starter().iter().filter(|c| ["AC-01", "AC-02", "AC-16"].contains(&c.id.as_str()));
        ControlSet {
            format: controls::CONTROLS_FORMAT.into(),
            origin: String::new(),
            agent: "0".into(),
            previous: None,
            reason: String::new(),
            period: None,
            frameworks: FrameworkSet { soc2: vec![controls::Category::Security], hipaa: None },
            parameters: serde_json::Map::new(),
            controls: controls.cloned().collect(),
            switched_off: vec![SwitchedOff { id: "PI-01".into(), title: "Sums".into(), reason: "none".into() }],
            treatments: BTreeMap::new(),
            user_entity_controls: Vec::new(),
            vendor_expectations: Vec::new(),
            scope: vec![
                job("host/mfa@box", "mfa_enforced_policy", Some("not here")),
                job("host/sshd@box", "linux_host_access", None),
            ],
        }
    }

    fn said(id: Option<&str>, framework: &[Framework], json: bool) -> (u8, String, String) {
        let args = Args { id: id.map(str::to_owned), framework: framework.to_vec(), config: None, json };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = print(&args, &set(), &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn each_control_says_what_reads_it_here_or_that_nothing_does() {
        let (code, out, _) = said(None, &[], false);
        let expected = "\
ID     OWNER                     FREQUENCY  READ BY                    DIRECTLY FOR
AC-01  identity and access lead  automated  nothing here reads it      CC6.1
AC-02  identity and access lead  automated  1 job, which does not run  CC6.1
AC-16  platform lead             automated  host/sshd@box              CC6.1

3 controls; of 2 nothing here is read.
Switched off: PI-01 (Sums): none
";
        assert_eq!((code, out.as_str()), (0, expected));
    }

    #[test]
    fn one_control_is_shown_in_full() {
        let (code, out, _) = said(Some("AC-02"), &[], false);
        assert_eq!(code, 0);
        assert!(out.contains("\n  SOC 2      CC6.1 direct, CC6.6 partial\n"), "{out}");
        assert!(out.contains("\n  not run    host/mfa@box: not here\n"), "{out}");
    }

    #[test]
    fn frameworks_choose_the_citations_that_are_shown() {
        let (_, out, _) = said(None, &[Framework::Hipaa], false);
        assert!(out.contains("host/sshd@box              164.312(a)(1) 164.312(a)(2)(i) 164.312(d)\n"), "{out}");
        assert!(!out.contains("CC6.1"), "{out}");
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_is_switched_off() {
        let (code, _, err) = said(Some("AC-99"), &[], false);
        assert_eq!(
            (code, err.as_str()),
            (2, "error: there is no control \"AC-99\"; `evidenced controls` lists them\n")
        );
        let (code, _, err) = said(Some("PI-01"), &[], false);
        assert_eq!((code, err.as_str()), (2, "error: PI-01 is switched off: none\n"));
    }

    #[test]
    fn json_has_every_member() {
        let (_, out, _) = said(Some("AC-16"), &[], true);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["controls"][0]["jobs"][0], "host/sshd@box");
        assert_eq!(value["switched_off"][0]["id"], "PI-01");
    }
}
