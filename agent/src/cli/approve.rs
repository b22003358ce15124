//! `evidenced waive`, `respond` and `decide`: what a person signs with a key of their own, and its way into the log. No result is changed by
//! any of it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use chrono::{Days, Months, NaiveDate, NaiveTime};
use signing::{
    approval::{Approval, Choice, Decision, Kind, Records, Response, Signed, Waiver},
    digest::Digest,
    errors::chain,
    keys::{Signer as _, Use},
    layout::Job,
    time::{Utc, millis, rfc3339},
};

use super::{agent, collect};
use crate::{
    anchor::Anchoring,
    clock::{Clock as _, SystemClock},
    config::Loaded,
    control::{self, Answer, Ask},
    durable::{Created, Disk},
    keystore,
    pipeline::says_something,
    witness::client::Witnessing,
};

/// By whom, and where to.
#[derive(Debug, Clone, clap::Args)]
pub struct Signing {
    /// The approver's key, a PKCS#8 PEM file of mode 0600
    #[arg(long, value_name = "FILE", required_unless_present = "submit")]
    pub key: Option<PathBuf>,
    /// The keys.json that names the approver; without it the configuration's
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Only sign, into this file: for a machine without the agent
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Only log: this file, which was signed elsewhere
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "keys", "output"])]
    pub submit: Option<PathBuf>,
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `evidenced waive`.
#[derive(Debug, Clone, clap::Args)]
pub struct WaiveArgs {
    /// Deviations of this control, by its id
    #[arg(long, value_name = "ID", required_unless_present_any = ["check", "submit"])]
    pub control: Option<String>,
    /// Deviations from this check: aws/iam-users/mfa-enrolled
    #[arg(long, value_name = "COLLECTOR/CHECK")]
    pub check: Option<String>,
    /// In this job only
    #[arg(long, value_name = "JOB")]
    pub job: Option<Job>,
    /// Of this record only, by its id; again for more
    #[arg(long = "record", value_name = "ID", required_unless_present_any = ["all_records", "submit"])]
    pub records: Vec<String>,
    /// Of all records
    #[arg(long, conflicts_with = "records")]
    pub all_records: bool,
    /// Why; auditors read it
    #[arg(long, value_name = "TEXT", required_unless_present = "submit")]
    pub reason: Option<String>,
    /// From this day (its first instant in UTC) or instant on it no longer applies
    #[arg(long, value_name = "DAY", value_parser = day_or_instant, required_unless_present = "submit")]
    pub until: Option<Utc>,
    /// The control that makes up for it meanwhile, or words about it
    #[arg(long, value_name = "TEXT")]
    pub compensating: Option<String>,
    /// Let it apply for more than a year and a day
    #[arg(long)]
    pub longer_than_a_year: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// `evidenced respond`.
#[derive(Debug, Clone, clap::Args)]
pub struct RespondArgs {
    /// The deviation, as the report names it: D-0123456789ab
    #[arg(long, value_name = "ID", required_unless_present_any = ["control", "submit"], conflicts_with = "control")]
    pub deviation: Option<String>,
    /// Every deviation of this control, by its id
    #[arg(long, value_name = "ID")]
    pub control: Option<String>,
    /// What management says
    #[arg(long, value_name = "TEXT", required_unless_present = "submit")]
    pub text: Option<String>,
    /// What is done about it
    #[arg(long, value_name = "TEXT")]
    pub remediation: Option<String>,
    /// By which day
    #[arg(long, value_name = "DAY", requires = "remediation")]
    pub by: Option<NaiveDate>,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// `evidenced decide`.
#[derive(Debug, Clone, clap::Args)]
pub struct DecideArgs {
    /// The addressable specification: "164.312(a)(2)(iv)"
    #[arg(value_name = "CITATION", required_unless_present = "submit")]
    pub citation: Option<String>,
    /// What was decided
    #[arg(long, value_name = "WHAT", required_unless_present = "submit")]
    pub decision: Option<Decided>,
    /// Why
    #[arg(long, value_name = "TEXT", required_unless_present = "submit")]
    pub reason: Option<String>,
    /// What is done instead
    #[arg(long, value_name = "TEXT", required_if_eq("decision", "alternative"))]
    pub alternative: Option<String>,
    #[command(flatten)]
    pub(crate) signing: Signing,
}

/// What may be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Decided {
    /// As it is written
    Implemented,
    /// Something else in its place
    Alternative,
    /// Not reasonable and appropriate here
    NotReasonable,
}

impl From<Decided> for Choice {
    fn from(decided: Decided) -> Self {
        match decided {
            Decided::Implemented => Self::Implemented,
            Decided::Alternative => Self::Alternative,
            Decided::NotReasonable => Self::NotReasonable,
        }
    }
}

/// Who signs, for which log, and when.
struct By {
    origin: String,
    approver: String,
    made_at: Utc,
}

/// Signs a waiver, or logs one.
///
/// # Errors
/// A key that is no approver's; what the format does not allow; a log that cannot be written.
pub fn waive(args: &WaiveArgs) -> anyhow::Result<ExitCode> {
    approve(Kind::Waiver, &args.signing, |by| {
        let until = millis(args.until.ok_or_else(|| anyhow!("give --until"))?);
        let longest = by.made_at.checked_add_months(Months::new(12)).and_then(|at| at.checked_add_days(Days::new(1)));
        ensure!(
            args.longer_than_a_year || longest.is_some_and(|longest| until <= longest),
            "{} is more than a year and a day away: sign again before then, or say --longer-than-a-year",
            rfc3339(until)
        );
        Ok(Approval::Waiver(Waiver {
            format: Kind::Waiver.format().to_owned(),
            origin: by.origin,
            approver: by.approver,
            made_at: by.made_at,
            control: args.control.clone(),
            check: args.check.clone(),
            job: args.job.clone(),
            records: match args.all_records {
                true => Records::ALL,
                false => Records::These(args.records.clone()),
            },
            reason: args.reason.clone().unwrap_or_default(),
            until,
            compensating: args.compensating.clone(),
        }))
    })
}

/// Signs management's response, or logs one.
///
/// # Errors
/// As [`waive`].
pub fn respond(args: &RespondArgs) -> anyhow::Result<ExitCode> {
    approve(Kind::Response, &args.signing, |by| {
        Ok(Approval::Response(Response {
            format: Kind::Response.format().to_owned(),
            origin: by.origin,
            approver: by.approver,
            made_at: by.made_at,
            deviation: args.deviation.clone(),
            control: args.control.clone(),
            text: args.text.clone().unwrap_or_default(),
            remediation: args.remediation.clone(),
            remediation_by: args.by,
        }))
    })
}

/// Signs a decision, or logs one.
///
/// # Errors
/// As [`waive`].
pub fn decide(args: &DecideArgs) -> anyhow::Result<ExitCode> {
    approve(Kind::Decision, &args.signing, |by| {
        Ok(Approval::Decision(Decision {
            format: Kind::Decision.format().to_owned(),
            origin: by.origin,
            approver: by.approver,
            made_at: by.made_at,
            citation: args.citation.clone().unwrap_or_default(),
            decision: args.decision.ok_or_else(|| anyhow!("give --decision"))?.into(),
            reason: args.reason.clone().unwrap_or_default(),
            alternative: args.alternative.clone(),
        }))
    })
}

fn day_or_instant(text: &str) -> Result<Utc, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    text.parse().map_err(|_| "it is a day (2027-03-01) or an instant (2027-03-01T12:00:00Z)".to_owned())
}

