//! The committed header is the one that the crate's source gives.

use std::path::Path;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// Numbers of the version, from Cargo.
fn version_macros() -> String {
    format!(
        "/** Version of this header; `adafed_version` gives the library's. */\n\
         #define ADAFED_VERSION \"{}\"\n\
         #define ADAFED_VERSION_MAJOR {}\n\
         #define ADAFED_VERSION_MINOR {}\n\
         #define ADAFED_VERSION_PATCH {}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    )
}

fn generated() -> Result<String, Box<dyn std::error::Error>> {
    let folder = Path::new(FOLDER);
    let mut config = cbindgen::Config::from_file(folder.join("cbindgen.toml"))?;
    config.header = Some(std::fs::read_to_string(folder.join("include/head.txt"))?);
    config.after_includes = Some(version_macros());
    let bindings = cbindgen::generate_with_config(folder, config)?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let (text, file) = (generated().unwrap(), Path::new(FOLDER).join("include/adafed.h"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let renew = "UPDATE=1 cargo test -p adafed-ffi --test header";
    assert!(committed == text, "ffi/include/adafed.h is out of date; renew it with `{renew}`");
}
