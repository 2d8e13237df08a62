//! Every route: its method and path, who may, its largest body, its handler, and what its
//! description says. The router, the description and the tests of credentials all read this.

use adafed_wire::{CheckinRequest, EnrolRequest, Message, path};
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};

use super::front::Front;
use super::{BodyLimit, dashboard, devices, fleet, health, operators, tasks};
use crate::Service;

/// Largest body of a route that takes small JSON, in bytes.
const SMALL_BODY: usize = 4 << 10;

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Open,
    /// Tokens of at least scope `read`; anybody where reading is open.
    Read,
    /// Tokens of at least scope `evaluate`.
    Evaluate,
    /// Tokens of scope `admin`.
    Admin,
    /// An enrolled device, by its signature.
    Device,
    /// An enrolled device, or whoever may read.
    Reader,
    /// A key that signs for itself, with an enrolment token.
    Enrolment,
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Nothing,
    /// JSON of a schema.
    Json(&'static str),
    /// A list of such.
    List(&'static str),
    /// The first on creation, the second on a dry run.
    JsonOr(&'static str, &'static str),
    /// An encoded message.
    Message(&'static str),
    /// The encoded message, or JSON of a schema.
    MessageOr(&'static str),
    /// Part or all of some bytes.
    Bytes(&'static str),
    /// Text of a media type.
    Text(&'static str),
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) summary: &'static str,
    pub(crate) takes: Content,
    pub(crate) status: u16,
    pub(crate) gives: Content,
    /// Refusals beside those of credentials, bodies and the database.
    pub(crate) refusals: &'static [u16],
    limit: usize,
    handler: MethodRouter<Service>,
}

impl Route {
    fn new<H, T>(method: Method, path: &'static str, access: Access, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        let filter = match method {
            Method::GET => MethodFilter::GET,
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            _ => MethodFilter::DELETE,
        };
        let (takes, gives) = (Content::Nothing, Content::Nothing);
        let (summary, refusals, limit) = ("", &[][..], 0);
        let handler = on(filter, handler);
        Self { method, path, access, summary, takes, status: 200, gives, refusals, limit, handler }
    }

    const fn says(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    const fn takes(mut self, limit: usize, content: Content) -> Self {
        self.limit = limit;
        self.takes = content;
        self
    }

    const fn gives(mut self, status: u16, content: Content) -> Self {
        self.status = status;
        self.gives = content;
        self
    }

    const fn refuses(mut self, statuses: &'static [u16]) -> Self {
        self.refusals = statuses;
        self
    }

    /// Adds the route, its body bounded, and its extractors told by how much.
    fn add(self, router: Router<Service>) -> Router<Service> {
        let handler: MethodRouter<Service> = self.handler.layer(DefaultBodyLimit::max(self.limit));
        router.route(self.path, handler.layer(Extension(BodyLimit(self.limit))))
    }
}

/// A router of every route, without what surrounds them.
pub(super) fn router(front: &Front) -> Router<Service> {
    routes(front.max_body_bytes).into_iter().fold(Router::new(), |router, r| r.add(router))
}

/// Every route; `large` is the largest body of an update or a task.
pub(crate) fn routes(large: usize) -> Vec<Route> {
    [device_routes(large), task_routes(large), fleet_routes(), other_routes()]
        .into_iter()
        .flatten()
        .collect()
}

fn device_routes(large: usize) -> Vec<Route> {
    vec![
        Route::new(Method::POST, path::DEVICES, Access::Enrolment, devices::enrol)
            .says("Enrol a device's key with a token")
            .takes(EnrolRequest::LIMIT, Content::Message("an enrolment"))
            .gives(200, Content::Message("an enrolment answer"))
            .refuses(&[403]),
        Route::new(Method::POST, path::CHECKIN, Access::Device, devices::check_in)
            .says("Ask to take part in the current round of a task; to be seated is to be charged")
            .takes(CheckinRequest::LIMIT, Content::Message("a check-in"))
            .gives(200, Content::Message("a check-in answer"))
            .refuses(&[404]),
        Route::new(Method::GET, "/v1/tasks/{task}/plan", Access::Reader, devices::plan)
            .says("A task's plan")
            .gives(200, Content::Bytes(adafed_wire::MEDIA_TYPE))
            .refuses(&[404]),
        Route::new(
            Method::GET,
            "/v1/tasks/{task}/content/{digest}",
            Access::Reader,
            devices::content,
        )
        .says("A model, mask or scale state by its digest")
        .gives(200, Content::Bytes(adafed_wire::MEDIA_TYPE))
        .refuses(&[404]),
        Route::new(
            Method::PUT,
            "/v1/tasks/{task}/rounds/{round}/updates/{device}",
            Access::Device,
            devices::upload,
        )
        .says("Hand in a device's update of a round; the same bytes again are acknowledged again")
        .takes(large, Content::Message("an update"))
        .gives(200, Content::Message("a receipt"))
        .refuses(&[404, 409]),
    ]
}

fn task_routes(large: usize) -> Vec<Route> {
    use Access::{Admin, Evaluate, Read};
    use Content::{Bytes, Json, JsonOr, List, MessageOr};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    let gives = |route: Route, content| route.gives(200, content).refuses(&[404]);
    let status = Json("TaskStatus");
    let steers = |route: Route| route.gives(200, status).refuses(&[404, 409]);
    vec![
        Route::new(GET, "/v1/tasks", Read, tasks::list)
            .says("Where every task stands, by name")
            .gives(200, List("TaskStatus")),
        Route::new(POST, "/v1/tasks", Admin, tasks::create)
            .says("Create a task, or with dry_run only tell what it would cost")
            .takes(large, MessageOr("CreateTask"))
            .gives(201, JsonOr("TaskStatus", "Forecast"))
            .refuses(&[409, 422]),
        gives(Route::new(GET, "/v1/tasks/{task}", Read, tasks::status), status)
            .says("Where a task stands"),
        steers(Route::new(Method::PUT, "/v1/tasks/{task}/settings", Admin, tasks::set_settings))
            .says("Replace the settings of a task")
            .takes(SMALL_BODY, Json("TaskSettings")),
        steers(Route::new(POST, "/v1/tasks/{task}/pause", Admin, tasks::pause))
            .says("Seat no more devices"),
        steers(Route::new(POST, "/v1/tasks/{task}/resume", Admin, tasks::resume))
            .says("Go on with a paused or halted task"),
        steers(Route::new(POST, "/v1/tasks/{task}/cancel", Admin, tasks::cancel))
            .says("End a task early; its model stays"),
        gives(Route::new(GET, "/v1/tasks/{task}/rounds", Read, tasks::rounds), List("RoundReport"))
            .says("The rounds of a task so far"),
        gives(
            Route::new(GET, "/v1/tasks/{task}/rounds/{round}", Read, tasks::round),
            Json("RoundReport"),
        )
        .says("One round of a task"),
        gives(
            Route::new(GET, "/v1/tasks/{task}/privacy", Read, tasks::privacy),
            Json("PrivacyReport"),
        )
        .says("What a task has cost its devices"),
        gives(
            Route::new(GET, "/v1/tasks/{task}/model", Read, tasks::model),
            Bytes(super::respond::SAFETENSORS),
        )
        .says("The current model as a safetensors file"),
        gives(
            Route::new(GET, "/v1/tasks/{task}/evaluations", Read, tasks::evaluations),
            List("Evaluation"),
        )
        .says("How good the models of a task are"),
        Route::new(POST, "/v1/tasks/{task}/evaluations", Evaluate, tasks::evaluate)
            .says("Report how good a model is; again for the same round replaces")
            .takes(SMALL_BODY, Json("NewEvaluation"))
            .gives(201, Json("Evaluation"))
            .refuses(&[404]),
    ]
}

fn fleet_routes() -> Vec<Route> {
    use Access::{Admin, Read};
    use Content::{Json, List, Nothing};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    let device = Json("DeviceStatus");
    vec![
        Route::new(GET, path::DEVICES, Read, fleet::devices)
            .says("Devices, by name, in pages")
            .gives(200, List("DeviceStatus")),
        Route::new(GET, "/v1/devices/{device}", Read, fleet::device)
            .says("One device")
            .gives(200, device)
            .refuses(&[404]),
        Route::new(POST, "/v1/devices/{device}/revoke", Admin, fleet::revoke)
            .says("Take no more requests of a device, and with ban never enrol its key again")
            .takes(SMALL_BODY, Json("Revocation"))
            .gives(200, device)
            .refuses(&[404]),
        Route::new(GET, "/v1/tokens", Admin, fleet::tokens)
            .says("Enrolment tokens, the newest first")
            .gives(200, List("TokenStatus")),
        Route::new(POST, "/v1/tokens", Admin, fleet::create_token)
            .says("Make an enrolment token")
            .takes(SMALL_BODY, Json("NewToken"))
            .gives(201, Json("CreatedToken")),
        Route::new(Method::DELETE, "/v1/tokens/{digest}", Admin, fleet::revoke_token)
            .says("Take an enrolment token back")
            .gives(204, Nothing)
            .refuses(&[404]),
        Route::new(GET, "/v1/operators", Admin, operators::list)
            .says("Tokens of people and programs, by name")
            .gives(200, List("OperatorStatus")),
        Route::new(POST, "/v1/operators", Admin, operators::create)
            .says("Make a token for somebody")
            .takes(SMALL_BODY, Json("NewOperator"))
            .gives(201, Json("CreatedToken"))
            .refuses(&[409]),
        Route::new(Method::DELETE, "/v1/operators/{name}", Admin, operators::revoke)
            .says("Take somebody's token back; its name stays taken")
            .gives(204, Nothing)
            .refuses(&[404]),
    ]
}

fn other_routes() -> Vec<Route> {
    const GET: Method = Method::GET;
    let plain = Content::Text("text/plain; charset=utf-8");
    let page = Content::Text(dashboard::PAGE_TYPE);
    vec![
        Route::new(GET, "/", Access::Read, dashboard::overview)
            .says("The dashboard: every task")
            .gives(200, page),
        Route::new(GET, "/tasks/{task}", Access::Read, dashboard::task)
            .says("The dashboard: one task")
            .gives(200, page)
            .refuses(&[404]),
        Route::new(GET, "/v1/openapi.json", Access::Open, health::description)
            .says("This description")
            .gives(200, Content::Json("Description")),
        Route::new(GET, "/healthz", Access::Open, health::alive)
            .says("Whether the process answers")
            .gives(200, plain),
        Route::new(GET, "/readyz", Access::Open, health::ready)
            .says("Whether the database can be written")
            .gives(200, plain),
        Route::new(GET, "/metrics", Access::Read, health::metrics)
            .says("What is counted, for a monitoring system")
            .gives(200, Content::Text(health::METRICS_TYPE)),
    ]
}
