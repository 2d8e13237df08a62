//! Every place where a raw pointer becomes a Rust value, with its ownership as a type.
//!
//! Most objects need none: `Option<&T>` and `Option<&mut T>` are pointers that are lent for the
//! call, `Option<Box<T>>` one that is handed over, `&mut MaybeUninit<Box<T>>` a place where one
//! is handed back; NULL is `None`. What is left are objects that watch over their own use,
//! buffers and text of the app, and its userdata.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;

use crate::error::Failure;
use crate::guard::required;
use crate::status::Status;

/// An object that is lent for the call and watches over its own use, so that several threads
/// may have it.
///
/// # Safety
/// `object` is NULL, or came from the function that makes such objects and is not freed
/// during `'a`.
pub(crate) unsafe fn object<'a, T: Sync>(
    object: Option<NonNull<T>>,
    what: &str,
) -> Result<&'a T, Failure> {
    let object = required(object, what)?;
    // SAFETY: objects are made by `Box`; the rest is the caller's promise.
    Ok(unsafe { object.as_ref() })
}

/// A buffer that is lent for the call; NULL is fine where it is empty.
///
/// # Safety
/// `start` is NULL, or the first of `len` values that nobody changes during `'a`.
pub(crate) unsafe fn slice<'a, T>(
    start: *const T,
    len: usize,
    what: &str,
) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(start, len, what)?;
    // SAFETY: not NULL, aligned and within the address space as just checked; the rest is the
    // caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

/// Writes values into a buffer of the app, which need not be initialised.
///
/// # Safety
/// `start` is NULL, or the first of as many places that nobody else uses during the call.
pub(crate) unsafe fn write<T: Copy>(
    values: &[T],
    start: *mut T,
    what: &str,
) -> Result<(), Failure> {
    if values.is_empty() {
        return Ok(());
    }
    check(start.cast_const(), values.len(), what)?;
    // SAFETY: not NULL, aligned and within the address space as just checked; the values are
    // AdaFed's own, so they do not overlap the places; the rest is the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), start, values.len()) };
    Ok(())
}

fn check<T>(start: *const T, len: usize, what: &str) -> Result<(), Failure> {
    required((!start.is_null()).then_some(()), what)?;
    let most = isize::MAX as usize / size_of::<T>().max(1);
    if len > most {
        return Err(Failure::length(what, len, most));
    }
    if !start.is_aligned() {
        let message = format!("{what} is not aligned to {} bytes", align_of::<T>());
        return Err(Failure::new(Status::InvalidValue, "ffi/alignment", message));
    }
    Ok(())
}

/// Text that is lent for the call.
///
/// # Safety
/// `text` is NULL, or the first byte of a text that ends with a zero and that nobody changes
/// during `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    required((!text.is_null()).then_some(()), what)?;
    // SAFETY: not NULL as just checked; the rest is the caller's promise.
    let bytes = unsafe { CStr::from_ptr(text) };
    let refused = |_| Failure::new(Status::InvalidText, "ffi/text", format!("{what} is not UTF-8"));
    bytes.to_str().map_err(refused)
}

/// Text for the app; what follows a zero within is left out.
pub(crate) fn c_string(text: &str) -> CString {
    let whole = text.split('\0').next().unwrap_or_default();
    CString::new(whole).unwrap_or_default()
}

/// What the app wants its callbacks to be given. It belongs to the app.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Userdata(pub(crate) *mut c_void);

// SAFETY: AdaFed never looks at it. The header states from which threads callbacks are called,
// and that they are called one at a time.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}
