//! What is sealed and how it is proved: receipts, plans and their slots, seals, keys, bundles, the log, and their verification.
//!
//! This crate has no network, no async runtime and no clock: an instant is always an argument, and bytes are read through
//! [`store::Reader`]. So an auditor can read and build it alone. `docs/FORMAT.md` is the normative text for the bytes made here.

pub mod append;
pub mod approval;
pub mod bundle;
pub mod digest;
pub mod errors;
pub mod keys;
pub mod layout;
pub mod log;
pub mod package;
pub mod plan;
pub mod population;
pub mod promise;
pub mod seal;
pub mod slots;
pub mod statement;
pub mod store;
pub mod time;
pub mod timestamp;
pub mod verify;
