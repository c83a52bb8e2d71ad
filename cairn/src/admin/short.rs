//! `cairn admin short`.

use cairn_proto::v1::{ChunkCopies, ListShortChunksRequest};
use serde::Serialize;

use super::args::Show;
use super::{Operator, id};
use crate::client::error::ClientError;
use crate::human::{Side, Table, bytes_as};

#[derive(Serialize)]
struct Short {
    blob: String,
    index: u32,
    bytes: u64,
    wanted: u32,
    good: Vec<String>,
    bad: Vec<String>,
}

fn short(copies: &ChunkCopies) -> Short {
    let ids = |nodes: &[bytes::Bytes]| nodes.iter().map(|node| id(node)).collect();
    let chunk = copies.chunk.clone().unwrap_or_default();
    Short {
        blob: id(&chunk.blob_id),
        index: chunk.index,
        bytes: copies.length,
        wanted: copies.wanted,
        good: ids(&copies.good),
        bad: ids(&copies.bad),
    }
}

pub(super) async fn run(operator: &Operator, show: &Show) -> Result<(), ClientError> {
    let chunks = all(operator).await?;
    if show.json {
        return chunks.iter().try_for_each(|copies| operator.output.json(&short(copies)));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("BLOB", left),
        ("CHUNK", right),
        ("LENGTH", right),
        ("WANTED", right),
        ("GOOD", right),
        ("BAD ON", left),
    ]);
    for copies in &chunks {
        let short = short(copies);
        table.row(vec![
            short.blob,
            short.index.to_string(),
            bytes_as(short.bytes, show.bytes),
            short.wanted.to_string(),
            short.good.len().to_string(),
            short.bad.join(" "),
        ]);
    }
    operator.table(&table)
}

async fn all(operator: &Operator) -> Result<Vec<ChunkCopies>, ClientError> {
    let (mut chunks, mut after) = (Vec::new(), None);
    loop {
        let mut calls = operator.calls.clone();
        let call = calls.list_short_chunks(ListShortChunksRequest { after, limit: 0 });
        let page = operator.answer("list short chunks", call).await?;
        chunks.extend(page.chunks);
        after = page.next_after;
        if after.is_none() {
            return Ok(chunks);
        }
    }
}