fn approve(
    kind: Kind,
    signing: &Signing,
    make: impl FnOnce(By) -> anyhow::Result<Approval>,
) -> anyhow::Result<ExitCode> {
    let signed = match &signing.submit {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let signed = Signed::from_bytes(&bytes).with_context(|| format!("{} cannot be logged", path.display()))?;
            let found = signed.approval.kind();
            ensure!(found == kind, "{} is a {found}, not a {kind}", path.display());
            signed
        }
        None => sign(signing, make)?,
    };
    match &signing.output {
        Some(path) => keep(kind, &signed, path).map(|()| ExitCode::SUCCESS),
        None => log(signing.config.as_deref(), &signed),
    }
}

fn sign(signing: &Signing, make: impl FnOnce(By) -> anyhow::Result<Approval>) -> anyhow::Result<Signed> {
    let path = signing.key.as_ref().ok_or_else(|| anyhow!("give --key"))?;
    let key = keystore::read_key(path)?;
    let keys = match &signing.keys {
        Some(keys) => keys.clone(),
        None => agent::load(signing.config.as_deref())?.config.key_paths().keys,
    };
    let (set, _) = keystore::read_set(&keys)
        .with_context(|| format!("{} says who may sign; --keys names another file", keys.display()))?;
    let id = key.public().fingerprint();
    let approver = set.entry(&id).filter(|entry| entry.use_ == Use::Approvals).and_then(|entry| entry.name.clone());
    let Some(approver) = approver else {
        bail!(
            "the key {id} in {} is no approver's by {}: `evidenced keys approver NAME --public FILE` names one",
            path.display(),
            keys.display()
        );
    };
    let now = millis(SystemClock.now());
    let signed = Signed::new(make(By { origin: set.origin.clone(), approver, made_at: now })?, &key)?;
    signed.verify_under(&set, now)?;
    says_something(&signed.approval, now).map_err(anyhow::Error::msg)?;
    Ok(signed)
}

