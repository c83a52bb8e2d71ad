//! Settings of a store in PostgreSQL.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::InvalidPostgresUrl;

/// Settings of a store in PostgreSQL. The password in the URL is not shown by `Debug`.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// Where the server is, and who we are.
    pub(super) server: Config,
    /// The SQL schema that holds the tables: 1 to 63 of `a-z`, `0-9` and `_`, no digit first. One
    /// schema is one store.
    pub schema: String,
    /// Whether and how connections are encrypted.
    pub tls: PostgresTls,
    /// How many views run at the same time, each on a connection of its own. Two more connections
    /// serve the transactions.
    pub view_connections: usize,
    /// How many transactions may wait, and as many views. One more is answered with `Busy`.
    pub queue_len: usize,
    /// Bound on making a connection.
    pub connect_bound: Duration,
    /// Bound on each statement, at the server and here, and on how long the server waits for us
    /// within a transaction. At most 10 minutes.
    pub statement_bound: Duration,
    /// For how long conflicts and lost connections are tried again before the caller is told.
    /// Longer rides out a restart of the server, shorter answers sooner.
    pub retry_for: Duration,
}

/// Whether and how connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// In clear: for a server on this machine, or on a network that is trusted.
    Off,
    /// TLS 1.2 or 1.3. The server's certificate must be signed by an authority in this PEM file and
    /// name the host of the URL.
    VerifiedBy(PathBuf),
}

/// Longest [`PostgresConfig::statement_bound`].
const MAX_STATEMENT_BOUND: Duration = Duration::from_secs(600);
/// Longest name that PostgreSQL keeps whole.
const MAX_SCHEMA_BYTES: usize = 63;

impl PostgresConfig {
    /// Settings for `url`: `postgres://user:password@host:port/database`, or libpq's `key=value`
    /// form. `ca_file` turns TLS on.
    ///
    /// Defaults: schema `cairn`, 4 connections for views, 1024 waiting, 5 s to connect, 10 s for a
    /// statement, 10 s of retries.
    ///
    /// # Errors
    /// [`InvalidPostgresUrl`]: the text is no such URL, or it leads over the network in clear
    /// without `sslmode=disable`.
    pub fn new(url: &str, ca_file: Option<PathBuf>) -> Result<Self, InvalidPostgresUrl> {
        let mut server: Config = url.parse().map_err(InvalidPostgresUrl::Unreadable)?;
        let tls = match ca_file {
            Some(file) => PostgresTls::VerifiedBy(file),
            None if server.get_ssl_mode() == SslMode::Disable || is_local(&server) => {
                PostgresTls::Off
            }
            None => return Err(InvalidPostgresUrl::InClear),
        };
        let encrypted = tls != PostgresTls::Off;
        // Never "prefer": whoever sits in between could turn it off.
        server.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        if server.get_application_name().is_none() {
            server.application_name("cairn");
        }
        Ok(PostgresConfig {
            server,
            schema: "cairn".to_owned(),
            tls,
            view_connections: 4,
            queue_len: 1024,
            connect_bound: Duration::from_secs(5),
            statement_bound: Duration::from_secs(10),
            retry_for: Duration::from_secs(10),
        })
    }

    /// The schema as SQL takes any name, keywords included.
    pub(super) fn schema_in_sql(&self) -> String {
        format!("\"{}\"", self.schema)
    }

    /// What is wrong with the settings that have a range.
    pub(super) fn problem(&self) -> Option<String> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts = self.schema.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if !starts || self.schema.len() > MAX_SCHEMA_BYTES || !self.schema.bytes().all(named) {
            return Some(format!(
                "the schema {:?} is not 1 to {MAX_SCHEMA_BYTES} of a-z, 0-9 and _",
                self.schema
            ));
        }
        if self.statement_bound > MAX_STATEMENT_BOUND || self.statement_bound.is_zero() {
            return Some(format!(
                "the statement bound {:?} is not within {MAX_STATEMENT_BOUND:?}",
                self.statement_bound
            ));
        }
        None
    }
}

/// Whether all hosts are this machine.
fn is_local(server: &Config) -> bool {
    let by_name = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
        Host::Unix(_) => true,
    };
    server.get_hosts().iter().all(by_name)
        && server.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_is_not_spoken_to_in_clear_unless_the_url_says_so() {
        for local in [
            "postgres://cairn@localhost/x",
            "postgres://cairn@127.0.0.1:1/x",
            "postgres://cairn@[::1]/x",
            "host=/run/postgresql dbname=x",
        ] {
            assert_eq!(PostgresConfig::new(local, None).unwrap().tls, PostgresTls::Off, "{local}");
        }
        for far in ["postgres://db.example/x", "postgres://localhost,10.0.0.1/x"] {
            let refused = PostgresConfig::new(far, None);
            assert!(matches!(refused, Err(InvalidPostgresUrl::InClear)), "{far}");
            assert!(PostgresConfig::new(far, Some("ca.pem".into())).is_ok());
        }
        assert!(PostgresConfig::new("postgres://db.example/x?sslmode=disable", None).is_ok());
    }

    #[test]
    fn the_password_is_not_shown() {
        let config = PostgresConfig::new("postgres://u:secret@localhost/x", None).unwrap();
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        let mut config = PostgresConfig::new("postgres://localhost/x", None).unwrap();
        assert_eq!(config.problem(), None);
        for bad in ["", "1a", "A", "a b", "a\"; drop"] {
            config.schema = bad.to_owned();
            assert!(config.problem().is_some(), "{bad:?}");
        }
    }
}
