//! A connection with its prepared statements, made again when it is lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_runtime::{Clock, Entropy, Owned, Spawner};
use futures_util::future::{join, join3, join4};
use tokio_postgres::{Client, Error, SimpleQueryMessage, Statement};

use super::config::PostgresConfig;
use super::tls::Tls;
use super::trouble::{Trouble, described};
use crate::error::StorageFailure;
use crate::stats::Counters;

/// What all threads of a store share.
pub(super) struct Shared {
    pub(super) config: PostgresConfig,
    pub(super) tls: Tls,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) counters: Arc<Counters>,
}

/// An open connection. Dropping it closes the socket.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) statements: Statements,
    /// The setting of `synchronous_commit` that waits for an fsync.
    pub(super) synced: &'static str,
    clock: Clock,
    bound: Duration,
    _driver: Owned<()>,
}

/// A connection without statements: the tables may not be there yet.
pub(super) struct Bare {
    pub(super) client: Client,
    synced: &'static str,
    driver: Owned<()>,
}

/// All SQL on entries, prepared once for each connection.
pub(super) struct Statements {
    pub(super) get: Statement,
    pub(super) scan: Scans,
    pub(super) put: Statement,
    pub(super) delete: Statement,
    pub(super) note_batch: Statement,
    pub(super) fence_batch: Statement,
    pub(super) was_fenced: Statement,
    pub(super) forget_batches: Statement,
}

/// Scans of `[$1, …)` and `[$1, $2)`, each way, with the limit last.
pub(super) struct Scans {
    pub(super) forward: Statement,
    pub(super) forward_open: Statement,
    pub(super) backward: Statement,
    pub(super) backward_open: Statement,
}

/// How long the client waits beyond the server's own bound on a statement.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection may be silent before the operating system asks whether it still is one.
const KEEPALIVE: Duration = Duration::from_secs(10);

impl Connection {
    pub(super) async fn open(shared: &Shared) -> Result<Connection, StorageFailure> {
        let bare = Bare::open(shared).await?;
        let schema = shared.config.schema_in_sql();
        let preparing = Statements::prepare(&bare.client, &schema);
        let statements = within(shared, "prepare statements", Box::pin(preparing))
            .await?
            .map_err(|error| StorageFailure::new("prepare statements", described(&error)))?;
        Ok(Connection {
            client: bare.client,
            statements,
            synced: bare.synced,
            clock: shared.clock.clone(),
            bound: shared.config.statement_bound + GRACE,
            _driver: bare.driver,
        })
    }

    /// Waits for the server, but not for ever.
    pub(super) async fn answer<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        let answered = self.clock.timeout(self.bound, answer).await;
        answered.map_err(|elapsed| Trouble::Lost(StorageFailure::new(doing, elapsed)))
    }
}

impl Bare {
    pub(super) async fn open(shared: &Shared) -> Result<Bare, StorageFailure> {
        let mut server = shared.config.server.clone();
        server
            .connect_timeout(shared.config.connect_bound)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .tcp_user_timeout(shared.config.statement_bound + GRACE);
        let connecting = server.connect(shared.tls.clone());
        let connected = shared.clock.timeout(shared.config.connect_bound, connecting).await;
        let (client, connection) = connected
            .map_err(|elapsed| StorageFailure::new("connect to the server", elapsed))?
            .map_err(|error| StorageFailure::new("connect to the server", described(&error)))?;
        let driver = Owned::new(Spawner::current().spawn(async move {
            // Whoever waits for an answer learns of it; there may be no one.
            if let Err(error) = connection.await {
                tracing::debug!(error = described(&error), "a connection to the store ended");
            }
        }));
        let settled = settle(&client, shared.config.statement_bound);
        let synced = within(shared, "set up the session", settled)
            .await?
            .map_err(|error| StorageFailure::new("set up the session", described(&error)))?;
        Ok(Bare { client, synced, driver })
    }
}

/// Waits for the server during the making of a connection.
pub(super) async fn within<T>(
    shared: &Shared,
    doing: &'static str,
    answer: impl Future<Output = T>,
) -> Result<T, StorageFailure> {
    let bound = shared.config.statement_bound + GRACE;
    let answered = shared.clock.timeout(bound, answer).await;
    answered.map_err(|elapsed| StorageFailure::new(doing, elapsed))
}