/// Writes it where nothing is yet.
fn keep(kind: Kind, signed: &Signed, path: &Path) -> anyhow::Result<()> {
    let bytes = signed.to_bytes();
    let created = Disk::new().create_new(path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    if created == Created::Other {
        bail!("{} is there already, and is not replaced: name another file", path.display());
    }
    println!("Signed: {}", in_words(signed));
    let command = match kind {
        Kind::Waiver => "waive",
        Kind::Response => "respond",
        Kind::Decision => "decide",
    };
    println!(
        "It counts once it is in the log. On the agent's machine:\n  evidenced {command} --submit {}",
        path.display()
    );
    Ok(())
}

/// What was signed, in one line.
fn in_words(signed: &Signed) -> String {
    let approval = &signed.approval;
    let id = approval.kind().id(Digest::of(&signed.to_bytes()));
    let until = match approval {
        Approval::Waiver(waiver) => format!(", until {}", rfc3339(waiver.until)),
        _ => String::new(),
    };
    format!("{id}, {} by {}: {}{until}", approval.kind(), approval.approver(), approval.subject())
}

/// Logs it: through the daemon where one runs.
fn log(config: Option<&Path>, signed: &Signed) -> anyhow::Result<ExitCode> {
    let loaded = agent::load(config)?;
    agent::log(&loaded, "warn");
    for unknown in unknown_here(&loaded, &signed.approval)? {
        eprintln!("Check what was signed: {unknown}. If it is a slip, sign another: this one will apply to nothing.");
    }
    let runtime = agent::runtime()?;
    let code = runtime.block_on(async {
        let done = match through_daemon(&loaded, signed).await? {
            Some(done) => done,
            None => alone(&loaded, signed).await?,
        };
        match done {
            Done::Logged => println!("Logged: {}", in_words(signed)),
            Done::Known => println!("In the log already: {}", in_words(signed)),
            Done::Waiting(why) => {
                println!("Taken, and not in the log yet: {}", in_words(signed));
                eprintln!("The agent goes on trying: {why}");
            }
        }
        if matches!(signed.approval, Approval::Waiver(_)) {
            match loaded.config.signing.timestamps.authorities.is_empty() {
                false => println!("It applies from the trusted time of the log's next timestamp on."),
                true => eprintln!(
                    "No timestamp authority is configured (signing.timestamps): without a trusted time a waiver does not apply."
                ),
            }
        }
        Ok(ExitCode::SUCCESS)
    });
    agent::end(runtime, code)
}

/// What it names that the configuration does not have. It may have had it once, so that nothing is refused.
fn unknown_here(loaded: &Loaded, approval: &Approval) -> anyhow::Result<Vec<String>> {
    let (control, check, job) = match approval {
        Approval::Waiver(waiver) => (waiver.control.as_deref(), waiver.check.as_deref(), waiver.job.as_ref()),
        Approval::Response(response) => (response.control.as_deref(), None, None),
        Approval::Decision(_) => return Ok(Vec::new()),
    };
    let declared = &loaded.declared;
    let scope = agent::jobs(loaded)?.scope();
    let has_control = |id: &str| declared.controls.iter().any(|one| one.id == id);
    let has_check = |id: &str| {
        let (collector, check) = id.rsplit_once('/').unwrap_or_default();
        scope.iter().any(|one| {
            one.job.split_once('@').is_some_and(|(name, _)| name == collector)
                && one.checks.iter().any(|one| one.id == check)
        })
    };
    let mut unknown = Vec::new();
    unknown.extend(
        control
            .filter(|id| !has_control(id))
            .map(|id| format!("the configuration has no control {id} (`evidenced controls` lists those that it has)")),
    );
    unknown.extend(check.filter(|id| !has_check(id)).map(|id| {
        format!("no job of the configuration has a check {id} (its id is COLLECTOR/CHECK: `evidenced collectors` lists them)")
    }));
    unknown.extend(
        job.filter(|job| !scope.iter().any(|one| one.job == job.to_string()))
            .map(|job| format!("the configuration has no job {job} (`evidenced validate` lists those that it has)")),
    );
    Ok(unknown)
}

/// What became of it.
enum Done {
    Logged,
    /// The log, or the spool, had it.
    Known,
    /// In the spool, and why not further.
    Waiting(String),
}

/// Has the daemon log it; `None` where none runs.
async fn through_daemon(loaded: &Loaded, signed: &Signed) -> anyhow::Result<Option<Done>> {
    let document = String::from_utf8(signed.to_bytes()).context("the document is no text")?;
    let ask = Ask::Approve { document };
    let answers =
        control::ask(&loaded.config.state_dir, &ask).await.with_context(|| agent::not_asked(&loaded.config))?;
    let Some(mut answers) = answers else { return Ok(None) };
    while let Some(answer) = answers.next().await? {
        match answer {
            Answer::Refused(why) => bail!("the daemon refuses: {why}"),
            Answer::Done { waiting: Some(why), .. } => return Ok(Some(Done::Waiting(why))),
            Answer::Done { logged: 0, .. } => return Ok(Some(Done::Known)),
            Answer::Done { .. } => return Ok(Some(Done::Logged)),
            Answer::Ran(_) | Answer::Status(_) => {}
        }
    }
    Err(anyhow!("the daemon ended before it had answered; `evidenced show` tells whether it is in the log"))
}

/// Without a daemon: logs it here, and has the log anchored.
async fn alone(loaded: &Loaded, signed: &Signed) -> anyhow::Result<Done> {
    let config = &loaded.config;
    let disk = Disk::new();
    let keys = collect::open_keys(&config.key_paths())?;
    let instance = agent::take(config, &disk)?;
    let pipeline = agent::pipeline(config, keys, &instance, &disk, false).await?;
    let anchoring = Anchoring::open(pipeline.clone(), &config.signing.timestamps).await?;
    let new = pipeline.spool_approval(signed.to_bytes()).await?;
    let drained = pipeline.drain().await;
    if let Some(anchoring) = anchoring {
        for anchor in anchoring.finish().await {
            if let Some(error) = anchor.error {
                eprintln!("{} did not anchor it yet: {error}", anchor.authority);
            }
        }
    }
    if let Some(witnessing) = Witnessing::open(pipeline.clone(), &config.signing.witnesses)? {
        witnessing.finish().await;
    }
    Ok(match (new, drained) {
        (_, Err(error)) => Done::Waiting(chain(&error)),
        (true, Ok(_)) => Done::Logged,
        (false, Ok(_)) => Done::Known,
    })
}
