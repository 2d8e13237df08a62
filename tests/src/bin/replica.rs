//! A server in a process of its own under a clock that the test sets: the time stands in a
//! file, in milliseconds since 1970.
//!
//! `replica DATABASE CLOCK_FILE [MAX_DATABASE_BYTES]`; `ADAFED_LOG__FILTER` says what it logs.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use adafed_server::{Clock, Server, ServerConfig};
use adafed_tests::fixture::Failure;
use tracing_subscriber::EnvFilter;

/// Between two looks for rounds that are due.
const TICK: Duration = Duration::from_millis(20);

struct FileClock(PathBuf);

impl Clock for FileClock {
    fn now_ms(&self) -> u64 {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.trim().parse().expect("the test replaces the file as a whole")
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("replica: {e}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn run() -> Result<(), Failure> {
    let filter =
        EnvFilter::try_from_env("ADAFED_LOG__FILTER").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, clock, most @ ..] = arguments.as_slice() else {
        return Err("usage: replica DATABASE CLOCK_FILE [MAX_DATABASE_BYTES]".into());
    };
    let listen = ([127, 0, 0, 1], 0).into();
    let token = std::env::var("ADAFED_ADMIN_TOKEN")?;
    let mut config = ServerConfig::new(listen, database.as_str(), &token);
    config.limits.device_requests_per_minute = 0;
    config.max_database_bytes = most.first().map(|text| text.parse()).transpose()?;
    config.tick = TICK;
    let server = Server::bind_with_clock(config, Arc::new(FileClock(clock.into()))).await?;
    println!("replica listens on http://{}", server.local_addr());
    Ok(server.run(std::future::pending()).await?)
}
