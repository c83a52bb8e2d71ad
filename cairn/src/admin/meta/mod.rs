//! `cairn admin meta`: backups of the catalog, and bringing it back.

pub(crate) mod args;
mod file;
mod nodes;
mod offline;
mod restore;
mod status;

use std::path::Path;

use self::args::Meta;
use super::Operator;
use super::args::Connection;
use crate::client::error::ClientError;

pub(super) async fn run(connection: &Connection, what: &Meta) -> Result<(), ClientError> {
    match what {
        Meta::Status(show) => status::run(&Operator::dial(connection)?, show).await,
        Meta::Export(export) if offline::is_named(&export.from) => offline::export(export).await,
        Meta::Export(export) => file::export(&Operator::dial(connection)?, export).await,
        Meta::Import(import) => offline::import(import).await,
        Meta::Restore(restore) => restore::run(restore).await,
        Meta::ReleaseSweep => status::release(&Operator::dial(connection)?).await,
    }
}

/// How a file is named in messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
