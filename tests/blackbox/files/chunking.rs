//! How a file is cut is asked for by its request: `equal(N)`.

use cairn_proto::v1::files_client::FilesClient;
use cairn_proto::v1::{
    ChunkRun, Chunking, PutFileHeader, PutFileRequest, chunking, put_file_request,
};
use futures_util::stream;

use crate::harness::{Answer, Content, Http, Up, channel};

const MIB: u64 = 1 << 20;
/// Bytes of a file, and the lengths of the chunks that six equal parts make of it: around the parts, and beyond what
/// the cluster would take as one chunk.
const CASES: [(u64, &str); 6] = [
    (0, ""),
    (3, "3"),
    (6, "1;n=6"),
    (8, "1;n=5, 3"),
    (9007, "1501;n=5, 1502"),
    (60 * MIB + 5, "10485760;n=5, 10485765"),
];

async fn put(http: Http, path: &str, content: Content, rule: &str) -> Answer {
    http.request("PUT", path).header("cairn-chunking", rule).content(content).answer().await
}

async fn comes_back(http: Http, path: &str, content: Content, chunks: &str) {
    let got = http.get(path).await.expect(200);
    assert_eq!(got.header("cairn-chunks").unwrap_or_default(), chunks, "{path}");
    assert_eq!(got.body, content.all(), "{path}");
    let (length, part) = (content.length, content.length / 6);
    for from in [0, part.saturating_sub(1), 5 * part, length.saturating_sub(2)] {
        let to = (from + part + 2).min(length);
        if from < to {
            let request = http.request("GET", path);
            let request = request.header("range", &format!("bytes={from}-{}", to - 1));
            let ranged = request.answer().await.expect(206);
            assert_eq!(ranged.body, content.bytes(from, to), "{path}: {from} to {to}");
        }
    }
}

#[tokio::test]
async fn equal_parts_over_rest_come_back_whole_and_in_ranges() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (length, chunks) in CASES {
        let (content, path) = (Content::new(length, length), format!("/v1/files/rest/{length}"));
        put(http, &path, content, "equal(6)").await.expect(201);
        comes_back(http, &path, content, chunks).await;
    }
    let content = Content::new(1, 100);
    http.put("/v1/files/as-the-cluster-does", content).await.expect(201);
    comes_back(http, "/v1/files/as-the-cluster-does", content, "100").await;
}

#[tokio::test]
async fn equal_parts_over_grpc_come_back_whole_and_in_ranges() {
    let up = Up::start().await;
    let mut client = FilesClient::new(channel(up.edge.gateway).await);
    for (length, chunks) in CASES {
        let content = Content::new(length, length);
        let header = PutFileHeader {
            key: format!("grpc/{length}"),
            length: Some(length),
            chunking: Some(Chunking { rule: Some(chunking::Rule::Equal(6)) }),
            ..PutFileHeader::default()
        };
        let data = (0..length).step_by(MIB as usize).map(|from| {
            put_file_request::Part::Data(content.bytes(from, (from + MIB).min(length)))
        });
        let parts: Vec<_> =
            std::iter::once(put_file_request::Part::Header(header)).chain(data).collect();
        let parts = parts.into_iter().map(|part| PutFileRequest { part: Some(part) });
        let stored = client.put(stream::iter(parts)).await.expect("stored").into_inner();
        let count = |run: &ChunkRun| run.count;
        let told: u32 = stored.file.expect("the file").chunks.iter().map(count).sum();
        assert_eq!(u64::from(told), if length < 6 { length.min(1) } else { 6 });
        comes_back(up.edge.http(), &format!("/v1/files/grpc/{length}"), content, chunks).await;
    }
}

#[tokio::test]
async fn equal_parts_of_an_unannounced_length_are_refused_however_short_the_body_is() {
    let up = Up::start().await;
    let http = up.edge.http();
    for length in [10, 4 * MIB] {
        let request = http.request("PUT", "/v1/files/a").header("cairn-chunking", "equal(6)");
        let request = request.content_of_unknown_length(Content::new(1, length));
        let detail = request.answer().await.problem(400);
        assert!(detail.contains("length"), "{detail}");
    }
    http.get("/v1/files/a").await.problem(404);
    up.edge.settle().await;
}
