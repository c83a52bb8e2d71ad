//! The tables, and how they came to be: numbered migrations, each done once.

use tokio_postgres::{Client, Error};

use super::connect::{Bare, Shared, within};
use super::retry::{Backoff, Cause};
use super::trouble::described;
use crate::error::{OpenError, StorageFailure};

/// What each version adds; the first is version 1. A step may run again after a crash, on servers
/// whose table definitions are not part of transactions, so each can. Never changed, only added to.
const MIGRATIONS: [&str; 1] = [
    // Entries in byte order. Batches are commits whose outcome someone may have to look up. Whoever
    // was disturbed takes turns by the row in `turn`.
    "CREATE TABLE IF NOT EXISTS {schema}.entries (key bytea PRIMARY KEY, value bytea NOT NULL); \
     CREATE TABLE IF NOT EXISTS {schema}.batches \
     (id bytea PRIMARY KEY, fenced boolean NOT NULL, at timestamptz NOT NULL DEFAULT now()); \
     CREATE TABLE IF NOT EXISTS {schema}.turn (id int PRIMARY KEY); \
     INSERT INTO {schema}.turn (id) VALUES (0) ON CONFLICT (id) DO NOTHING",
];

/// The version that this program reads and writes.
const KNOWN: i32 = MIGRATIONS.len() as i32;

/// How often the first steps are tried when others take them at the same time.
const ATTEMPTS: u32 = 10;

/// Brings the tables to the version of this program, unless they are newer.
pub(super) async fn migrate(shared: &Shared) -> Result<(), OpenError> {
    let connection = Bare::open(shared).await?;
    let (client, schema) = (&connection.client, shared.config.schema_in_sql());
    let schema = schema.as_str();
    let reading = within(shared, "read the version of the tables", version(client, schema));
    // A user who may not create anything can use what is there.
    if let Ok(found) = reading.await? {
        match judge(found)? {
            0 => {}
            _ if found == KNOWN => return Ok(()),
            _ => tracing::info!(from = found, to = KNOWN, "the tables of the store are migrated"),
        }
    }
    let mut backoff = Backoff::new(shared);
    for _ in 1..ATTEMPTS {
        match within(shared, "make the tables", make(client, schema)).await? {
            Ok(found) => return judge(found).map(drop),
            // Two who make the same thing at once get in each other's way at some servers.
            Err(error) => tracing::debug!(error = described(&error), "making the tables again"),
        }
        // Whatever state a failed step left.
        let _ = within(shared, "give up a migration", client.batch_execute("ROLLBACK")).await?;
        backoff.pause(Cause::Conflict).await;
    }
    let last = within(shared, "make the tables", make(client, schema)).await?;
    judge(last.map_err(|error| StorageFailure::new("make the tables", described(&error)))?)
        .map(drop)
}

/// The version, unless it is newer than this program.
fn judge(found: i32) -> Result<i32, OpenError> {
    match u64::try_from(found) {
        Ok(newer) if found > KNOWN => {
            Err(OpenError::UnknownFormat { found: newer, known: KNOWN.unsigned_abs().into() })
        }
        _ => Ok(found),
    }
}

async fn version(client: &Client, schema: &str) -> Result<i32, Error> {
    let newest = format!("SELECT max(version) FROM {schema}.migrations");
    let row = client.query_one(&newest, &[]).await?;
    Ok(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
}

/// Does what is not done yet, alone: version 0 is the row that everyone locks first.
async fn make(client: &Client, schema: &str) -> Result<i32, Error> {
    let begin = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; \
         CREATE TABLE IF NOT EXISTS {schema}.migrations \
         (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); \
         INSERT INTO {schema}.migrations (version) VALUES (0) ON CONFLICT (version) DO NOTHING"
    );
    client.batch_execute(&begin).await?;
    let lock = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \
         SELECT version FROM {schema}.migrations WHERE version = 0 FOR UPDATE"
    );
    client.batch_execute(&lock).await?;
    let found = version(client, schema).await?;
    for (migration, number) in MIGRATIONS.iter().zip(1..) {
        if number > found {
            client.batch_execute(&migration.replace("{schema}", schema)).await?;
            let done = format!("INSERT INTO {schema}.migrations (version) VALUES ({number})");
            client.batch_execute(&done).await?;
        }
    }
    client.batch_execute("COMMIT").await?;
    Ok(found)
}
