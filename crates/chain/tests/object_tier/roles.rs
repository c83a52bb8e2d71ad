//! Credentials that a machine hands out: a process of its own finds them as its environment says, and works on a bucket with them.
//!
//! ```text
//! process ── where are my credentials? ──► front: stands for the cloud's service
//!         ── put, get, list, delete ─────► front ── the same ──► moto
//!                                             └─ notes what was sent
//! ```

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use cairn_chain::conformance::{content, get_all, put};
use cairn_chain::{ChunkStore, ObjectTier, ObjectTierConfig};
use cairn_runtime::Spawner;
use cairn_test_s3::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::{chunk, seams};

/// Tells the process what stands in its settings.
const SETTINGS: &str = "CAIRN_TEST_ROLE_SETTINGS";

/// Not a test of its own: the process that has a role.
#[tokio::test]
#[ignore = "run by the tests of this file"]
async fn a_process_with_a_role() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let config: ObjectTierConfig = toml::from_str(&settings).expect("settings");
    let store = ObjectTier::open(&config, seams(1)).await.expect("a store");
    let bytes = content(100_000, 1);
    put(&store, chunk(0), &bytes).await.expect("stored");
    assert!(get_all(&store, chunk(0)).await.expect("read") == bytes);
    store.delete(vec![chunk(0)]).await.expect("deleted");
}

/// An answer of the cloud's service, and what a request for it must have.
struct Known {
    request: &'static str,
    must_have: &'static str,
    answer: &'static str,
}

/// Runs tests of this program that are ignored, in a process with this environment; what it said.
pub(crate) async fn run_ignored(tests: &str, environment: &[(&str, String)]) -> String {
    let home = tempfile::tempdir().expect("a folder");
    let done = Command::new(std::env::current_exe().expect("this program"))
        .args([tests, "--ignored"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // Where nobody's own credentials are.
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("this program runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}");
    said
}

/// See the module.
pub(crate) struct Front {
    port: u16,
    sent: Arc<Mutex<String>>,
}

impl Front {
    async fn before(server: &'static Server, known: &'static [Known]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let sent: Arc<Mutex<String>> = Arc::default();
        let noted = Arc::clone(&sent);
        let spawner = Spawner::current();
        drop(spawner.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(spawner.spawn(serve(client, server, known, Arc::clone(&noted))));
            }
        }));
        Self { port, sent }
    }

    /// One that hands out tokens as Google does.
    pub(crate) async fn of_google(server: &'static Server) -> Self {
        Self::before(server, &[Known {
            request: "get /computemetadata/v1/instance/service-accounts/default/token",
            must_have: "metadata-flavor: google",
            answer: r#"{"access_token": "of-the-machine", "expires_in": 3600, "token_type": "Bearer"}"#,
        }])
        .await
    }

    /// Where its tokens are.
    pub(crate) fn environment_of_google(&self) -> [(&'static str, String); 1] {
        [("GCE_METADATA_HOST", format!("127.0.0.1:{}", self.port))]
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was sent so far, in small letters.
    pub(crate) fn sent(&self) -> String {
        self.sent.lock().expect("nobody panics with it").clone()
    }

    /// Runs the process that has a role with these settings; what it sent.
    async fn work(&self, settings: String, environment: &[(&'static str, String)]) -> String {
        let environment = [environment, &[(SETTINGS, settings)]].concat();
        run_ignored("object_tier::roles::a_process_with_a_role", &environment).await;
        self.sent()
    }
}

/// Answers a connection's first request, or hands the connection on.
async fn serve(
    mut client: TcpStream,
    server: &'static Server,
    known: &'static [Known],
    noted: Arc<Mutex<String>>,
) -> std::io::Result<()> {
    let note = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        noted.lock().expect("nobody panics with it").push_str(&text);
    };
    let mut head = vec![0; 16 << 10];
    let length = client.read(&mut head).await?;
    head.truncate(length);
    note(&head);
    let text = String::from_utf8_lossy(&head).to_lowercase();
    if let Some(known) = known.iter().find(|known| text.starts_with(known.request)) {
        let status = if text.contains(known.must_have) { "200 OK" } else { "401 Unauthorized" };
        let answer = known.answer;
        let length = answer.len();
        let kind = "Content-Type: application/json\r\nConnection: close";
        let answer =
            format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{answer}");
        return client.write_all(answer.as_bytes()).await;
    }
    let address = server.endpoint().replace("http://", "");
    let mut behind = TcpStream::connect(address).await?;
    behind.write_all(&head).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_behind, mut to_behind) = behind.split();
    let there = async {
        let mut piece = vec![0; 16 << 10];
        loop {
            match from_client.read(&mut piece).await? {
                0 => return to_behind.shutdown().await,
                length => {
                    note(&piece[..length]);
                    to_behind.write_all(&piece[..length]).await?;
                }
            }
        }
    };
    tokio::try_join!(there, tokio::io::copy(&mut from_behind, &mut to_client)).map(drop)
}

/// What AWS hands out, in its form.
const KEYS: &str = r#"{"AccessKeyId": "ASIAROLE", "SecretAccessKey": "secret", "Token": "of-the-session",
    "Expiration": "2100-01-01T00:00:00Z"}"#;

