//! Collectors that are declared in YAML: what is asked, in which cells, how its end is seen, and how records follow.

pub mod definition;
pub mod system;
