//! The pipeline over an archive in a directory: every write fails, persisted or not; the process dies at every write; the disk is full;
//! spool, state and archive are lost or exchanged. Nothing is lost, nothing is doubled, and what cannot go on says so.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod away;
mod catch_up;
mod cold;
mod derived;
mod double;
mod faults;
mod kill;
mod long;
mod recovery;
mod rotation;
mod support;
mod way;
