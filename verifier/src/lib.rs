//! The command line of verification: what it is asked, where an archive is found, what it says, and with which exit code. The program
//! `evidenced-verify` is this and `signing`; `evidenced verify` adds buckets and the deriving of records by its collectors.
//!
//! Nothing here has a network, a runtime or anything platform-bound, and nothing writes.

pub mod dates;
pub mod derive;
pub mod failure;
pub mod meter;
pub mod outside;
pub mod place;
pub mod plain;
mod text;
pub mod verify;
