//! HTTP by the app, where the platform insists on its own.

use std::ffi::{CString, c_char, c_void};

use std::mem::MaybeUninit;

use adafed::transport::{self, Transport};

use super::Turn;
use crate::error::{Error, Failure};
use crate::guard::{self, required};
use crate::pointer::{self, Userdata};
use crate::status::Status;

/// A header of a request. Both texts live as long as the request.
#[repr(C)]
pub struct Header {
    /// Name, in lower case.
    pub name: *const c_char,
    /// Value.
    pub value: *const c_char,
}

/// A request to send. Everything in it lives until the callback returns.
#[repr(C)]
pub struct Request {
    /// `GET`, `POST` or `PUT`.
    pub method: *const c_char,
    /// Path, beginning with a slash; the server's address goes before it.
    pub path: *const c_char,
    /// Headers to send as they are: they hold the signature.
    pub headers: *const Header,
    /// Number of headers.
    pub header_count: usize,
    /// Body, to be sent byte by byte: it is signed.
    pub body: *const u8,
    /// Bytes of the body.
    pub body_len: usize,
}

/// An answer being made; `adafed_response_set` fills it.
#[derive(Debug, Default)]
pub struct Response(Option<transport::Response>);

/// Sends a request, waits for the whole answer and gives it to `adafed_response_set`. Returns
/// 0, or anything else where no answer came, which is tried again later. An answer of any
/// HTTP status is an answer. Redirections must not be followed. Called on the thread that
/// called into AdaFed.
pub type TransportCallback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        request: *const Request,
        response: *mut Response,
    ) -> i32,
>;

/// Says what the server answered; the body is copied. To be called by a transport callback,
/// once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn adafed_response_set(
    response: Option<&mut Response>,
    http_status: u16,
    body: *const u8,
    body_len: usize,
    error: Option<&mut MaybeUninit<Box<Error>>>,
) -> Status {
    guard::call(error, || {
        let response = required(response, "the response")?;
        if !(100..=599).contains(&http_status) {
            let message = format!("{http_status} is no HTTP status");
            return Err(Failure::new(Status::InvalidValue, "ffi/http-status", message));
        }
        // SAFETY: what the head of the header says about buffers.
        let body = unsafe { pointer::slice(body, body_len, "the body") }?.to_vec();
        response.0 = Some(transport::Response { status: http_status, body });
        Ok(())
    })
}

#[derive(Clone)]
pub(crate) struct HostTransport {
    pub(crate) send: unsafe extern "C" fn(*mut c_void, *const Request, *mut Response) -> i32,
    pub(crate) userdata: Userdata,
    pub(crate) turn: Turn,
}

impl Transport for HostTransport {
    fn send(&self, request: &transport::Request) -> Result<transport::Response, transport::Error> {
        let (method, path) = (pointer::c_string(request.method), pointer::c_string(&request.path));
        let texts = request.headers.iter();
        let texts: Vec<(CString, CString)> = texts
            .map(|(name, value)| (pointer::c_string(name), pointer::c_string(value)))
            .collect();
        let header = |(name, value): &(CString, CString)| Header {
            name: name.as_ptr(),
            value: value.as_ptr(),
        };
        let headers: Vec<Header> = texts.iter().map(header).collect();
        let lent = Request {
            method: method.as_ptr(),
            path: path.as_ptr(),
            headers: headers.as_ptr(),
            header_count: headers.len(),
            body: request.body.as_ptr(),
            body_len: request.body.len(),
        };
        let mut response = Response::default();
        let _turn = self.turn.take();
        // SAFETY: the app's promise is a function of this type; what it is lent outlives the call.
        let answer = unsafe { (self.send)(self.userdata.0, &raw const lent, &raw mut response) };
        match (answer, response.0) {
            (0, Some(response)) => Ok(response),
            (0, None) => {
                Err(transport::Error { reason: "the callback gave no response".to_owned() })
            }
            _ => Err(transport::Error { reason: format!("the callback returned {answer}") }),
        }
    }
}
