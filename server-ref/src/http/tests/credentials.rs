//! Every route of the table refuses credentials that are missing, expired, another's, too
//! weak or used.

use adafed_wire::Assignment;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{ask, asked_with};
use crate::http::routes::{Access, Route, routes};
use crate::report::Scope;
use crate::testing::{ADMIN, Answer, D, Device, Fixture, update};
use crate::{Clock, NewOperator, ServerConfig};

/// The route's path with names of things that exist where they can.
fn path(route: &Route, device: &Device) -> String {
    let device = device.key.device().to_string();
    route
        .path
        .replace("{task}", "task")
        .replace("{round}", "0")
        .replace("{device}", &device)
        .replace("{digest}", &"0".repeat(64))
        .replace("{name}", "nobody")
}

fn bare(route: &Route, path: &str) -> Request<Body> {
    Request::builder().method(route.method.clone()).uri(path).body(Body::empty()).unwrap()
}

async fn token(f: &Fixture, scope: Scope, expires_in_s: Option<u64>) -> String {
    let name = format!("{}-{}", scope.as_str(), expires_in_s.unwrap_or(0));
    f.service.create_operator(NewOperator { name, scope, expires_in_s }).await.unwrap().token
}

#[tokio::test]
async fn no_route_but_the_open_ones_answers_without_credentials() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    for route in routes(1024) {
        let answer = f.send(bare(&route, &path(&route, &device))).await;
        let challenge = answer.headers.get("www-authenticate").cloned();
        let code = match route.access {
            Access::Open => {
                assert_eq!(answer.status, StatusCode::OK, "{}", route.path);
                continue;
            }
            Access::Device | Access::Enrolment => "server/unsigned",
            _ => "server/admin",
        };
        answer.problem(401, code);
        assert_eq!(challenge.unwrap(), "Bearer realm=\"AdaFed\"", "{}", route.path);
    }
}

#[tokio::test]
async fn tokens_that_are_wrong_expired_or_revoked_open_no_route() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    let (expired, revoked) =
        (token(&f, Scope::Admin, Some(1)).await, token(&f, Scope::Admin, Some(9)).await);
    f.clock.advance(1_000);
    f.service.revoke_operator("admin-9").await.unwrap();
    let enrolment = f.service.create_token(1).await.unwrap();
    let wrong = [format!("{ADMIN}x"), String::new(), expired, revoked, enrolment];
    for route in routes(1024).iter().filter(|route| route.access != Access::Open) {
        for token in &wrong {
            let path = path(route, &device);
            let answer = f.send(asked_with(token, route.method.as_str(), &path, "")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{} {token}", route.path);
        }
    }
}

#[tokio::test]
async fn a_scope_opens_its_routes_and_no_other() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    for scope in [Scope::Read, Scope::Evaluate, Scope::Admin] {
        let token = token(&f, scope, None).await;
        for route in routes(1024) {
            let needed = match route.access {
                Access::Read | Access::Reader => Scope::Read,
                Access::Evaluate => Scope::Evaluate,
                Access::Admin => Scope::Admin,
                _ => continue,
            };
            let path = path(&route, &device);
            let answer = f.send(asked_with(&token, route.method.as_str(), &path, "")).await;
            let refused = matches!(answer.status.as_u16(), 401 | 403);
            assert_eq!(refused, scope < needed, "{scope:?} {} {}", route.method, route.path);
            if refused {
                answer.problem(403, "server/scope");
            }
        }
    }
}

#[tokio::test]
async fn a_password_opens_reading_to_a_browser_and_nothing_else() {
    let f = Fixture::with_task("task").await;
    let device = f.device().await;
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("me:{ADMIN}")));
    for route in routes(1024) {
        let reads = matches!(route.access, Access::Read | Access::Reader | Access::Open)
            || route.access == Access::Admin && route.method == Method::GET;
        let mut request = bare(&route, &path(&route, &device));
        request.headers_mut().insert("authorization", basic.parse().unwrap());
        let answer = f.send(request).await;
        assert_eq!(answer.status != StatusCode::UNAUTHORIZED, reads, "{}", route.path);
    }
    let request = Request::get("/v1/tasks").header("accept", "text/html,*/*");
    let answer = f.send(request.body(Body::empty()).unwrap()).await;
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Basic realm=\"AdaFed\""), "{challenge}");
}

#[tokio::test]
async fn where_reading_is_open_it_is_and_nothing_else() {
    let f = Fixture::configured(|config: &mut ServerConfig| config.open_reading = true).await;
    f.create_task("task").await;
    let device = f.device().await;
    for route in routes(1024) {
        let open = matches!(route.access, Access::Read | Access::Reader | Access::Open);
        let answer = f.send(bare(&route, &path(&route, &device))).await;
        assert_eq!(answer.status != StatusCode::UNAUTHORIZED, open, "{}", route.path);
    }
}

/// A task, and a device that takes part in it.
struct Scene {
    f: Fixture,
    device: Device,
    assignment: Assignment,
}

