//! Parameters of reads: index, wait, consistency; and the read itself.
//!
//! Source: Consul "Blocking Queries" and "Consistency Modes". On a server `?cached` is a default
//! read: its state is in memory, so a cache would save nothing. On client agents:
//! [`super::cached`].

use std::time::Duration;

use lictor_api::{
    GoDuration,
    query::{Consistency, QueryMeta, QueryOptions},
};
use lictor_core::state::{State, WatchSet};

use super::{Context, HttpError, Request};

impl Request {
    /// Returns the index, wait and consistency that the client requests.
    ///
    /// # Errors
    /// [`HttpError`] for a value that cannot be parsed, and for modes that exclude each other.
    pub fn options(&self) -> Result<QueryOptions, HttpError> {
        let index = match self.param("index").filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(|_| HttpError::InvalidIndex)?,
            None => 0,
        };
        let wait = match self.param("wait").filter(|text| !text.is_empty()) {
            Some(text) => Some(text.parse::<GoDuration>().map_err(|_| HttpError::InvalidWait)?),
            None => None,
        };
        Ok(QueryOptions {
            index,
            wait: wait.filter(|wait| !wait.is_zero()).map(|wait| wait.0),
            consistency: self.consistency()?,
            max_stale: self.max_stale()?,
            ..QueryOptions::default()
        })
    }

    fn max_stale(&self) -> Result<Option<Duration>, HttpError> {
        let Some(text) = self.param("max_stale").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let age = text.parse::<GoDuration>();
        age.map(|age| Some(age.0)).map_err(|_| HttpError::InvalidMaxStale(text.to_owned()))
    }

    fn consistency(&self) -> Result<Consistency, HttpError> {
        let stale = self.has("stale") || self.max_stale()?.is_some();
        let consistent = self.has("consistent");
        match (stale, consistent) {
            (true, true) => Err(HttpError::StaleWithConsistent),
            (_, true) if self.has("cached") => Err(HttpError::CachedWithConsistent),
            (_, true) => Ok(Consistency::Consistent),
            // `?leader` is no mode, yet it makes a stale read a default one.
            (true, _) if !self.has("leader") => Ok(Consistency::Stale),
            _ => Ok(Consistency::Default),
        }
    }
}

impl Context {
    /// Returns how long a blocking query waits: `requested`, else `default_query_time`; at most
    /// `max_query_time`.
    pub(super) fn wait(&self, requested: Option<Duration>) -> Duration {
        let bounds = self.agent.config.load().queries;
        requested.unwrap_or(bounds.default_wait).min(bounds.max_wait)
    }

    /// Runs `read` in the request's consistency mode, and as a blocking query until the state is
    /// past the request's index. `read` adds to the `WatchSet` what its result depends on.
    ///
    /// # Errors
    /// As [`Request::options`], and [`HttpError::Server`].
    pub async fn read<T>(
        &self,
        request: &Request,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> Result<(QueryMeta, T), HttpError> {
        let mut options = request.options()?;
        options.wait = Some(self.wait(options.wait));
        match &self.view {
            Some(view) => Ok(view.query(&options, read).await),
            None => Ok(self.server()?.query(&options, read).await?),
        }
    }

    /// Does the same for reads of the catalog. With `?peer=` the state is empty, because no cluster
    /// is peered.
    ///
    /// # Errors
    /// As [`Self::read`]; [`HttpError::SamenessGroup`] for `?sg=`.
    pub(super) async fn read_catalog<T>(
        &self,
        request: &Request,
        read: impl Fn(&State, &mut WatchSet) -> T,
    ) -> Result<(QueryMeta, T), HttpError> {
        let names = |parameter| request.param(parameter).is_some_and(|value| !value.is_empty());
        if names("sg") {
            return Err(HttpError::SamenessGroup);
        }
        let of_peer = names("peer").then(State::default);
        let read =
            |state: &State, topics: &mut WatchSet| read(of_peer.as_ref().unwrap_or(state), topics);
        self.read(request, read).await
    }
}
