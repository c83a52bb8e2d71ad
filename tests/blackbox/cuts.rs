//! Uploads that are broken off leave nothing behind.

use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{PutFileHeader, PutFileRequest, put_file_request};
use futures_util::{StreamExt, stream};

use crate::harness::{
    Content, Cut, Draw, Parts, PartsPlan, assert_nodes_hold_what_the_catalog_names, channel,
    eventually,
};

const CHUNK: u64 = 64 << 10;
const FILE: u64 = 1_000_000;
/// A gateway gathers 8 MiB of a body of unknown length before it begins the upload: this is longer.
const LONG: u64 = 12 << 20;
const KEPT: Content = Content::new(1, FILE);

async fn start() -> Parts {
    let plan = PartsPlan::new(3, 2).chunk_size(CHUNK);
    let plan = plan.master_flag("--lease", "3s");
    let parts = plan.start().await;
    let kept = parts.edge.http().put("/v1/files/kept", KEPT).await;
    kept.expect(201);
    parts
}

/// What a client would send for a whole file; one of unknown length is long.
fn request(path: &str, seed: u64, chunked: bool) -> Vec<u8> {
    let head = format!("PUT {path} HTTP/1.1\r\nhost: cairn\r\n");
    let content = Content::new(seed, if chunked { LONG } else { FILE });
    let body = content.all();
    if !chunked {
        let head = format!("{head}content-length: {}\r\n\r\n", content.length);
        return [head.as_bytes(), &body].concat();
    }
    let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(10_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Sends a part of an upload and breaks it off. Half of them aim at a name that exists.
async fn cut_one(parts: &Parts, nth: u64, draw: &mut Draw) {
    let path = match nth % 2 {
        0 => format!("/v1/files/cut/{nth}"),
        _ => "/v1/files/kept".to_owned(),
    };
    let whole = request(&path, 100 + nth, draw.below(2) == 0);
    let cut_at = draw.below(whole.len() as u64) as usize;
    let cut = match draw.below(2) {
        0 => Cut::Close,
        _ => Cut::Reset,
    };
    let mut raw = parts.edge.raw().await;
    raw.send(&whole[..cut_at]).await;
    raw.cut(cut);
}

/// A gRPC upload whose client goes away in the middle.
async fn drop_one_stream(parts: &Parts, nth: u64, draw: &mut Draw) {
    let mut client = FilesClient::new(channel(parts.edge.gateway).await);
    let content = Content::new(200 + nth, LONG);
    let header = PutFileHeader {
        key: format!("cut/grpc/{nth}"),
        length: nth.is_multiple_of(2).then_some(LONG),
        ..PutFileHeader::default()
    };
    let header = put_file_request::Part::Header(header);
    let frames = content.frames().map(put_file_request::Part::Data);
    let sent = stream::iter(
        std::iter::once(header)
            .chain(frames)
            .take(1 + draw.below(48) as usize)
            .map(|part| PutFileRequest { part: Some(part) }),
    );
    let open = tokio::spawn(async move { client.put(sent.chain(stream::pending())).await });
    let mut admin = parts.edge.admin().await;
    if nth.is_multiple_of(2) {
        eventually(30, "the upload is open", async || {
            let open = admin.uploads().await;
            open.first().map(|_| ()).ok_or_else(|| "none".to_owned())
        })
        .await;
    }
    open.abort();
}

async fn nothing_is_left_of(parts: &Parts) {
    parts.edge.settle().await;
    let http = parts.edge.http();
    let listed = http.get("/v1/files?list").await.expect(200).json();
    let files = listed["files"].as_array().expect("files");
    assert_eq!(files.len(), 1, "visible: {files:?}");
    let kept = http.get("/v1/files/kept").await.expect(200);
    assert!(kept.body == KEPT.all(), "the kept file changed");
    let copies = assert_nodes_hold_what_the_catalog_names(parts).await;
    assert_eq!(copies as u64, 2 * FILE.div_ceil(CHUNK), "of one file");
    let account = parts.edge.admin().await.bucket_account().await;
    assert_eq!((account.used_bytes, account.used_objects), (FILE, 1));
}

/// Cuts this many uploads and checks that nothing is left.
pub(crate) async fn cut_uploads(count: u64) {
    let parts = start().await;
    let mut draw = Draw::new(20_240_229);
    for nth in 0..count {
        cut_one(&parts, nth, &mut draw).await;
    }
    for nth in 0..count.div_ceil(5) {
        drop_one_stream(&parts, nth, &mut draw).await;
    }
    nothing_is_left_of(&parts).await;
}

#[tokio::test]
async fn uploads_cut_at_random_points_leave_nothing() {
    cut_uploads(20).await;
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_no_file() {
    let parts = start().await;
    let mut raw = parts.edge.raw().await;
    let whole = request("/v1/files/short", 5, false);
    assert!(raw.send(&whole[..whole.len() - 1]).await);
    raw.finish().await;
    if let Some(answer) = raw.try_answer().await {
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    nothing_is_left_of(&parts).await;
}

#[tokio::test]
async fn a_gateway_killed_during_uploads_leaves_nothing() {
    let mut parts = start().await;
    let mut open = Vec::new();
    for nth in 0..4 {
        let path = format!("/v1/files/cut/{nth}");
        let whole = request(&path, nth, nth.is_multiple_of(2));
        let mut raw = parts.edge.raw().await;
        assert!(raw.send(&whole[..whole.len() / 10 * 9]).await);
        open.push(raw);
    }
    let mut admin = parts.edge.admin().await;
    eventually(30, "the uploads are open", async || match admin.uploads().await.len() {
        4 => Ok(()),
        open => Err(format!("{open} are")),
    })
    .await;
    parts.gateway.kill();
    parts.start_gateway().await;
    nothing_is_left_of(&parts).await;
}