impl Scene {
    async fn new() -> Self {
        let f = Fixture::with_task("task").await;
        let (device, assignment) = f.assigned("task").await;
        Self { f, device, assignment }
    }

    /// A good request about `owner`, signed by `signer`.
    fn request(&self, route: &Route, owner: &Device, signer: &Device) -> Request<Body> {
        let (path, now_ms) = (path(route, owner), self.f.clock.now_ms());
        match route.path {
            "/v1/checkin" => signer.check_in("task", now_ms),
            "/v1/tasks/{task}/rounds/{round}/updates/{device}" => {
                signer.request("PUT", &path, update(&self.assignment, D, 1), now_ms)
            }
            _ => signer.request(route.method.as_str(), &path, Vec::new(), now_ms),
        }
    }

    /// Sends one of the device's own.
    async fn own(&self, route: &Route) -> Answer {
        self.f.send(self.request(route, &self.device, &self.device)).await
    }
}

fn device_routes() -> Vec<Route> {
    let signed = |route: &Route| matches!(route.access, Access::Device | Access::Reader);
    routes(8 << 10).into_iter().filter(signed).collect()
}

#[tokio::test]
async fn no_device_route_takes_a_signature_of_another_time() {
    let scene = Scene::new().await;
    for route in device_routes() {
        let old = scene.request(&route, &scene.device, &scene.device);
        scene.f.clock.advance(301_000);
        scene.f.send(old).await.problem(401, "server/signed-at-other-time");
    }
}

/// Makes the same request again and again.
async fn copies(request: Request<Body>) -> impl Fn() -> Request<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    move || Request::from_parts(parts.clone(), Body::from(body.clone()))
}

#[tokio::test]
async fn no_device_route_takes_a_request_twice() {
    let scene = Scene::new().await;
    for route in device_routes() {
        let request = scene.request(&route, &scene.device, &scene.device);
        let copy = copies(request).await;
        let answer = scene.f.send(copy()).await;
        assert!(!matches!(answer.status.as_u16(), 400 | 401 | 403), "{}", route.path);
        let detail = scene.f.send(copy()).await.problem(401, "server/replayed");
        assert!(detail.contains("sign again"), "{detail}");
    }
}

#[tokio::test]
async fn no_device_route_takes_a_stranger_or_another_s_signature() {
    let scene = Scene::new().await;
    let (other, stranger) = (scene.f.device().await, Device::new());
    for route in device_routes() {
        let unknown = scene.request(&route, &stranger, &stranger);
        scene.f.send(unknown).await.problem(401, "server/unknown-device");
        let mut forged = scene.request(&route, &scene.device, &other);
        let name = scene.device.key.device().to_string();
        forged.headers_mut().insert("adafed-device", name.parse().unwrap());
        scene.f.send(forged).await.problem(401, "wire/signature");
        if route.path.contains("{device}") {
            let foreign = scene.request(&route, &scene.device, &other);
            scene.f.send(foreign).await.problem(403, "server/other-device");
        }
    }
}

#[tokio::test]
async fn no_device_route_takes_a_revoked_device() {
    let scene = Scene::new().await;
    let revoke = format!("/v1/devices/{}/revoke", scene.device.key.device());
    assert_eq!(scene.f.send(ask("POST", &revoke, "{}")).await.status, StatusCode::OK);
    for route in device_routes() {
        scene.own(&route).await.problem(401, "server/revoked");
    }
}

#[tokio::test]
async fn an_enrolment_signed_at_another_time_or_by_another_is_refused() {
    let f = Fixture::new().await;
    let (device, other) = (Device::new(), Device::new());
    let token = f.service.create_token(2).await.unwrap();
    let old = device.enrolment(&token, f.clock.now_ms());
    f.clock.advance(301_000);
    f.send(old).await.problem(401, "server/signed-at-other-time");
    let now_ms = f.clock.now_ms();
    let (parts, _) = other.enrolment(&token, now_ms).into_parts();
    let (_, body) = device.enrolment(&token, now_ms).into_parts();
    f.send(Request::from_parts(parts, body)).await.problem(401, "wire/signature");
}

#[tokio::test]
async fn an_enrolment_is_taken_once_before_and_after_a_revocation() {
    let f = Fixture::new().await;
    let (device, token) = (Device::new(), f.service.create_token(9).await.unwrap());
    let copy = copies(device.enrolment(&token, f.clock.now_ms())).await;
    assert_eq!(f.send(copy()).await.status, StatusCode::OK);
    f.send(copy()).await.problem(401, "server/replayed");
    f.service.revoke_device(device.key.device(), false).await.unwrap();
    f.send(copy()).await.problem(401, "server/replayed");
    let status = f.service.tokens().await.unwrap();
    assert_eq!(status[0].uses_left, 8, "a refused enrolment costs the token nothing");
    let again = device.enrolment(&token, f.clock.now_ms());
    assert_eq!(f.send(again).await.status, StatusCode::OK);
}
