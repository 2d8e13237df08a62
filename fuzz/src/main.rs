//! One fuzzer for all targets: `ADAFED_FUZZ_TARGET` names the one to run.
#![no_main]

// The targets alone, without the servers and devices of the other system tests: what is
// linked in is instrumented, and slows every execution.
#[path = "../../tests/src/fuzz.rs"]
mod fuzz;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<(&'static str, fuzz::Target)> = OnceLock::new();

fuzz_target!(init: choose(), |bytes: &[u8]| {
    let (name, target) = CHOSEN.get().expect("libFuzzer chooses before it runs");
    let held = allocation_counter::measure(|| target(bytes)).bytes_max;
    let most = fuzz::allowance(name, bytes.len());
    assert!(held <= most, "{} bytes made {name} hold {held}, {most} are allowed", bytes.len());
});

fn choose() {
    let name = std::env::var("ADAFED_FUZZ_TARGET").unwrap_or_default();
    let Some(chosen) = fuzz::TARGETS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = fuzz::TARGETS.iter().map(|(known, _)| *known).collect();
        panic!("ADAFED_FUZZ_TARGET is {name:?}, expected one of {}", known.join(", "));
    };
    CHOSEN.get_or_init(|| *chosen);
}
