//! ListObjects.

use cairn_core::names::ObjectKey;
use cairn_kv::Snapshot;
use cairn_proto::v1::{ListEntry, ListObjectsRequest, ListObjectsResponse, list_entry};
use cairn_proto::{InvalidField, convert};
use tonic::Status;

use super::{bucket_key, invalid};
use crate::master::Master;
use crate::object::list::{Entry, List, MAX_ENTRIES, list};

/// A part of a name: empty, or what a name may begin with.
fn part(field: &'static str, text: String) -> Result<String, InvalidField> {
    if text.is_empty() {
        return Ok(text);
    }
    let key =
        ObjectKey::new(text).map_err(|problem| InvalidField::new(field, problem.to_string()))?;
    Ok(key.into_string())
}

fn parse(request: ListObjectsRequest) -> Result<List, InvalidField> {
    let principal = convert::principal(request.principal)?;
    let limit = match request.limit as usize {
        0 => MAX_ENTRIES,
        limit if limit <= MAX_ENTRIES => limit,
        limit => {
            let problem = format!("{limit}: ask for at most {MAX_ENTRIES}");
            return Err(InvalidField::new("limit", problem));
        }
    };
    Ok(List {
        bucket: bucket_key(&principal, &request.bucket)?,
        prefix: part("prefix", request.prefix)?,
        delimiter: part("delimiter", request.delimiter)?,
        after: part("after", request.after)?,
        limit,
    })
}

pub(super) async fn list_objects(
    master: &Master,
    request: ListObjectsRequest,
) -> Result<ListObjectsResponse, Status> {
    let request = parse(request).map_err(|field| invalid(&field))?;
    let closure = move |view: &Snapshot<'_>| list(view, &request);
    let listed = master.view(closure).await?;
    master.metrics.listed(listed.records);
    let entry = |entry: Entry| ListEntry {
        entry: Some(match entry {
            Entry::Object(object) => list_entry::Entry::Object(object.as_ref().into()),
            Entry::CommonPrefix(prefix) => list_entry::Entry::CommonPrefix(prefix),
        }),
    };
    Ok(ListObjectsResponse {
        entries: listed.entries.into_iter().map(entry).collect(),
        next_after: listed.next_after,
    })
}
