//! Encrypted connections: the server must be who the URL says.

use std::path::Path;
use std::process::Command;

use cairn_kv::{Durability, Kv, OpenError, PostgresConfig};
use cairn_runtime::{Clock, Entropy};
use cairn_test_postgres::Plan;

use crate::support::{block_on, keys, put};

/// An authority's certificate, and that of a server called `localhost` with its key.
fn certificates(folder: &Path, name: &str) -> bool {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                    -days 3650 -subj /CN=authority -keyout $1-ca.key -out $1-ca.pem && \
                  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                    -subj /CN=localhost -keyout $1.key -out $1.csr && \
                  printf 'subjectAltName=DNS:localhost' > $1.ext && \
                  openssl x509 -req -in $1.csr -CA $1-ca.pem -CAkey $1-ca.key -CAcreateserial \
                    -days 3650 -extfile $1.ext -out $1.pem";
    let made = Command::new("sh").args(["-c", script, "sh", name]).current_dir(folder).output();
    made.is_ok_and(|made| made.status.success())
}

#[test]
fn a_connection_is_made_only_to_a_server_that_the_authority_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let has = |name| certificates(folder.path(), name);
    if !has("server") || !has("other") {
        let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
        assert!(!required.contains("postgres"), "openssl is required and missing");
        println!("SKIPPED: no openssl to make certificates with (apt-get install openssl)");
        return;
    }
    let file = |name: &str| folder.path().join(name);
    let Some(server) = Plan::default().tls(&file("server.pem"), &file("server.key")).start() else {
        return;
    };
    server.new_database();
    let open = |host: &str, authority: &str| -> Result<Kv, OpenError> {
        let url = format!("postgres://cairn@{host}:{}/test0", server.port());
        let config = PostgresConfig::new(&url, Some(file(authority))).unwrap();
        Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap())
    };
    let refused = |result: Result<Kv, OpenError>, why: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(open("localhost", "other-ca.pem"), "certificate");
    refused(open("127.0.0.1", "server-ca.pem"), "certificate");
    refused(open("localhost", "missing.pem"), "read the file of certificate authorities");
    refused(open("localhost", "server.key"), "find a certificate authority");
    block_on(async {
        let kv = open("localhost", "server-ca.pem").unwrap();
        put(&kv, Durability::Synced, "a", "").await.unwrap();
        assert_eq!(keys(&kv).await, ["a"]);
        let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl \
                         JOIN pg_stat_activity USING (pid) WHERE application_name = 'cairn'";
        assert_eq!(server.sql("postgres", encrypted), "t");
    });
}
