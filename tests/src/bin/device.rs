//! A device in a process of its own, for tests that kill it: prints a line an activity.
//!
//! `device ADDRESS FOLDER TOKEN SEED [ACTIVITY]`; after ACTIVITY it stops ticking and
//! waits to be killed.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use adafed::data::digits;
use adafed::{Activity, Next};
use adafed_tests::fixture::{Failure, device, http, policy};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let [address, folder, token, seed, pause @ ..] = arguments else {
        return Err("usage: device ADDRESS FOLDER TOKEN SEED [ACTIVITY]".into());
    };
    let data = digits(seed.parse()?, 200);
    let mut device = device(Path::new(folder), http(address)?, token, data, policy(20.0)?)?;
    println!("device {}", device.device());
    loop {
        let progress = device.tick()?;
        println!("{:?}", progress.activity);
        let name = format!("{:?}", progress.activity);
        while pause.iter().any(|p| name.starts_with(p.as_str())) {
            std::thread::sleep(Duration::from_secs(1));
        }
        match (progress.activity, progress.next) {
            (Activity::Finished, _) | (_, Next::Never) => return Ok(()),
            (_, Next::Now) => {}
            (_, Next::At(_)) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
