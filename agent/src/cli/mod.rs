//! The command line: each command is a file here, with its arguments and what it prints. What a command does is done elsewhere.

pub mod collectors;
pub mod config;
mod plain;
pub mod show;
pub mod validate;
pub mod verify;
