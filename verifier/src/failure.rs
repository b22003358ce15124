//! How a program ends that could not do what it was asked.

use std::{io::ErrorKind, process::ExitCode};

/// Prints a failure with its causes; the exit code is 2, or 0 where whoever reads the output has seen enough.
pub fn end(error: &anyhow::Error) -> ExitCode {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        let pipe = Some(ErrorKind::BrokenPipe);
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind) == pipe
            || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind) == pipe
    };
    if error.chain().any(gone) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", causes(error));
    ExitCode::from(2)
}

/// The error with its causes, each once.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str("\n  because: ");
            }
            text.push_str(&cause);
        }
    }
    text
}
