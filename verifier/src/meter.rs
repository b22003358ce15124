//! Progress on a terminal, a few times a second; nothing where there is none.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Mutex,
    time::{Duration, Instant},
};

/// A line that is written over and over.
pub struct Meter {
    shown: Option<Mutex<Instant>>,
}

impl Meter {
    /// For standard error, if that is a terminal.
    pub fn on_stderr() -> Self {
        Self { shown: std::io::stderr().is_terminal().then(|| Mutex::new(Instant::now())) }
    }

    /// How far it is; `total` is 0 where that is not known.
    pub fn show(&self, stage: &str, done: u64, total: u64) {
        let Some(shown) = &self.shown else { return };
        let Ok(mut last) = shown.try_lock() else { return };
        if last.elapsed() < Duration::from_millis(200) {
            return;
        }
        *last = Instant::now();
        let of = if total > 0 { format!(" of {total}") } else { String::new() };
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{stage}: {done}{of}");
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
    }
}
