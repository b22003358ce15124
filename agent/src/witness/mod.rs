//! Witnesses: the agent's part, which shows them every published checkpoint ([`client`]), and a small one of our own ([`store`],
//! [`server`]), which a customer, an auditor or a second account runs. It signs only consistent growth of the logs that it was told of, and keeps what
//! it signed.

pub mod client;
pub mod config;
pub mod server;
pub mod store;
