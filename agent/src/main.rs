//! The program `evidenced`.
fn main() {}
