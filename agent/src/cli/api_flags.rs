//! Flags that every verb which talks to an agent has, and the client they describe.

use std::path::PathBuf;

use lictor_api::client::{Client, Config, Token};

/// How to reach the agent.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ApiFlags {
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
    /// Datacenter to ask; the agent's own by default
    #[arg(long, help_heading = "Agent")]
    datacenter: Option<String>,
    /// Accept an answer of any server, not only the leader
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, help_heading = "Agent")]
    stale: bool,
}

impl ApiFlags {
    /// The settings: flags over environment.
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
        config.datacenter.clone_from(&self.datacenter);
        config.stale = self.stale;
        Ok(config)
    }

    /// The client.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.config()?)?)
    }
}
