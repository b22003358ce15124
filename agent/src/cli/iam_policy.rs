//! `evidenced iam-policy`: prints the least permissions with which an AWS source can be read, and a CloudFormation template of the roles.
//! It needs no credentials and asks AWS nothing; what it prints follows from the configuration and the collectors alone.

mod archive;
mod document;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, bail};
use collectors::{
    aws::config::{Accounts, AwsConfig},
    contract::{Need, NeedKind, Source},
};
use serde_json::Value;

use crate::config::{Config, Loaded, Wish};
use document::{MOST_CHARACTERS, MOST_POLICIES, Role};

/// `evidenced iam-policy`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The configuration; without it $EVIDENCED_CONFIG, else ./evidenced.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The AWS source, where there are several
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Whose permissions
    #[arg(long = "for", value_enum, default_value_t = For::Member, value_name = "WHO")]
    pub for_: For,
    /// A policy, or a CloudFormation template of the role with it
    #[arg(long, value_enum, default_value_t = Format::Policy, value_name = "FORMAT")]
    pub format: Format,
    /// The archive's in S3 instead: the agent's, or with --format bucket-policy the bucket's own
    #[arg(long, conflicts_with_all = ["source", "for_", "part"])]
    pub archive: bool,
    /// An auditor's, who reads the archive
    #[arg(long, requires = "archive")]
    pub auditor: bool,
    /// Which of the policies, where they are several
    #[arg(long, value_name = "N")]
    pub part: Option<usize>,
}

/// Who needs the permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum For {
    /// The role in each account that is read
    Member,
    /// The role that lists the organisation's accounts
    Discovery,
    /// The agent's own identity, which assumes both
    Agent,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An IAM policy, as JSON
    Policy,
    /// A CloudFormation template, as JSON: for a stack, or a stack set over all accounts
    Cloudformation,
    /// The policy of the archive's bucket, as JSON: for --archive
    BucketPolicy,
}

/// Prints the policy or template and exits 0; or why there is none, on standard error, and exits 2.
///
/// # Errors
/// A configuration without such a source or role; permissions that do not fit; when printing fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let text = asked(args, std::env::vars_os(), &mut io::stderr().lock())?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn asked(
    args: &Args,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    notes: &mut dyn Write,
) -> anyhow::Result<String> {
    let loaded = Config::load(args.config.as_deref(), environment)?;
    let sources = loaded.config.open_sources();
    loaded.validate(&sources)?;
    if args.archive {
        return Ok(serde_json::to_string_pretty(&of_archive(args, &loaded.config)?)? + "\n");
    }
    if args.format == Format::BucketPolicy {
        bail!("a bucket's policy is the archive's: add --archive");
    }
    let (aws, source) = match chosen(&loaded, sources, args.source.as_deref())? {
        Some(chosen) => chosen,
        None => {
            writeln!(
                notes,
                "The configuration has no AWS source: this is for all collectors, with the default settings."
            )?;
            let aws = AwsConfig::default();
            let source = collectors::aws::open(&aws, "aws");
            (aws, source)
        }
    };
    let needs = enabled(&loaded.config, &source);
    let printed = print(args, &aws, &needs, &source.name)?;
    Ok(serde_json::to_string_pretty(&printed)? + "\n")
}

/// The archive's permissions, for the configured origin, else for every origin below the prefix.
fn of_archive(args: &Args, config: &Config) -> anyhow::Result<Value> {
    let Some(s3) = &config.archive.s3 else {
        bail!("the configuration has no archive in S3: write `archive.s3`");
    };
    let archive = archive::Archive::new(s3, config.origin.as_deref());
    match (args.format, args.auditor) {
        (Format::Policy, false) => Ok(archive.agent()),
        (Format::Policy, true) => Ok(archive.auditor()),
        (Format::BucketPolicy, false) => Ok(archive.bucket_policy()),
        (Format::BucketPolicy, true) => bail!("a bucket has one policy, for everybody: leave --auditor out"),
        (Format::Cloudformation, _) => bail!("the archive's permissions are printed as policies only"),
    }
}