fn settings(front: &Front, provider: &str, bucket: &str, credentials: &str) -> String {
    let endpoint = front.url();
    format!(
        "capacity = \"1 GiB\"\n[bucket]\nprovider = \"{provider}\"\nname = \"{bucket}\"\n\
         endpoint = \"{endpoint}\"\nallow-http = true\ncredentials = \"{credentials}\"\n"
    )
}

fn assert_signed_with_the_keys(sent: &str) {
    assert!(sent.contains("credential=asiarole/"), "{sent}");
    assert!(sent.contains("x-amz-security-token: of-the-session"), "{sent}");
}

#[tokio::test]
async fn the_role_of_a_machine_on_ec2_signs_requests() {
    const PATH: &str = "get /latest/meta-data/iam/security-credentials/";
    let Some(server) = Server::shared().await else { return };
    let front = Front::before(
        server,
        &[
            Known {
                request: "put /latest/api/token ",
                must_have: "ttl-seconds",
                answer: "the-token",
            },
            Known {
                request: "get /latest/meta-data/iam/security-credentials/the-role ",
                must_have: "x-aws-ec2-metadata-token: the-token",
                answer: KEYS,
            },
            Known { request: PATH, must_have: "metadata-token: the-token", answer: "the-role" },
        ],
    )
    .await;
    let settings = settings(&front, "s3", &server.new_bucket().await, "environment");
    let sent = front.work(settings, &[("AWS_METADATA_ENDPOINT", front.url())]).await;
    assert!(sent.contains(PATH), "{sent}");
    assert_signed_with_the_keys(&sent);
}

#[tokio::test]
async fn the_role_of_a_container_signs_requests() {
    let Some(server) = Server::shared().await else { return };
    let front = Front::before(
        server,
        &[Known {
            request: "get /credentials ",
            must_have: "authorization: of-the-container",
            answer: KEYS,
        }],
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "of-the-container").unwrap();
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/credentials", front.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.display().to_string()),
    ];
    let settings = settings(&front, "s3", &server.new_bucket().await, "environment");
    assert_signed_with_the_keys(&front.work(settings, &environment).await);
}

#[tokio::test]
async fn the_role_of_a_machine_at_google_authorizes_requests() {
    let Some(server) = Server::shared().await else { return };
    let front = Front::of_google(server).await;
    let settings = settings(&front, "gcs", &server.new_bucket().await, "role");
    let sent = front.work(settings, &front.environment_of_google()).await;
    assert!(sent.contains("authorization: bearer of-the-machine"), "{sent}");
}
