//! The shared library as an app gets it, and C programs over it.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The crate that is tested from.
pub(crate) const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder with `libadafed.so`: made by Cargo, because tests do not link the crate. Without
/// what other crates of the workspace would switch on.
pub(crate) fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "adafed-ffi", "--message-format=json"]);
        // What Cargo tells a test of its package would make build scripts run again, here and
        // in the next build outside.
        let told =
            |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        std::env::vars().map(|(name, _)| name).filter(told).for_each(|name| {
            cargo.env_remove(name);
        });
        let output = cargo.current_dir(CRATE).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let name =
            format!("{}adafed{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let place = said.split('"').map(Path::new).find(|text| text.ends_with(&name));
        place.unwrap().parent().unwrap().to_owned()
    })
}

/// Whether a program is installed; where not, says by name what is not tested.
pub(crate) fn has(program: &str, what: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        eprintln!("skipped: {what}: there is no {program}");
    }
    there
}

/// Compiles a source of `ffi/tests` strictly against today's header, and links it with the
/// library.
pub(crate) fn compile(compiler: &str, source: &str, flags: &[&str], program: &Path) {
    compile_against("include", compiler, source, flags, program);
}

/// As [`compile`], against the header in another folder of `ffi`.
pub(crate) fn compile_against(
    include: &str,
    compiler: &str,
    source: &str,
    flags: &[&str],
    program: &Path,
) {
    let (library, interface) = (library(), Path::new(CRATE).join("../ffi"));
    let mut command = Command::new(compiler);
    let standard = if source.ends_with(".cpp") { "-std=c++17" } else { "-std=c11" };
    command.args(["-Wall", "-Wextra", "-Werror", standard, "-g", "-pthread"]).args(flags);
    command.arg("-I").arg(interface.join(include)).arg("-o").arg(program);
    command.arg(interface.join("tests").join(source)).arg("-L").arg(library);
    command.arg(format!("-Wl,-rpath,{}", library.display())).args(["-ladafed", "-lm"]);
    run(&mut command);
}

/// Runs a command to its success and returns what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{errors}", output.status);
    said
}
