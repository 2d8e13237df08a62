//! The library's version, to compare with the header's.

use std::ffi::c_char;

/// Version of the library that runs, such as `0.1.0`; the header's is `ADAFED_VERSION`.
/// Static: never freed.
#[unsafe(no_mangle)]
pub extern "C" fn adafed_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
