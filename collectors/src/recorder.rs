//! Under construction.
/// x
pub struct Recorder;
