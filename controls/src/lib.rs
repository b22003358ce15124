//! Catalogues, checks and their evaluation.
//!
//! A [`Check`] asks one question of every record of a kind; it is jq, so that it can be read and tried with common tools. What
//! cannot be shown is unknown: a check never passes for want of an answer. Nothing here reads a file, a clock, the environment or
//! a network, so the same records and parameters give the same bytes for ever.

mod catalogue;
mod check;
mod control;
mod evaluate;
mod kept;
mod results;
mod rows;
mod says;
mod starter;
mod written;

pub use catalogue::{
    Catalogue, Category, Criterion, EvidenceItem, Heading, HipaaEntry, HipaaKind, Meta, Related, Requirement, Strength,
    catalogue, item,
};
pub use check::{Check, CheckError, Join, parse_checks};
pub use control::{
    Control, ControlSet, DatedBy, EntityControl, Expectation, FORMAT as CONTROLS_FORMAT, FrameworkSet, Frequency,
    Hipaa, HipaaRole, ScopedCheck, ScopedJob, SwitchedOff, TreatmentSet,
};
pub use evaluate::Evaluator;
pub use results::{
    CheckResult, Counts, Criteria, Definition, Outcome, Population, PopulationResult, PopulationState, Results,
    ResultsError,
};
pub use rows::{Row, Rows};
pub use starter::starter;
pub use written::{Declared, Mistake, WrittenControl, WrittenControls, declare};
