//! What the tests of the whole program share: the program itself, its work in a scratch directory, and the tools that others wrote.
//! The promises are in `tests/tests/`.

// Scratch files of tests need not be durable.
#![allow(clippy::disallowed_methods)]

pub mod aws;
pub mod browser;
pub mod conformance;
pub mod container;
pub mod grow;
pub mod loose;
pub mod program;
pub mod recipes;
pub mod s3;
pub mod tools;
pub mod tsa;
