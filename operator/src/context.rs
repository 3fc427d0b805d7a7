//! The clients and settings that every controller uses.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use lictor_api::contract::OPERATOR;

use crate::config::Config;

/// The clients and settings that every controller uses.
pub struct Context<S> {
    /// The API server.
    pub client: Client,
    /// Settings.
    pub config: Arc<Config>,
    /// lictor's servers.
    pub servers: S,
    recorder: Recorder,
}

impl<S> Context<S> {
    /// Returns a context with a recorder of Events.
    pub fn new(client: Client, config: Arc<Config>, servers: S) -> Self {
        let instance = Some(config.pod_name.clone());
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance };
        Self { recorder: Recorder::new(client.clone(), reporter), client, config, servers }
    }

    /// Publishes a warning Event about an object; a failure to do so is only logged.
    pub async fn warn(&self, about: &ObjectReference, reason: &str, action: &str, note: &str) {
        let name = about.name.as_deref().unwrap_or_default();
        let namespace = about.namespace.as_deref().unwrap_or_default();
        tracing::info!(namespace, name, reason, note, "object needs attention");
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, reason, "event not recorded");
        }
    }
}
