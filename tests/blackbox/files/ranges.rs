//! Parts of a file (RFC 9110, section 14).

use crate::harness::{Answer, Content, Up};

/// Several chunks of 64 KiB and a short one.
const FILE: Content = Content::new(3, 300_000);

async fn stored() -> Up {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let stored = up.edge.http().put("/v1/files/parts", FILE).await;
    stored.expect(201);
    up
}

async fn ask(up: &Up, range: &str) -> Answer {
    let request = up.edge.http().request("GET", "/v1/files/parts");
    request.header("range", range).answer().await
}

#[tokio::test]
async fn one_range_is_sent_as_asked() {
    let up = stored().await;
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=65536-131071", 65_536, 131_072),
        ("bytes=1-299998", 1, 299_999),
        ("bytes=5-", 5, 300_000),
        ("bytes=-7", 299_993, 300_000),
        ("bytes=-999999", 0, 300_000),
        ("bytes=299999-299999", 299_999, 300_000),
        ("bytes=299990-999999", 299_990, 300_000),
        ("bytes=0-18446744073709551615", 0, 300_000),
    ] {
        let answer = ask(&up, range).await.expect(206);
        let stated = answer.must_have("content-range");
        assert_eq!(stated, format!("bytes {from}-{}/300000", to - 1), "{range}");
        let length = answer.must_have("content-length");
        assert_eq!(length, (to - from).to_string(), "{range}");
        assert_eq!(answer.body, FILE.bytes(from, to), "{range}");
    }
}

#[tokio::test]
async fn a_range_past_the_end_is_refused_with_the_length() {
    let up = stored().await;
    for range in ["bytes=300000-", "bytes=300000-300001", "bytes=-0"] {
        let answer = ask(&up, range).await.expect(416);
        assert_eq!(answer.must_have("content-range"), "bytes */300000");
        answer.problem(416);
    }
    let empty = Content::new(0, 0);
    let http = up.edge.http();
    http.put("/v1/files/empty", empty).await.expect(201);
    let request = http.request("GET", "/v1/files/empty");
    let answer = request.header("range", "bytes=0-").answer().await;
    let answer = answer.expect(416);
    assert_eq!(answer.must_have("content-range"), "bytes */0");
}

/// The parts of a multipart answer: Content-Range and bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let kind = answer.must_have("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.unwrap_or_else(|| panic!("{kind}")).trim_matches('"');
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut body = b"\r\n".to_vec();
    body.extend_from_slice(&answer.body);
    let mut at: Vec<usize> = body
        .windows(delimiter.len())
        .enumerate()
        .filter_map(|(at, window)| (window == delimiter).then_some(at))
        .collect();
    let last = at.pop().expect("a last delimiter");
    assert!(body[last + delimiter.len()..].starts_with(b"--"));
    let ends = at.iter().copied().skip(1).chain([last]);
    let part = |(from, to): (&usize, usize)| {
        let part = &body[from + delimiter.len() + 2..to];
        let split = part.windows(4).position(|window| window == b"\r\n\r\n");
        let split = split.expect("an empty line after the part's headers");
        let head = String::from_utf8_lossy(&part[..split]).to_lowercase();
        let range = head.lines().find_map(|line| line.strip_prefix("content-range: "));
        (range.expect("Content-Range").to_owned(), part[split + 4..].to_vec())
    };
    at.iter().zip(ends).map(part).collect()
}

#[tokio::test]
async fn several_ranges_are_sent_as_multipart() {
    let up = stored().await;
    let answer = ask(&up, "bytes=0-4, 100000-165535,-3,400000-").await;
    let answer = answer.expect(206);
    let length = answer.must_have("content-length");
    assert_eq!(length, answer.body.len().to_string());
    let expected: Vec<(String, Vec<u8>)> = [(0, 5), (100_000, 165_536), (299_997, 300_000)]
        .map(|(from, to)| {
            let range = format!("bytes {from}-{}/300000", to - 1);
            (range, FILE.bytes(from, to).to_vec())
        })
        .to_vec();
    assert!(parts(&answer) == expected, "{:?}", answer.headers);
    let none = ask(&up, "bytes=300000-,400000-").await.expect(416);
    assert_eq!(none.must_have("content-range"), "bytes */300000");
}

#[tokio::test]
async fn a_flood_of_ranges_does_not_cost_the_server_more_than_the_file() {
    let up = stored().await;
    let mut range = "bytes=0-".to_owned();
    (0..1000).for_each(|from| range.push_str(&format!(",{from}-")));
    let answer = ask(&up, &range).await;
    assert!([200, 206, 400, 416].contains(&answer.status), "{}", answer.status);
    assert!(answer.body.len() < 2 * 300_000, "{}", answer.body.len());
}

#[tokio::test]
async fn an_unknown_unit_is_ignored() {
    let up = stored().await;
    let answer = ask(&up, "lines=1-2").await.expect(200);
    assert_eq!(answer.body.len(), 300_000);
}

#[tokio::test]
async fn if_range_decides_between_part_and_whole() {
    let up = stored().await;
    let http = up.edge.http();
    let head = http.request("HEAD", "/v1/files/parts").answer().await;
    let (etag, modified) = (head.must_have("etag"), head.must_have("last-modified"));
    let old = "Thu, 01 Jan 1970 00:00:01 GMT";
    for (validator, status) in [
        (etag, 206),
        ("\"another\"", 200),
        (&format!("W/{etag}"), 200),
        // Two versions may be of one second.
        (modified, 200),
        (old, 200),
    ] {
        let request = http.request("GET", "/v1/files/parts");
        let request = request.header("range", "bytes=10-19");
        let answer = request.header("if-range", validator).answer().await;
        assert_eq!(answer.status, status, "If-Range: {validator}");
    }
}
