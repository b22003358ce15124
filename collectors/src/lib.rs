//! Collectors: what one kind of evidence needs, how it is read, and how records follow from what was read.
//!
//! A collector never writes to the system that it reads, never judges (checks are text that it carries, evaluated elsewhere) and
//! never hides a failed reading: refusals, time-outs and cut answers are exchanges like any other.

pub mod aws;
pub mod contract;
pub mod declared;
pub mod finding;
pub mod host;
pub mod recorder;
pub mod records;
pub mod redact;
mod seen;
pub mod testing;
pub mod window;

use std::sync::Arc;

/// Every collector there is, configured or not, by no source: to list them, and to derive again what they made.
pub fn built_in() -> Vec<Arc<dyn contract::Collector>> {
    let config = host::config::HostConfig::default();
    let mut all = host::built_in(&host::access::Host::new(&config.root, None), &config);
    all.extend(aws::open(&aws::config::AwsConfig::default(), "aws").collectors);
    all
}
