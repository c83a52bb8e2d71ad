//! [`Client`] over REST.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::http::Request;
use super::{Answer, Client, Condition, Content, FileInfo, Http, Listed, Refusal, Stored, base64};

/// What is percent-encoded: all but the unreserved bytes and the slash.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_');

/// The path of a file.
pub(crate) fn path(bucket: &str, key: &str) -> String {
    let key = utf8_percent_encode(key, IN_PATH);
    format!("/v1/buckets/{bucket}/files/{key}")
}

#[derive(Debug)]
pub(crate) struct OverRest {
    http: Http,
}

impl OverRest {
    pub(crate) const fn new(http: Http) -> Self {
        Self { http }
    }
}

fn with_condition(request: Request, condition: &Condition) -> Request {
    match condition {
        Condition::Always => request,
        Condition::MustNotExist => request.header("if-none-match", "*"),
        Condition::MustExist => request.header("if-match", "*"),
        Condition::Match(etag) => request.header("if-match", &format!("\"{etag}\"")),
        Condition::NoneMatch(etag) => request.header("if-none-match", &format!("\"{etag}\"")),
    }
}

/// The type of a problem.
fn kind(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().to_owned()
}

fn refusal(answer: &Answer) -> Refusal {
    match answer.status {
        404 if kind(answer).contains("bucket") => Refusal::BucketNotFound,
        404 => Refusal::FileNotFound,
        409 => Refusal::Exists,
        412 => Refusal::Precondition,
        400 | 416 => Refusal::Invalid,
        507 => Refusal::Quota,
        status => Refusal::Other(format!("{status} {}", answer.text())),
    }
}

fn etag(answer: &Answer) -> String {
    answer.must_have("etag").trim_matches('"').to_owned()
}

/// The bytes behind `sha-256=:…:`, found by trying what they would be written as.
fn unbase64(text: &str) -> [u8; 32] {
    let value =
        |letter: u8| (0..64_u8).find(|value| base64(&[*value << 2]).as_bytes()[0] == letter);
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().map_while(value) {
        word = (word << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xFF) as u8);
        }
    }
    let read = <[u8; 32]>::try_from(bytes.as_slice());
    read.unwrap_or_else(|_| panic!("{text:?} is no SHA-256"))
}

fn sha256_of(answer: &Answer) -> [u8; 32] {
    let text = answer.must_have("repr-digest");
    let inner = text.strip_prefix("sha-256=:");
    let inner = inner.and_then(|text| text.strip_suffix(':'));
    unbase64(inner.unwrap_or_else(|| panic!("{text:?} is no Repr-Digest of SHA-256")))
}

impl Client for OverRest {
    async fn put(
        &mut self,
        bucket: &str,
        key: &str,
        content: Content,
        meta: &[(&str, &str)],
        condition: Condition,
    ) -> Result<Stored, Refusal> {
        // POST is how REST says "only if it is new" in words that get a 409.
        let method = match condition {
            Condition::MustNotExist => "POST",
            _ => "PUT",
        };
        let mut request = self.http.request(method, &path(bucket, key)).content(content);
        if method == "PUT" {
            request = with_condition(request, &condition);
        }
        for (name, value) in meta {
            request = match *name {
                "content-type" => request.header(name, value),
                _ => request.header(&format!("cairn-meta-{name}"), value),
            };
        }
        let answer = request.answer().await;
        match answer.status {
            200 | 201 => Ok(Stored {
                replaced: answer.status == 200,
                etag: etag(&answer),
                receipt: answer.must_have("cairn-receipt").to_owned(),
            }),
            _ => Err(refusal(&answer)),
        }
    }

    async fn get(
        &mut self,
        bucket: &str,
        key: &str,
        offset: u64,
        length: u64,
    ) -> Result<(u64, [u8; 32]), Refusal> {
        let range = match (offset, length) {
            (0, 0) => None,
            (_, 0) => Some(format!("bytes={offset}-")),
            _ => Some(format!("bytes={offset}-{}", offset + length - 1)),
        };
        let mut request = self.http.request("GET", &path(bucket, key));
        if let Some(range) = range {
            request = request.header("range", &range);
        }
        let download = request.send().await;
        match download.status {
            200 | 206 => Ok(download.digest().await),
            _ => Err(refusal(&download.collect().await)),
        }
    }

    async fn stat(&mut self, bucket: &str, key: &str) -> Result<FileInfo, Refusal> {
        let path = path(bucket, key);
        let answer = self.http.request("HEAD", &path).answer().await;
        if answer.status != 200 {
            // The answer to HEAD has no body that would tell which: ask GET.
            return Err(refusal(&self.http.get(&path).await));
        }
        let length = answer.must_have("content-length");
        let meta: BTreeMap<String, String> = answer
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let name = name.as_str().strip_prefix("cairn-meta-")?;
                Some((name.to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect();
        Ok(FileInfo {
            length: length.parse().expect("a length"),
            etag: etag(&answer),
            sha256: sha256_of(&answer),
            content_type: answer.must_have("content-type").to_owned(),
            meta,
        })
    }

    async fn list(
        &mut self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &str,
        limit: u32,
    ) -> Result<Listed, Refusal> {
        let mut path = format!("/v1/buckets/{bucket}/files?list");
        for (name, value) in [("prefix", prefix), ("delimiter", delimiter), ("after", after)] {
            if !value.is_empty() {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                path = format!("{path}&{name}={value}");
            }
        }
        if limit > 0 {
            path = format!("{path}&limit={limit}");
        }
        let answer = self.http.get(&path).await;
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        let json = answer.json();
        let texts = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let files = json["files"].as_array().expect("files").iter();
        Ok(Listed {
            files: files
                .map(|file| {
                    let key = texts(&file["key"]).expect("key");
                    let length = file["length"].as_u64().expect("length");
                    (key, length, texts(&file["sha256"]).expect("sha256"))
                })
                .collect(),
            prefixes: json["prefixes"]
                .as_array()
                .expect("prefixes")
                .iter()
                .filter_map(texts)
                .collect(),
            next_after: texts(&json["next_after"]),
        })
    }

    async fn delete(
        &mut self,
        bucket: &str,
        key: &str,
        condition: Condition,
    ) -> Result<(), Refusal> {
        let request = self.http.request("DELETE", &path(bucket, key));
        let answer = with_condition(request, &condition).answer().await;
        match answer.status {
            204 => Ok(()),
            _ => Err(refusal(&answer)),
        }
    }
}

#[test]
fn a_digest_is_read_back() {
    let digest = super::sha256(b"cairn");
    assert_eq!(unbase64(&base64(&digest)), digest);
}
