//! The journal of metadata: wire types become domain types.

use cairn_core::journal::{JournalKept, JournalWriter, Position};
use uuid::Uuid;

use crate::InvalidField;
use crate::convert;
use crate::convert::bytes as id_bytes;
use crate::v1::{JournalPosition, MetaState, MetaWriter};

impl From<JournalPosition> for Position {
    fn from(position: JournalPosition) -> Self {
        let JournalPosition { branch, sequence, crc } = position;
        Self { branch, sequence, crc }
    }
}

impl From<Position> for JournalPosition {
    fn from(position: Position) -> Self {
        let Position { branch, sequence, crc } = position;
        Self { branch, sequence, crc }
    }
}

impl From<JournalWriter> for MetaWriter {
    fn from(writer: JournalWriter) -> Self {
        let JournalWriter { catalog, term, id } = writer;
        Self { catalog_id: id_bytes(catalog.as_bytes()), term, writer: id_bytes(id.as_bytes()) }
    }
}

/// Reads who writes.
///
/// # Errors
/// [`InvalidField`] when it is absent, or an id has not 16 bytes.
pub fn writer(by: Option<MetaWriter>) -> Result<JournalWriter, InvalidField> {
    let MetaWriter { catalog_id, term, writer } = convert::required("by", by)?;
    let catalog = convert::catalog_id(&catalog_id)?;
    let wrong = |error: uuid::Error| InvalidField::new("by.writer", error.to_string());
    Ok(JournalWriter { catalog, term, id: Uuid::from_slice(&writer).map_err(wrong)? })
}

impl From<JournalKept> for MetaState {
    fn from(kept: JournalKept) -> Self {
        let JournalKept { writer, copies, position, journal_bytes, backup_bytes } = kept;
        let by = writer.map(MetaWriter::from).unwrap_or_default();
        Self {
            catalog_id: by.catalog_id,
            term: by.term,
            writer: by.writer,
            copies,
            position: position.map(JournalPosition::from),
            journal_bytes,
            backup_bytes,
            node_id: bytes::Bytes::new(),
        }
    }
}

impl TryFrom<MetaState> for JournalKept {
    type Error = InvalidField;

    fn try_from(state: MetaState) -> Result<Self, InvalidField> {
        let MetaState { catalog_id, term, writer: id, copies, position, .. } = state;
        let (journal_bytes, backup_bytes) = (state.journal_bytes, state.backup_bytes);
        let writer = match catalog_id.is_empty() {
            true => None,
            false => Some(writer(Some(MetaWriter { catalog_id, term, writer: id }))?),
        };
        let position = position.map(Position::from);
        Ok(Self { writer, copies, position, journal_bytes, backup_bytes })
    }
}
