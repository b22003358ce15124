//! From what an operator writes to what a plan carries: crontab text becomes sets, a zone's name becomes its UTC offsets.
//!
//! Slots are never computed here: that is `signing::slots`, which agent and verifier share.

mod crontab;
mod zones;

pub use crontab::{ScheduleError, parse};
pub use zones::{UnknownZone, offsets};

#[cfg(test)]
mod tests;
