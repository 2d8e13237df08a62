//! How requests reach the server: a trait that an app may implement with its platform's
//! own HTTP, and an implementation over reqwest.

#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub use http::HttpTransport;

/// A request, relative to the server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST` or `PUT`.
    pub method: &'static str,
    /// Path, beginning with `/`.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// The server could not be reached, or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the server: {reason}")]
pub struct Error {
    /// What the transport said.
    pub reason: String,
}

/// Sends requests. An answer of any status is `Ok`.
pub trait Transport: Send {
    /// Sends one request and waits for the whole answer.
    ///
    /// # Errors
    /// [`Error`] when no answer came.
    fn send(&self, request: &Request) -> Result<Response, Error>;
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(&self, request: &Request) -> Result<Response, Error> {
        (**self).send(request)
    }
}
