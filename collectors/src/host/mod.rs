//! Collectors that read the machine itself.

pub mod access;
mod below;
