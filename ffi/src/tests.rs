//! What C cannot provoke: a panic within, and a call during a call.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::mpsc;

use adafed::transport::{self, Request, Response, Transport};

use crate::config::*;
use crate::error::*;
use crate::participant::*;
use crate::progress::Progress;
use crate::status::Status;

struct Panicking;

impl Transport for Panicking {
    fn send(&self, _: &Request) -> Result<Response, transport::Error> {
        panic!("injected")
    }
}

/// Says that it was asked, and waits for leave to answer.
struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>);

impl Transport for Slow {
    fn send(&self, _: &Request) -> Result<Response, transport::Error> {
        self.0.send(()).unwrap();
        self.1.recv().unwrap();
        Err(transport::Error { reason: "no".to_owned() })
    }
}

fn config(folder: &Path) -> Box<Config> {
    let folder = CString::new(folder.to_str().unwrap()).unwrap();
    let mut config = MaybeUninit::uninit();
    // SAFETY: text that ends with a zero, and buffers as long as said.
    unsafe {
        assert_eq!(adafed_config_new(c"test".as_ptr(), Some(&mut config), None), Status::Ok);
        let mut config: Box<Config> = config.assume_init();
        let set = adafed_config_set_folder(Some(&mut config), folder.as_ptr(), None);
        assert_eq!(set, Status::Ok);
        assert_eq!(adafed_config_set_policy(Some(&mut config), 8.0, 1e-5, None), Status::Ok);
        let (shape, none, no_labels) = ([4_usize], ptr::null(), ptr::null());
        let c = Some(&mut *config);
        let set = adafed_config_set_examples(c, shape.as_ptr(), 1, none, 0, no_labels, 0, 2, None);
        assert_eq!(set, Status::Ok);
        config
    }
}

fn tick(participant: &Participant) -> (Status, String) {
    let (mut progress, mut error) = (MaybeUninit::<Progress>::uninit(), MaybeUninit::uninit());
    let pointer = Some(NonNull::from(participant));
    let status = adafed_participant_tick(pointer, Some(&mut progress), Some(&mut error));
    if status == Status::Ok {
        return (status, String::new());
    }
    // SAFETY: a failure puts an error there.
    let error: Box<Error> = unsafe { error.assume_init() };
    // SAFETY: the text lives as long as the error.
    let text = unsafe { std::ffi::CStr::from_ptr(adafed_error_message(Some(&error))) };
    (adafed_error_status(Some(&error)), text.to_str().unwrap().to_owned())
}

#[test]
fn a_panic_is_a_status_and_the_participant_says_that_it_is_poisoned() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let participant = Participant::over(Box::new(Panicking), config.settings());
    let (status, text) = tick(&participant);
    assert!(status == Status::Panicked && text.contains("injected"), "{status:?}: {text}");
    let (status, text) = tick(&participant);
    assert!(status == Status::Poisoned && text.contains("make a new one"), "{status:?}: {text}");
    let mut budget = MaybeUninit::uninit();
    let pointer = Some(NonNull::from(&*participant));
    assert_eq!(adafed_participant_budget(pointer, Some(&mut budget), None), Status::Poisoned);
    adafed_participant_free(Some(participant));
    // The folder is free again, and whole.
    let (asked, _ask) = mpsc::channel();
    drop(Participant::over(Box::new(Slow(asked, mpsc::channel().1)), config.settings()));
}

#[test]
fn a_call_during_a_call_does_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, ask) = mpsc::channel();
    let (leave, left) = mpsc::channel();
    let participant =
        Participant::over(Box::new(Slow(asked, left)), config(folder.path()).settings());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| tick(&participant));
        ask.recv().unwrap();
        assert_eq!(tick(&participant).0, Status::InUse);
        leave.send(()).unwrap();
        // A server that cannot be reached is waited for.
        assert_eq!(first.join().unwrap().0, Status::Ok);
    });
}
