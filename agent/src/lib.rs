//! The agent: configuration, schedule, runs, pipeline, archive and command line of the program `evidenced`.

pub mod anchor;
pub mod archive;
mod blocking;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod durable;
pub mod freeze;
pub mod http;
pub mod instance;
pub mod jobs;
pub mod keystore;
pub mod ledger;
pub mod lock;
pub mod pipeline;
pub mod promise;
pub mod pull;
pub mod rederive;
pub mod room;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod witness;
