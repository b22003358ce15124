//! Collectors: what one kind of evidence needs, how it is read, and how records follow from what was read.
//!
//! A collector never writes to the system that it reads, never judges (checks are text that it carries, evaluated elsewhere) and
//! never hides a failed reading: refusals, time-outs and cut answers are exchanges like any other.

pub mod aws;
pub mod contract;
pub mod declared;
pub mod host;
pub mod recorder;
pub mod records;
pub mod redact;
pub mod testing;
pub mod window;
