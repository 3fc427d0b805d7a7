//! Which agent to talk to, and with which credentials (Consul "CLI environment variables").

use std::{fmt, path::PathBuf};

use http::{HeaderName, HeaderValue, header};

use super::ClientError;
use crate::go::parse_bool;

/// Settings of a [`super::Client`].
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `host:port`, `http://host:port`, `https://host:port` or `unix:///path`; 127.0.0.1:8500 when
    /// empty.
    pub address: String,
    /// Speak TLS even if the address does not say `https`.
    pub tls: bool,
    /// The credential.
    pub token: Token,
    /// PEM roots to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM roots given as text, with the file's.
    pub ca_pem: Option<String>,
    /// PEM certificate chain to show.
    pub client_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub client_key: Option<PathBuf>,
    /// Name to expect in the server's certificate instead of the address's.
    pub tls_server_name: Option<String>,
    /// Accept any server certificate.
    pub tls_skip_verify: bool,
    /// Another datacenter than the agent's.
    pub datacenter: Option<String>,
    /// Read from any server, in stale mode.
    pub stale: bool,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address has no meaning.
    #[error("{0:?} is not an agent's address; use host:port, http://, https:// or unix://")]
    Address(String),
    /// A certificate or key file.
    #[error("reading {path}: {problem}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The TLS settings do not go together.
    #[error("setting up TLS: {0}")]
    Tls(String),
}

/// A credential; prints as `<redacted>`.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Token {
    /// None.
    #[default]
    None,
    /// An ACL token.
    Acl(String),
    /// A bearer token in a file that is read again for every request, because it is rotated.
    BearerFile(PathBuf),
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Acl(_) => f.write_str("<redacted>"),
            Self::BearerFile(path) => f.debug_tuple("BearerFile").field(path).finish(),
        }
    }
}

impl Token {
    /// Returns the header that carries it.
    ///
    /// # Errors
    /// [`ClientError::Token`] and [`ClientError::TokenHeader`].
    pub(super) fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, ClientError> {
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Acl(token) => (HeaderName::from_static("x-consul-token"), token.clone()),
            Self::BearerFile(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|source| ClientError::Token { path: path.clone(), source })?;
                (header::AUTHORIZATION, format!("Bearer {}", token.trim()))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::TokenHeader)?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }
}

impl Config {
    /// Settings from `CONSUL_HTTP_ADDR` and its siblings.
    ///
    /// # Errors
    /// [`ConfigError::File`] for an unreadable token file.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The same from any source of variables.
    ///
    /// # Errors
    /// [`ConfigError::File`] for an unreadable token file.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let flag = |name: &str| var(name).and_then(|value| parse_bool(&value));
        let token = match (var("CONSUL_HTTP_TOKEN"), var("CONSUL_HTTP_TOKEN_FILE")) {
            (Some(token), _) => Token::Acl(token),
            (None, Some(file)) => Self::token_from_file(file.into())?,
            (None, None) => Token::None,
        };
        Ok(Self {
            address: var("CONSUL_HTTP_ADDR").unwrap_or_default(),
            tls: flag("CONSUL_HTTP_SSL") == Some(true),
            token,
            ca_file: var("CONSUL_CACERT").map(PathBuf::from),
            client_cert: var("CONSUL_CLIENT_CERT").map(PathBuf::from),
            client_key: var("CONSUL_CLIENT_KEY").map(PathBuf::from),
            tls_server_name: var("CONSUL_TLS_SERVER_NAME"),
            tls_skip_verify: flag("CONSUL_HTTP_SSL_VERIFY") == Some(false),
            ..Self::default()
        })
    }

    /// An ACL token kept in a file.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn token_from_file(path: PathBuf) -> Result<Token, ConfigError> {
        let token = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::File { path, problem: error.to_string() })?;
        Ok(Token::Acl(token.trim().to_owned()))
    }
}
