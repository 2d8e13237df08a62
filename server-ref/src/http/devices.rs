//! Handlers for devices.

use adafed_wire::{
    CheckinRequest, CheckinResponse, DeviceId, Digest, EnrolRequest, EnrolResponse, TaskId, decode,
};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;

use super::extract::{Path, Reader, SelfSigned, Signed, Upload, number};
use super::respond;
use crate::metrics;
use crate::{Error, Service};

/// `POST /v1/devices`
pub(super) async fn enrol(
    State(service): State<Service>,
    request: SelfSigned,
) -> Result<Response, Error> {
    let enrolment: EnrolRequest = decode(&request.body)?;
    let signed_ms = request.signature.verify(&enrolment.public_key, &request.body)?;
    let device = service.enrol(&enrolment.token, enrolment.public_key, signed_ms).await?;
    Ok(respond::message(&EnrolResponse { device })?.1)
}

/// `POST /v1/checkin`
pub(super) async fn check_in(
    State(service): State<Service>,
    request: Signed,
) -> Result<Response, Error> {
    let CheckinRequest { task, version } = decode(&request.body)?;
    let answer = service.check_in(request.credential, &task, &version).await?;
    let (bytes, mut response) = respond::message(&answer)?;
    if let CheckinResponse::Wait { retry_after_ms } = answer {
        response.headers_mut().insert(RETRY_AFTER, retry_after_ms.div_ceil(1000).into());
    }
    service.count_sent(&task, bytes);
    Ok(response)
}

/// `GET /v1/tasks/{task}/plan`
pub(super) async fn plan(
    State(service): State<Service>,
    _: Reader,
    Path(task): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let task: TaskId = task.parse()?;
    let (bytes, response) = respond::download(&headers, service.plan(&task).await?)?;
    service.count_sent(&task, bytes);
    Ok(response)
}

/// `GET /v1/tasks/{task}/content/{digest}`
pub(super) async fn content(
    State(service): State<Service>,
    _: Reader,
    Path((task, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let (task, digest): (TaskId, Digest) = (task.parse()?, digest.parse()?);
    let (bytes, response) = respond::download(&headers, service.content(&task, digest).await?)?;
    service.count_sent(&task, bytes);
    Ok(response)
}

/// `PUT /v1/tasks/{task}/rounds/{round}/updates/{device}`
pub(super) async fn upload(
    State(service): State<Service>,
    Path((task, round, device)): Path<(String, String, String)>,
    Upload { signed, .. }: Upload,
) -> Result<Response, Error> {
    let (task, round): (TaskId, u64) = (task.parse()?, number(&round)?);
    let (signer, named): (DeviceId, DeviceId) = (signed.credential.device, device.parse()?);
    if signer != named {
        return Err(Error::OtherDevice { signed: signer, named });
    }
    let bytes = signed.body.len();
    let receipt = service.upload(signed.credential, &task, round, signed.body).await;
    let outcome = match &receipt {
        Ok(receipt) if receipt.duplicate => metrics::Upload::Duplicate,
        Ok(_) => metrics::Upload::Accepted,
        Err(e) => metrics::Upload::Refused(e.code()),
    };
    service.front().metrics.uploaded(bytes, outcome);
    Ok(respond::message(&receipt?)?.1)
}
