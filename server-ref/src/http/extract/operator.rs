//! Holders of tokens: `Operator<Read>` is somebody who may read.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::report::Scope;
use crate::{Error, Service};

/// A scope, as a type.
pub(crate) trait Scoped: Send {
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident: $what:literal),*) => {$(
        #[doc = $what]
        pub(crate) struct $name;

        impl Scoped for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

scopes!(Read: "May read.", Evaluate: "May report evaluations.", Admin: "May do everything.");

/// Somebody whose token allows what `S` says, by name.
pub(crate) struct Operator<S> {
    pub(crate) name: String,
    scope: PhantomData<S>,
}

impl<S: Scoped> FromRequestParts<Service> for Operator<S> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Error> {
        let token = token(&parts.headers, &parts.method);
        if token.is_none() && S::SCOPE == Scope::Read && service.front().open_reading {
            return Ok(Self { name: String::new(), scope: PhantomData });
        }
        let identity = service.identify(&token.ok_or(Error::Admin)?).await?;
        if identity.scope < S::SCOPE {
            let (needed, held) = (S::SCOPE.as_str(), identity.scope.as_str());
            return Err(Error::Scope { needed, held });
        }
        Ok(Self { name: identity.name, scope: PhantomData })
    }
}

/// The token of a request: `Bearer`, or the password of `Basic` where the request only
/// reads. A browser sends a password along by itself, with other sites' requests too, so
/// it must not be able to change anything by one.
fn token(headers: &HeaderMap, method: &Method) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.to_owned()),
        "basic" if *method == Method::GET || *method == Method::HEAD => {
            let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
            decoded.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_token_for_reading_only() {
        let basic = BASE64_STANDARD.encode("anybody:a:token");
        for (text, method, expected) in [
            ("Bearer a:token".to_owned(), Method::POST, Some("a:token")),
            ("bearer a:token".to_owned(), Method::GET, Some("a:token")),
            (format!("Basic {basic}"), Method::GET, Some("a:token")),
            (format!("Basic {basic}"), Method::POST, None),
            (format!("Digest {basic}"), Method::GET, None),
            ("Basic ?".to_owned(), Method::GET, None),
            ("a:token".to_owned(), Method::GET, None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
            assert_eq!(token(&headers, &method).as_deref(), expected, "{method} {text}");
        }
    }
}
