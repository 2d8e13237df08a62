//! Apps that were compiled with an earlier header go on with the library of today.

use std::collections::BTreeSet;
use std::process::Command;

use crate::build::{compile_against, has, run};
use crate::{COMPILERS, read};

/// What a header states, without its comments: one statement of C each, white space made one.
fn statements(header: &str) -> BTreeSet<String> {
    let mut text = String::new();
    let mut rest = header;
    while let Some((before, after)) = rest.split_once("/*") {
        text += before;
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    text += rest;
    let lines =
        text.lines().filter(|line| !line.starts_with('#') && !line.contains("extern \"C\""));
    let mut statements = BTreeSet::new();
    let (mut depth, mut statement) = (0, String::new());
    for c in lines.flat_map(|line| line.chars().chain(['\n'])) {
        depth += i32::from(c == '{') - i32::from(c == '}');
        statement.push(c);
        if c == ';' && depth == 0 {
            let words: Vec<&str> = statement.split_whitespace().collect();
            statements.insert(words.join(" "));
            statement.clear();
        }
    }
    statements
}

/// The numbered names of a header, such as `ADAFED_STATUS_OK = 0`.
fn numbers(header: &str) -> BTreeSet<&str> {
    let lines = header.lines().map(|line| line.trim().trim_end_matches(','));
    lines.filter(|line| line.starts_with("ADAFED_") && line.contains(" = ")).collect()
}

#[test]
fn nothing_of_the_previous_header_is_gone_or_different() {
    let (previous, today) = (read("tests/previous/adafed.h"), read("include/adafed.h"));
    // Enumerations may grow: their names are compared one by one.
    let stated = |header| {
        let all = statements(header).into_iter();
        all.filter(|s| !s.starts_with("enum ")).collect::<BTreeSet<_>>()
    };
    assert!(stated(&previous).len() > 50 && numbers(&previous).len() > 30);
    let gone: Vec<_> = stated(&previous).difference(&stated(&today)).cloned().collect();
    assert!(gone.is_empty(), "{gone:#?}");
    let gone: Vec<_> = numbers(&previous).difference(&numbers(&today)).copied().collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[test]
fn an_app_compiled_with_the_previous_header_runs_with_the_library() {
    let folder = tempfile::tempdir().unwrap();
    for compiler in COMPILERS.into_iter().filter(|c| has(c, "an app of the previous header")) {
        let program = folder.path().join(compiler);
        compile_against("tests/previous", compiler, "previous/app.c", &[], &program);
        let device = folder.path().join(format!("{compiler}-device"));
        let said = run(Command::new(program).arg(device));
        assert!(said.contains("all as expected"), "{said}");
    }
}