/// The source that is meant; `None` where no AWS source is configured, and none was named.
fn chosen(loaded: &Loaded, opened: Vec<Source>, name: Option<&str>) -> anyhow::Result<Option<(AwsConfig, Source)>> {
    let written = loaded.config.sources.iter().zip(opened);
    let mut aws: Vec<_> = written.filter_map(|(written, opened)| Some((written.aws.clone()?, opened))).collect();
    let names = aws.iter().map(|(_, source)| source.name.clone()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => {
            aws.retain(|(_, source)| source.name == name);
            let there = if names.is_empty() { "none".to_owned() } else { names };
            aws.pop().map(Some).ok_or_else(|| anyhow!("there is no AWS source {name:?}; there are: {there}"))
        }
        None if aws.len() > 1 => bail!("there are several AWS sources; name one with --source: {names}"),
        None => Ok(aws.pop()),
    }
}

/// What the collectors need that the configuration lets run.
fn enabled(config: &Config, source: &Source) -> Vec<Need> {
    let specs = source.collectors.iter().map(|collector| collector.spec());
    let runs =
        specs.filter(|spec| matches!(config.wish(&spec.id, &source.name, &spec.schedule, spec.deadline), Wish::Run(_)));
    runs.flat_map(|spec| spec.needs.clone()).filter(|need| need.kind == NeedKind::Action).collect()
}

fn print(args: &Args, aws: &AwsConfig, needs: &[Need], source: &str) -> anyhow::Result<Value> {
    if args.for_ == For::Agent {
        if args.format == Format::Cloudformation {
            bail!("the agent's own identity is not made by a template: print its policy with --format policy");
        }
        return one_of(document::assume(&roles(aws)?), args.part);
    }
    let actions = actions(aws, needs, args.for_)?;
    let policies = document::policies(&actions);
    if args.format == Format::Policy {
        return one_of(policies, args.part);
    }
    if args.part.is_some() {
        bail!("--part is for --format policy: a template holds all of them");
    }
    if policies.len() > MOST_POLICIES {
        bail!(
            "the {} actions need {} managed policies, and a role takes {MOST_POLICIES}: switch collectors off in `jobs`",
            actions.len(),
            policies.len()
        );
    }
    let arn = match args.for_ {
        For::Discovery => aws.organization().map(|organization| organization.role.as_str()),
        For::Member | For::Agent => aws.role.as_deref(),
    };
    let (path, name) = path_and_name(arn.unwrap_or("role/evidenced-read"));
    let what = if args.for_ == For::Discovery { "the organisation" } else { "this account" };
    let description =
        format!("evidenced reads {what} with this role (source {source}): {} actions that read", actions.len());
    Ok(document::template(&Role { name, path, description: &description }, &policies))
}

/// The actions of a role.
fn actions(aws: &AwsConfig, needs: &[Need], of: For) -> anyhow::Result<BTreeSet<String>> {
    let is_organization = |need: &&Need| need.cells.iter().any(|cell| cell == ORGANIZATION);
    let is_account = |need: &&Need| need.cells.is_empty() || need.cells.iter().any(|cell| cell != ORGANIZATION);
    let mut actions: BTreeSet<String> = match (of, aws.organization()) {
        // Nobody else reads the organisation then: what the account can see of it.
        (For::Member, None) => needs.iter().map(|need| need.what.clone()).collect(),
        (For::Member, Some(_)) => needs.iter().filter(is_account).map(|need| need.what.clone()).collect(),
        (_, Some(_)) => needs.iter().filter(is_organization).map(|need| need.what.clone()).collect(),
        (_, None) => bail!(
            "the source reads no organisation (`accounts.organization`): the role in its accounts needs everything, which --for member prints"
        ),
    };
    // By which a run finds out what there is to read.
    actions.extend(match (of, aws.organization()) {
        (For::Member, None) => vec!["ec2:DescribeRegions".to_owned(), "organizations:DescribeOrganization".to_owned()],
        (For::Member, Some(_)) => vec!["ec2:DescribeRegions".to_owned()],
        _ => vec!["organizations:ListAccounts".to_owned()],
    });
    match actions.iter().find(|action| !only_reads(action)) {
        Some(action) => Err(anyhow!("a collector asks for {action}, which is no permission to read settings"))
            .context("nothing is printed: this is a mistake in the program"),
        None => Ok(actions),
    }
}

