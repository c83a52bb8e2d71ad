//! `cairn admin uploads`.

use std::time::Duration;

use cairn_proto::v1::{ListUploadsRequest, OpenUpload};
use serde::Serialize;

use super::args::Show;
use super::{Operator, id};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Upload<'a> {
    upload: String,
    bucket: &'a str,
    key: &'a str,
    reserved_bytes: u64,
    confirmed_bytes: u64,
    lease_until_ms: u64,
}

fn upload(open: &OpenUpload) -> Upload<'_> {
    Upload {
        upload: id(&open.upload_id),
        bucket: &open.bucket,
        key: &open.key,
        reserved_bytes: open.reserved_bytes,
        confirmed_bytes: open.confirmed_bytes,
        lease_until_ms: open.lease_until_ms,
    }
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let uploads = all(operator).await?;
    if show.json {
        return uploads.iter().try_for_each(|open| operator.output.json(&upload(open)));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("UPLOAD", left),
        ("BUCKET", left),
        ("RESERVED", right),
        ("CONFIRMED", right),
        ("LEASE", right),
        ("KEY", left),
    ]);
    let now = operator.clock.wall_ms();
    for open in &uploads {
        let upload = upload(open);
        table.row(vec![
            upload.upload,
            upload.bucket.to_owned(),
            bytes_as(upload.reserved_bytes, show.bytes),
            bytes_as(upload.confirmed_bytes, show.bytes),
            lease(upload.lease_until_ms, now),
            upload.key.to_owned(),
        ]);
    }
    operator.table(&table)
}

/// What is left of a lease, in whole seconds.
fn lease(until_ms: u64, now_ms: u64) -> String {
    match until_ms.saturating_sub(now_ms) {
        0 => "over".to_owned(),
        left => humantime::format_duration(Duration::from_secs(left.div_ceil(1000))).to_string(),
    }
}

async fn all(operator: &Operator) -> Result<Vec<OpenUpload>, ClientError> {
    let mut uploads: Vec<OpenUpload> = Vec::new();
    loop {
        let after = uploads.last().map(|last| last.upload_id.clone()).unwrap_or_default();
        let mut calls = operator.calls.clone();
        let call = calls.list_uploads(ListUploadsRequest { after, limit: 0 });
        let page = operator.answer("list uploads", call).await?;
        let ended = !page.more || page.uploads.is_empty();
        uploads.extend(page.uploads);
        if ended {
            return Ok(uploads);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_told_in_what_is_left() {
        assert_eq!(lease(61_500, 0), "1m 2s");
        assert_eq!(lease(5, 5), "over");
        assert_eq!(lease(0, 5), "over");
    }
}
