//! What an auditor receives of an archive: controls over a period, deviations, populations, samples and exports. Everything rests on the
//! [`Ledger`], the archive read back after verification; nothing here reads a clock, an environment or a network, so the same archive gives
//! the same bytes.

pub mod approvals;
pub mod changes;
pub mod criteria;
pub mod csv;
pub mod days;
pub mod deviations;
pub mod diff;
pub mod drift;
pub mod evidence;
pub mod export;
pub mod html;
pub mod in_force;
pub mod ledger;
pub mod model;
pub mod occurrences;
pub mod oscal;
pub mod parts;
pub mod pass;
pub mod period;
pub mod population;
pub mod readiness;
pub mod sights;
#[cfg(test)]
pub mod testing;
pub mod trends;

pub use ledger::{Ledger, LedgerError};
