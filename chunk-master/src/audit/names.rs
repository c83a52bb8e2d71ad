//! Names, versions and uploads: every record that names another is answered by it.

use std::collections::BTreeMap;

use super::Records;
use crate::catalog::{CondemnedKey, HeadKey, Subject, VersionState};

pub(super) fn check(records: &Records, contradictions: &mut Vec<String>) {
    heads(records, contradictions);
    versions(records, contradictions);
    alarms(records, contradictions);
}

/// A head names a current version of its own name, with what lists show of it.
fn heads(records: &Records, contradictions: &mut Vec<String>) {
    for (key, head) in &records.heads {
        let HeadKey { tenant, bucket, key: name, .. } = key;
        let version =
            records.versions.iter().find(|(k, _)| k.tenant == *tenant && k.version == head.version);
        let fits = version.is_some_and(|(_, version)| {
            let info = &version.info;
            version.state == VersionState::Current
                && (&info.bucket, &info.key) == (bucket, name)
                && (info.length, &info.etag, info.root) == (head.length, &head.etag, head.root)
        });
        if !fits {
            contradictions
                .push(format!("the name {name} points at {}, which is not so", head.version));
        }
        let twice =
            records.heads.iter().filter(|(other, _)| (&other.bucket, &other.key) == (bucket, name));
        if twice.count() > 1 {
            contradictions.push(format!("the name {name} has several current versions"));
        }
    }
}

/// A current version has a head, a condemned one a place in the queue, and nothing else is in that queue.
fn versions(records: &Records, contradictions: &mut Vec<String>) {
    for (key, version) in &records.versions {
        let heads = records.heads.iter().filter(|(_, head)| head.version == key.version).count();
        let waits: Vec<u64> = records
            .condemned
            .iter()
            .filter(|(k, _)| k.version == key.version)
            .map(|(k, _)| k.until_ms)
            .collect();
        let fits = match version.state {
            VersionState::Current => heads == 1 && waits.is_empty(),
            VersionState::Condemned { until_ms, .. } => heads == 0 && waits == [until_ms],
        };
        if !fits {
            let state = version.state;
            contradictions.push(format!(
                "version {} is {state:?}, {heads} names point at it, and it waits since {waits:?}",
                key.version
            ));
        }
    }
    for (CondemnedKey { version, .. }, _) in &records.condemned {
        if !records.versions.iter().any(|(key, _)| key.version == *version) {
            contradictions.push(format!("version {version} waits to be purged, and there is none"));
        }
    }
}

/// Uploads, their ends and deletions have one alarm each, and there are no others.
fn alarms(records: &Records, contradictions: &mut Vec<String>) {
    let mut rings: BTreeMap<String, i32> = BTreeMap::new();
    for (alarm, _) in &records.alarms {
        *rings.entry(format!("{:?}", alarm.subject)).or_default() += 1;
    }
    let uploads = records.uploads.iter().map(|(id, _)| Subject::Upload(*id));
    let finished = records.finished.iter().map(|(id, _)| Subject::Upload(*id));
    let deletions = records.deletions.iter().map(|(call, _)| Subject::Deletion(*call));
    for subject in uploads.chain(finished).chain(deletions) {
        *rings.entry(format!("{subject:?}")).or_default() -= 1;
    }
    for (subject, left) in rings.into_iter().filter(|(_, left)| *left != 0) {
        contradictions.push(format!("{subject} has {} alarms", left + 1));
    }
}
