//! What `evidenced doctor` finds out: one thing that was tried, how it stands, and what to do. Nothing of it is evidence.

use serde::Serialize;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Fine,
    /// It could not be told.
    Unknown,
    /// Not as it should be.
    Finding,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried: `credentials`, `account 111122223333`.
    pub about: String,
    /// How it stands.
    pub state: State,
    /// In words.
    pub says: String,
    /// What to do about it; none where it is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn fine(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self { about: about.into(), state: State::Fine, says: says.into(), to_do: None }
    }

    /// Not as it should be.
    pub fn wrong(about: impl Into<String>, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { about: about.into(), state: State::Finding, says: says.into(), to_do: Some(to_do.into()) }
    }

    /// It could not be told.
    pub fn unknown(about: impl Into<String>, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { state: State::Unknown, ..Self::wrong(about, says, to_do) }
    }
}
