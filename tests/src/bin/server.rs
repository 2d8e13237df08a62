//! The reference server in a process of its own, for tests that kill it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    adafed_server::cli::main()
}