/// The kind of cells that the discovery role reads.
const ORGANIZATION: &str = "source";

/// What the names of actions begin with that read.
const READS: [&str; 6] = ["BatchGet", "Describe", "Get", "List", "Lookup", "Simulate"];

/// Actions that make a report to be read, and nothing else.
const REPORTS: [&str; 2] = ["GenerateCredentialReport", "GenerateServiceLastAccessedDetails"];

/// Actions that read secrets, or the data that the systems are there for: these, and everything that begins with one that ends in `*`.
const NEVER: [&str; 22] = [
    "athena:GetQueryResults*",
    "codecommit:Get*",
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "ec2:GetConsole*",
    "ec2:GetPasswordData",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "kinesis:GetRecords",
    "kms:Decrypt",
    "lambda:GetFunction",
    "logs:GetLogEvents",
    "logs:GetLogRecord",
    "logs:GetQueryResults",
    "redshift-data:GetStatementResult*",
    "s3:GetObject*",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
    "ssm:GetParameter*",
    "sts:Get*Token",
];

/// Whether an action neither changes anything nor gives away what is not evidence.
fn only_reads(action: &str) -> bool {
    let Some((service, name)) = action.split_once(':') else { return false };
    let is_never = |never: &str| match never.split_once('*') {
        Some((start, end)) => action.starts_with(start) && action.ends_with(end),
        None => action == never,
    };
    !service.is_empty()
        && !action.contains('*')
        && (READS.iter().any(|verb| name.starts_with(verb)) || REPORTS.contains(&name))
        && !NEVER.iter().any(|never| is_never(never))
}

/// The roles that the agent assumes.
fn roles(aws: &AwsConfig) -> anyhow::Result<Vec<String>> {
    let mut roles: Vec<String> = match (&aws.role, &aws.accounts) {
        (None, _) => Vec::new(),
        (Some(_), Some(Accounts::Given(accounts))) => {
            accounts.iter().filter_map(|account| aws.role_in(account)).collect()
        }
        (Some(role), None) => vec![role.clone()],
        // Which accounts there are is not known before they are listed.
        (Some(_), Some(Accounts::Organization(_))) => aws.role_in("*").into_iter().collect(),
    };
    if let Some(organization) = aws.organization() {
        roles.push(organization.role.clone());
        roles.extend(organization.management_role.clone());
    }
    roles.sort();
    roles.dedup();
    if roles.is_empty() {
        bail!(
            "the source assumes no role (`role`): the agent's own identity reads, and needs what --for member prints"
        );
    }
    Ok(roles)
}

/// The policy, or the one of several that is asked for.
fn one_of(mut policies: Vec<Value>, part: Option<usize>) -> anyhow::Result<Value> {
    let count = policies.len();
    match part {
        None if count == 1 => Ok(policies.remove(0)),
        None => bail!(
            "it takes {count} managed policies of at most {MOST_CHARACTERS} characters: print each with --part 1 to --part {count}, and attach \
             all of them"
        ),
        Some(part) if (1..=count).contains(&part) => Ok(policies.remove(part - 1)),
        Some(part) => bail!("there is no part {part}: it takes {count}"),
    }
}

/// `/audit/` and `read` of `arn:aws:iam::111122223333:role/audit/read`.
fn path_and_name(arn: &str) -> (&str, &str) {
    let resource = arn.rsplit(':').next().unwrap_or(arn);
    let from = resource.find('/').unwrap_or_default();
    let name = resource.rfind('/').unwrap_or_default() + 1;
    (&resource[from..name], &resource[name..])
}

#[cfg(test)]
mod tests;
