//! The webhook's endpoint: `POST /mutate` with an AdmissionReview of a pod.
//!
//! The response for a refused pod is, as the admission API requires, HTTP 200 with a status of code
//! 400 in the body.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response, body::Incoming};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    api::DynamicObject,
    core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use metrics::counter;
use serde_json::Value;

use crate::{
    config::Config,
    injection::{
        mutate,
        validate::{Refusal, Verdict, validate},
    },
    metrics::ADMISSIONS,
    net::{Handler, HttpResponse, text},
};

/// Bound of a request body; larger than the API server's own limit for an object.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Responds to admission reviews.
pub struct Webhook {
    /// Settings of the injected sidecar.
    pub config: Arc<Config>,
}

impl Handler for Webhook {
    async fn respond(&self, request: Request<Incoming>) -> HttpResponse {
        if (request.method(), request.uri().path()) != (&Method::POST, "/mutate") {
            return text(StatusCode::NOT_FOUND, "expected POST /mutate\n");
        }
        let Ok(body) = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the review is too large\n");
        };
        let review = review(&body.to_bytes(), &self.config);
        match serde_json::to_vec(&review) {
            Ok(body) => {
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                response
            }
            Err(error) => {
                tracing::error!(%error, "admission review not encoded");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be encoded\n")
            }
        }
    }
}

/// Returns the response to one review; pure except for a counter and a log line.
pub fn review(body: &[u8], config: &Config) -> AdmissionReview<DynamicObject> {
    let (response, result) = match decode(body) {
        Err(error) => (AdmissionResponse::invalid(error), "malformed"),
        Ok((request, pod)) => decide(&request, &pod, config),
    };
    counter!(ADMISSIONS, "result" => result).increment(1);
    response.into_review()
}

fn decode(body: &[u8]) -> Result<(AdmissionRequest<DynamicObject>, Value), String> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|error| format!("admission review: {error}"))?;
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| "admission review without a request".to_owned())?;
    let object = request.object.as_ref().ok_or("admission request without an object")?;
    let pod = serde_json::to_value(object).map_err(|error| format!("pod: {error}"))?;
    Ok((request, pod))
}

fn decide(
    request: &AdmissionRequest<DynamicObject>,
    pod: &Value,
    config: &Config,
) -> (AdmissionResponse, &'static str) {
    let response = AdmissionResponse::from(request);
    let namespace = request.namespace.as_deref().unwrap_or_default();
    if config.excludes(namespace) {
        return (response, "skipped");
    }
    let typed: Pod = match serde_json::from_value(pod.clone()) {
        Ok(typed) => typed,
        Err(error) => return (refuse(response, format!("pod: {error}")), "malformed"),
    };
    let injection = match validate(&typed, config.default_inject) {
        Ok(Verdict::Skip) => return (response, "skipped"),
        Ok(Verdict::Inject(injection)) => injection,
        Err(refusal) => return (refused(response, namespace, &typed, &refusal), "refused"),
    };
    let patch = mutate::patch(pod, &mutate::mutate(pod, &injection, config));
    match response.with_patch(patch) {
        Ok(mut response) => {
            if !injection.warnings.is_empty() {
                response.warnings = Some(injection.warnings);
            }
            (response, "injected")
        }
        Err(error) => {
            let invalid = AdmissionResponse::invalid(error);
            (invalid, "malformed")
        }
    }
}

fn refused(
    response: AdmissionResponse,
    namespace: &str,
    pod: &Pod,
    refusal: &Refusal,
) -> AdmissionResponse {
    let metadata = &pod.metadata;
    let name = metadata.name.as_ref().or(metadata.generate_name.as_ref());
    let pod = name.map_or("", String::as_str);
    tracing::info!(namespace, pod, %refusal, "pod refused");
    refuse(response, format!("lictor: {refusal}"))
}

fn refuse(response: AdmissionResponse, message: String) -> AdmissionResponse {
    let mut response = response.deny(message);
    response.result.code = 400;
    "BadRequest".clone_into(&mut response.result.reason);
    response
}

#[cfg(test)]
mod tests;
