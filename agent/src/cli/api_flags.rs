//! Flags that every verb which talks to an agent has, and the client they describe.
//!
//! INVARIANT: a verb takes exactly the flags that Consul documents for it. Those that query
//! the agent about itself ([`AgentFlags`]) refuse `-datacenter` and `-stale`, which could only be ignored.

use std::path::PathBuf;

use lictor_api::client::{Client, Config, Token};

/// How to reach the agent.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AgentFlags {
    /// Address of the agent: host:port, http://, https:// or unix:// [env CONSUL_HTTP_ADDR]
    #[arg(long, help_heading = "Agent")]
    http_addr: Option<String>,
    /// ACL token [env CONSUL_HTTP_TOKEN]
    #[arg(long, help_heading = "Agent", hide_env_values = true)]
    token: Option<String>,
    /// File with the ACL token [env CONSUL_HTTP_TOKEN_FILE]
    #[arg(long, help_heading = "Agent")]
    token_file: Option<PathBuf>,
    /// PEM roots to trust [env CONSUL_CACERT]
    #[arg(long, help_heading = "Agent")]
    ca_file: Option<PathBuf>,
    /// PEM certificate to show [env CONSUL_CLIENT_CERT]
    #[arg(long, help_heading = "Agent")]
    client_cert: Option<PathBuf>,
    /// Key of that certificate [env CONSUL_CLIENT_KEY]
    #[arg(long, help_heading = "Agent")]
    client_key: Option<PathBuf>,
    /// Name in the agent's certificate [env CONSUL_TLS_SERVER_NAME]
    #[arg(long, help_heading = "Agent")]
    tls_server_name: Option<String>,
}

/// How to reach the agent, and how the servers answer.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ApiFlags {
    #[command(flatten)]
    agent: AgentFlags,
    /// Datacenter to query; the agent's own by default
    #[arg(long, help_heading = "Agent")]
    datacenter: Option<String>,
    /// Accept a response of any server, not only the leader's
    #[arg(long, help_heading = "Agent")]
    stale: bool,
}

impl AgentFlags {
    /// Returns the client's settings: flags over environment.
    ///
    /// # Errors
    /// An unreadable token file.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::from_env()?;
        if let Some(address) = &self.http_addr {
            config.address.clone_from(address);
        }
        if let Some(token) = &self.token {
            config.token = Token::Acl(token.clone());
        } else if let Some(file) = &self.token_file {
            config.token = Config::token_from_file(file.clone())?;
        }
        let over = |flag: &Option<PathBuf>, value: &mut Option<PathBuf>| {
            if flag.is_some() {
                value.clone_from(flag);
            }
        };
        over(&self.ca_file, &mut config.ca_file);
        over(&self.client_cert, &mut config.client_cert);
        over(&self.client_key, &mut config.client_key);
        if self.tls_server_name.is_some() {
            config.tls_server_name.clone_from(&self.tls_server_name);
        }
        Ok(config)
    }

    /// Makes a client of the agent; nothing is connected yet.
    ///
    /// # Errors
    /// An unreadable file, a bad address or certificate.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.config()?)?)
    }
}

impl ApiFlags {
    /// Returns the client's settings: flags over environment.
    ///
    /// # Errors
    /// An unreadable token file.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let config = self.agent.config()?;
        Ok(Config { datacenter: self.datacenter.clone(), stale: self.stale, ..config })
    }

    /// Makes a client of the agent; nothing is connected yet.
    ///
    /// # Errors
    /// An unreadable file, a bad address or certificate.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.config()?)?)
    }
}
