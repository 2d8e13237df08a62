//! Replays the fuzzing corpus: valid messages, what the fuzzer made of them, and every input
//! that once broke a law.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use adafed_tests::fixture::Failure;
use adafed_tests::fuzz::{TARGETS, allowance};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn inputs(target: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let files = fs::read_dir(corpus().join(target))?;
    files.map(|file| Ok(fs::read(file?.path())?)).collect()
}

#[test]
fn no_input_of_the_corpus_breaks_a_law_or_holds_more_than_it_may() -> Result<(), Failure> {
    for (name, target) in TARGETS {
        let inputs = inputs(name).map_err(|e| format!("the corpus of {name}: {e}"))?;
        assert!(!inputs.is_empty(), "{name} has no corpus; run `fuzz/run seed`");
        for input in inputs {
            let held = allocation_counter::measure(|| target(&input)).bytes_max;
            let most = allowance(name, input.len());
            assert!(held <= most, "{name} holds {held} bytes for {input:?}, {most} are allowed");
        }
    }
    Ok(())
}

#[test]
fn every_corpus_has_a_target() -> Result<(), Failure> {
    for folder in fs::read_dir(corpus())? {
        let name = folder?.file_name();
        let known = TARGETS.iter().any(|(target, _)| name.to_str() == Some(target));
        assert!(known, "fuzz/corpus/{} belongs to no target", name.display());
    }
    Ok(())
}
