//! Alarm: the earliest time at which something must be looked at again.
//!
//! Key: time, subject. Lifetime: each open upload, finished upload and kept deletion has exactly one.
//! A lease that is renewed leaves its alarm alone: when it rings, it is set anew for the lease's real
//! end, so that progress costs no index write.

use cairn_core::ids::UploadId;

use super::deletion::DeletionKey;
use super::key::{KeyReader, KeyWriter};
use super::record::{Malformed, Record, Table};

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Upload(UploadId),
    Deletion(DeletionKey),
}

/// When to look at what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AlarmKey {
    pub(crate) due_ms: u64,
    pub(crate) subject: Subject,
}

/// All is in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alarm;

const UPLOAD: u8 = 1;
const DELETION: u8 = 2;

impl Record for Alarm {
    type Key = AlarmKey;
    const TABLE: Table = Table::Alarm;

    fn write_key(key: &AlarmKey, parts: &mut KeyWriter) {
        parts.u64(key.due_ms);
        match key.subject {
            Subject::Upload(id) => parts.byte(UPLOAD).id(id.as_bytes()),
            Subject::Deletion(DeletionKey(key)) => parts.byte(DELETION).id(&key),
        };
    }

    fn read_key(parts: &mut KeyReader<'_>) -> Result<AlarmKey, Malformed> {
        let due_ms = parts.u64()?;
        let subject = match parts.byte()? {
            UPLOAD => Subject::Upload(UploadId::from_slice(&parts.id()?)?),
            DELETION => Subject::Deletion(DeletionKey(parts.id()?)),
            _ => return Err(Malformed::new("the subject is not known")),
        };
        Ok(AlarmKey { due_ms, subject })
    }

    fn to_payload(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_payload(_: &[u8]) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::record::tests::round_trips;

    #[test]
    fn alarms_round_trip() {
        for subject in [
            Subject::Upload(UploadId::from_uuid(Uuid::from_u128(1))),
            Subject::Deletion(DeletionKey([7; 16])),
        ] {
            let due_ms = 77;
            round_trips(&AlarmKey { due_ms, subject }, &Alarm);
        }
    }
}
