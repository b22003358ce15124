//! The program `evidenced`.

use std::process::ExitCode;

fn main() -> ExitCode {
    evidenced::cli::main()
}
