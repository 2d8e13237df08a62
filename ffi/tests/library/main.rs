//! The shared library from outside: its symbols, its layout, and C programs that misuse it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod build;
mod previous;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use build::{CRATE, compile, has, library, run};

const COMPILERS: [&str; 2] = ["gcc", "clang"];
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Names of the functions that a text of C mentions.
fn functions(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut functions = BTreeSet::new();
    let mut rest = text;
    for word in words.filter(|word| word.starts_with("adafed_")) {
        let at = rest.find(word).unwrap_or(0) + word.len();
        rest = &rest[at..];
        if rest.starts_with('(') {
            functions.insert(word);
        }
    }
    functions
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(CRATE).join(path)).unwrap()
}

#[test]
fn the_library_exports_the_functions_of_the_header_and_nothing_else() {
    if !has("nm", "exported symbols") {
        return;
    }
    let symbols = run(Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(library().join("libadafed.so")));
    let exported: BTreeSet<&str> = symbols.lines().map(str::trim).collect();
    let header = read("include/adafed.h");
    assert_eq!(exported, functions(&header));
}

#[test]
fn the_program_that_misuses_the_library_calls_every_function() {
    let header = read("include/adafed.h");
    let program = read("tests/c/boundary.c") + &read("tests/c/callbacks.h");
    let missing: Vec<&str> = functions(&header).difference(&functions(&program)).copied().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn sizes_and_numbers_are_those_that_compiled_apps_rely_on() {
    let folder = tempfile::tempdir().unwrap();
    for compiler in COMPILERS.into_iter().filter(|c| has(c, "layout")) {
        compile(compiler, "c/layout.c", &[], &folder.path().join("layout"));
    }
}

#[test]
fn the_wrapper_in_cpp_turns_failures_into_exceptions_and_back() {
    let what = "the C++ wrapper under sanitizers";
    for compiler in ["g++", "clang++"].into_iter().filter(|c| has(c, what)) {
        if !has_sanitizers(compiler, what) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("wrapper");
        compile(compiler, "c/wrapper.cpp", &SANITIZERS, &program);
        let said = run(Command::new(&program).arg(folder.path()));
        assert!(said.contains("all as expected"), "{said}");
    }
}

/// Whether a compiler has its sanitizers' libraries; where not, says so by name.
fn has_sanitizers(compiler: &str, what: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut command = Command::new(compiler);
    command.args(SANITIZERS).arg(&source).arg("-o").arg(folder.path().join("empty"));
    let there = command.output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("skipped: {what}: {compiler} has no libraries for them");
    }
    there
}

#[test]
fn misuse_is_a_status_and_clean_under_sanitizers() {
    let what = "misuse under sanitizers";
    for compiler in COMPILERS.into_iter().filter(|c| has(c, what) && has_sanitizers(c, what)) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("boundary");
        compile(compiler, "c/boundary.c", &SANITIZERS, &program);
        let said = run(Command::new(&program).arg(folder.path()));
        assert!(said.contains("all as expected"), "{said}");
    }
}

#[test]
fn misuse_is_clean_under_valgrind() {
    if !(has("gcc", "misuse under valgrind") && has("valgrind", "misuse under valgrind")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("boundary");
    compile("gcc", "c/boundary.c", &[], &program);
    let mut command = Command::new("valgrind");
    command.args(["--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    run(command.arg(program).arg(folder.path()));
}

#[test]
fn ten_thousand_participants_leave_memory_flat() {
    let Some(compiler) = COMPILERS.into_iter().find(|c| has(c, "memory of many participants"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("cycles");
    compile(compiler, "c/cycles.c", &["-O2"], &program);
    let said = run(Command::new(program).arg(folder.path().join("device")).arg("10000"));
    eprintln!("{}", said.trim());
}