/// Bounds at the server, and commits that do not wait for the disk unless they say so.
async fn settle(client: &Client, bound: Duration) -> Result<&'static str, Error> {
    let durable = client.simple_query("SHOW synchronous_commit").await?;
    let bound = bound.as_millis();
    let settings = format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET statement_timeout = {bound}; \
         SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {bound}; \
         SET synchronous_commit = off",
        lock = (bound / 2).max(1),
    );
    client.batch_execute(&settings).await?;
    // Plans through the index read, and so lock, no more than they need; only PostgreSQL knows it.
    let _ = client.batch_execute("SET enable_seqscan = off").await;
    Ok(synced_level(&durable))
}

/// What the server does by itself, unless it is set to lose commits.
fn synced_level(answer: &[SimpleQueryMessage]) -> &'static str {
    let level = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    match level {
        Some("remote_apply") => "remote_apply",
        Some("remote_write") => "remote_write",
        Some("local") => "local",
        _ => "on",
    }
}

impl Statements {
    async fn prepare(client: &Client, schema: &str) -> Result<Statements, Error> {
        let get = format!("SELECT key, value FROM {schema}.entries WHERE key = ANY($1::bytea[])");
        let put = format!(
            "INSERT INTO {schema}.entries (key, value) \
             SELECT * FROM unnest($1::bytea[], $2::bytea[]) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        );
        let delete = format!("DELETE FROM {schema}.entries WHERE key = ANY($1::bytea[])");
        let note = format!("INSERT INTO {schema}.batches (id, fenced) VALUES ($1, false)");
        let fence = format!(
            "INSERT INTO {schema}.batches (id, fenced) VALUES ($1, true) ON CONFLICT (id) DO NOTHING"
        );
        let was_fenced = format!("SELECT fenced FROM {schema}.batches WHERE id = $1");
        // A batch is old when no session can still work on it: they end within 10 minutes.
        let forget = format!(
            "DELETE FROM {schema}.batches \
             WHERE id = ANY($1::bytea[]) OR at < now() - INTERVAL '1 hour'"
        );
        let on_entries = join3(client.prepare(&get), client.prepare(&put), client.prepare(&delete));
        let on_batches = join4(
            client.prepare(&note),
            client.prepare(&fence),
            client.prepare(&was_fenced),
            client.prepare(&forget),
        );
        let scans = Scans::prepare(client, schema);
        let ((get, put, delete), (scan, (note, fence, was_fenced, forget))) =
            join(on_entries, join(scans, on_batches)).await;
        Ok(Statements {
            get: get?,
            scan: scan?,
            put: put?,
            delete: delete?,
            note_batch: note?,
            fence_batch: fence?,
            was_fenced: was_fenced?,
            forget_batches: forget?,
        })
    }
}

impl Scans {
    async fn prepare(client: &Client, schema: &str) -> Result<Scans, Error> {
        let scan = |within: &str, order: &str| {
            format!("SELECT key, value FROM {schema}.entries WHERE {within} ORDER BY key {order} ")
        };
        let closed = "key >= $1 AND key < $2";
        let open = "key >= $1";
        let [forward, backward] = ["ASC", "DESC"].map(|order| scan(closed, order) + "LIMIT $3");
        let [forward_open, backward_open] =
            ["ASC", "DESC"].map(|order| scan(open, order) + "LIMIT $2");
        let (forward, forward_open, backward, backward_open) = join4(
            client.prepare(&forward),
            client.prepare(&forward_open),
            client.prepare(&backward),
            client.prepare(&backward_open),
        )
        .await;
        Ok(Scans {
            forward: forward?,
            forward_open: forward_open?,
            backward: backward?,
            backward_open: backward_open?,
        })
    }
}

/// The one connection of a thread: there when needed, made again after it was lost.
pub(super) struct Link {
    shared: Arc<Shared>,
    connection: Option<Connection>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>) -> Link {
        Link { shared, connection: None }
    }

    pub(super) async fn get(&mut self) -> Result<&Connection, Trouble> {
        if self.connection.as_ref().is_some_and(|connection| connection.client.is_closed()) {
            self.lose();
        }
        if self.connection.is_none() {
            // Boxed: connecting takes some 35 KiB of state, and happens rarely.
            let opened = Box::pin(Connection::open(&self.shared)).await;
            self.connection = Some(opened.map_err(Trouble::Lost)?);
        }
        Ok(self.connection.as_ref().expect("a connection was made above, unless there was one"))
    }

    /// Lets go of a connection that failed, or whose state is not known.
    pub(super) fn lose(&mut self) {
        if self.connection.take().is_some() {
            self.shared.counters.reopened();
        }
    }
}
