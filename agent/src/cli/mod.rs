//! The command line: each command is a file here, with its arguments and what it prints. What a command does is done elsewhere.

mod agent;
pub mod approve;
pub mod collect;
pub mod collectors;
pub mod config;
pub mod controls;
pub mod diff;
pub mod doctor;
pub mod export;
mod host_exec;
pub mod iam_policy;
pub mod keys;
pub mod pause;
mod place;
mod plain;
pub mod population;
pub mod prove;
pub mod pull;
pub mod report;
pub mod run;
pub mod sample;
pub mod show;
pub mod status;
mod table;
pub mod validate;
pub mod verify;
pub mod witness;

use std::process::ExitCode;

use clap::Parser;

/// Continuous compliance evidence, sealed so that nobody has to trust us.
#[derive(Debug, Parser)]
#[command(name = "evidenced", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read once, now, and seal what was read; without a configuration: this host, into ./evidence
    Collect(collect::Args),
    /// Run jobs on their schedules until told to stop
    Run(run::Args),
    /// Put no schedule in force, and say why in the log
    Pause(pause::PauseArgs),
    /// Put the schedules in force again, after a pause
    Resume(pause::ResumeArgs),
    /// Show what waits, what runs, what comes next
    Status(status::Args),
    /// Check an archive, offline: what is proved of it, and what is not
    Verify(verify::Args),
    /// Copy an archive, or a part of it by dates, into a directory that verifies offline
    Pull(pull::Args),
    /// Make a package of one entry with what proves it, to be verified alone
    Prove(prove::Args),
    /// Report on an archive: controls over a period, deviations, changes, and what is not shown
    Report(report::Args),
    /// Write an archive as Parquet files by day, for query engines
    Export(export::Args),
    /// List everything that samples of a control are drawn from, and put its hash into the log before anybody draws
    Population(population::Args),
    /// Draw a sample of a control by your seed, packed with what proves it, to be verified alone
    Sample(sample::Args),
    /// Print entries, bundles and documents for a person
    Show(show::Args),
    /// Compare two runs of a job: what came, went and changed
    Diff(diff::Args),
    /// Check the configuration, and show what would run
    Validate(validate::Args),
    /// Try what runs will need, without sealing anything, and say what to do
    Doctor(doctor::Args),
    /// Print the configuration that holds
    Config(config::Args),
    /// List the controls that are promised, and what shows them here
    Controls(controls::Args),
    /// List what can be collected, and what that needs
    Collectors(collectors::Args),
    /// Print the least permissions with which AWS can be read, or a template of the roles
    IamPolicy(iam_policy::Args),
    /// Sign that a deviation is accepted until a day; it stays a deviation
    Waive(approve::WaiveArgs),
    /// Sign management's response to a deviation
    Respond(approve::RespondArgs),
    /// Sign a decision about an addressable specification of the HIPAA Security Rule
    Decide(approve::DecideArgs),
    /// Make keys, or show them
    #[command(subcommand)]
    Keys(keys::Command),
    /// Sign the checkpoints of others' logs, as long as these only grow
    Witness(witness::Args),
    /// Become a program of another root
    #[command(hide = true)]
    HostExec(host_exec::Args),
}

/// Runs the command that this process was given. A failure is printed with its causes, and the exit code is 2.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Collect(args) => collect::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Pause(args) => pause::pause(&args),
        Command::Resume(args) => pause::resume(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Population(args) => population::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Show(args) => show::run(args),
        Command::Diff(args) => diff::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Controls(args) => controls::run(&args),
        Command::Collectors(args) => collectors::run(&args),
        Command::IamPolicy(args) => iam_policy::run(&args),
        Command::Waive(args) => approve::waive(&args),
        Command::Respond(args) => approve::respond(&args),
        Command::Decide(args) => approve::decide(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Witness(args) => witness::run(&args),
        Command::HostExec(args) => host_exec::run(&args),
    };
    done.unwrap_or_else(|error| verifier::failure::end(&error))
}
