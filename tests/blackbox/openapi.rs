//! `GET /openapi.json` says what the gateway does. Every answer that any test gets is held against it
//! (`harness/documented.rs`); here each operation and each status of it is asked for.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Answer, Content, Http, Up, base64, documented, sha256};

const METHODS: [&str; 9] =
    ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];

/// Statuses that need a fault, or more than a test sends; the themes `faults` and `quota` meet some of them.
const NOT_ASKED_FOR: [&str; 2] = ["500", "503"];

fn sample(template: &str) -> String {
    template.replace("{bucket}", "default").replace("{key}", "a/b")
}

#[tokio::test]
async fn the_document_is_openapi_and_is_served() {
    let up = Up::start().await;
    let served = up.edge.http().get("/openapi.json").await.expect(200);
    assert_eq!(served.must_have("content-type"), "application/json");
    let document = served.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, *documented::document());
}

#[tokio::test]
async fn a_method_is_served_when_and_only_when_it_is_documented() {
    let up = Up::start().await;
    let http = up.edge.http();
    for (template, item) in documented::paths() {
        let path = sample(template);
        let mut allowed = BTreeSet::new();
        for method in METHODS {
            let answer = http.request(method, &path).answer().await;
            let known = item.get(method.to_lowercase()).is_some();
            assert_eq!(answer.status != 405, known, "{method} {path}: {}", answer.status);
            if known {
                allowed.insert(method);
            } else {
                let told = answer.must_have("allow").to_owned();
                let told: BTreeSet<_> = told.split(", ").collect();
                let documented: BTreeSet<_> = METHODS
                    .into_iter()
                    .filter(|one| item.get(one.to_lowercase()).is_some())
                    .collect();
                assert_eq!(told, documented, "{method} {path}");
            }
        }
        assert!(!allowed.is_empty(), "{template} takes nothing");
    }
}

#[tokio::test]
async fn a_path_that_is_not_documented_is_not_served() {
    let up = Up::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/file",
        "/v1/filesystem",
        "/v1/bucket",
        "/v1/buckets/default/",
        "/v1/buckets/default/file",
        "/v1/uploads",
        "/v2/files/a",
        "/openapi",
        "/openapi.json/",
        "/openapi.yaml",
        "/healthz",
        "/readyz",
        "/metrics",
        "/admin",
        "/favicon.ico",
    ] {
        assert!(documented::operation("GET", path).is_none(), "{path}: take it off this list");
        for method in ["GET", "PUT", "POST", "DELETE"] {
            up.edge.http().request(method, path).answer().await.problem(404);
        }
    }
}

/// What is seen of each operation.
#[derive(Default)]
struct Seen(BTreeSet<(String, String)>);

impl Seen {
    /// Sends a request; the harness holds the answer against the document, this its problem as well.
    async fn ask(
        &mut self,
        http: Http,
        line: &str,
        headers: &[(&str, &str)],
        content: Content,
        status: u16,
    ) -> Answer {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request = http.request(method, path).content(content);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.saw(line, request.answer().await.expect(status))
    }

    /// As [`Self::ask`], with a body of JSON.
    async fn ask_json(&mut self, http: Http, line: &str, body: &str, status: u16) -> Answer {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let answer = http.request(method, path).text(body).answer().await;
        self.saw(line, answer.expect(status))
    }

    fn saw(&mut self, line: &str, answer: Answer) -> Answer {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let status = answer.status;
        let path = path.split('?').next().unwrap_or_default();
        let operation = documented::operation(method, path).expect("an operation");
        if status >= 400 && method != "HEAD" {
            is_a_documented_problem(operation, &answer);
        }
        let id = operation["operationId"].as_str().expect("an id");
        self.0.insert((id.to_owned(), status.to_string()));
        answer
    }
}

fn is_a_documented_problem(operation: &Value, answer: &Answer) {
    let of_status = &operation["responses"][answer.status.to_string()];
    let schema = &of_status["content"]["application/problem+json"]["schema"];
    let kinds = schema["allOf"][1]["properties"]["type"]["enum"].as_array().expect("types");
    let problem = answer.json();
    assert!(kinds.contains(&problem["type"]), "{problem}: documented are {kinds:?}");
    let known = documented::document()["components"]["schemas"]["Problem"]["properties"].clone();
    for name in problem.as_object().expect("an object").keys() {
        assert!(known.get(name).is_some(), "{name} of a problem is not documented");
    }
}

/// All that a client can meet with the files of one bucket; `base` is the path of its list.
async fn meet_all(seen: &mut Seen, up: &Up, base: &str) {
    let http = up.edge.http();
    let (none, file) = (Content::new(0, 0), Content::new(7, 1000));
    let a = format!("{base}/a");
    let line = |method: &str, rest: &str| format!("{method} {base}{rest}");
    let digest = format!("sha-256=:{}:", base64(&sha256(&file.all())));
    let on_a = |method: &str| format!("{method} {a}");

    // Stored, replaced, refused.
    let meta = [("content-type", "text/plain"), ("cairn-meta-by", "us"), ("repr-digest", &*digest)];
    seen.ask(http, &on_a("PUT"), &meta, file, 201).await;
    let stored = seen.ask(http, &on_a("PUT"), &[("if-match", "*")], file, 200).await;
    let etag = stored.must_have("etag").to_owned();
    seen.ask(http, &on_a("PUT"), &[("if-none-match", "*")], file, 412).await;
    seen.ask(http, &on_a("PUT"), &[("if-match", "bare")], file, 400).await;
    seen.ask(http, &on_a("PUT"), &[("repr-digest", &digest)], Content::new(8, 1000), 400).await;
    seen.ask(http, &line("POST", "/b"), &[], file, 201).await;
    seen.ask(http, &line("POST", "/b"), &[], file, 409).await;
    seen.ask(http, &line("POST", "/c"), &[("repr-digest", "sha-256=:x:")], file, 400).await;

    // Read.
    for method in ["GET", "HEAD"] {
        seen.ask(http, &on_a(method), &[], none, 200).await;
        seen.ask(http, &on_a(method), &[("if-none-match", &etag)], none, 304).await;
        seen.ask(http, &on_a(method), &[("if-match", "\"other\"")], none, 412).await;
        seen.ask(http, &on_a(method), &[("if-match", "bare")], none, 400).await;
        seen.ask(http, &line(method, "/nothing"), &[], none, 404).await;
    }
    seen.ask(http, &on_a("GET"), &[("range", "bytes=0-9")], none, 206).await;
    seen.ask(http, &on_a("GET"), &[("range", "bytes=0-9,20-29")], none, 206).await;
    seen.ask(http, &on_a("GET"), &[("range", "bytes=1000-")], none, 416).await;
    let list = "?list&prefix=a&delimiter=/&after=A&limit=10";
    seen.ask(http, &line("GET", list), &[], none, 200).await;
    seen.ask(http, &line("GET", "?limit=0"), &[], none, 400).await;

    // Too much.
    let mut admin = up.edge.admin().await;
    admin.limit_bucket(Some(1)).await;
    for method in ["PUT", "POST"] {
        seen.ask(http, &line(method, "/full"), &[], file, 507).await;
        announce_too_much(seen, up, &format!("{method} {base}/large")).await;
    }
    admin.limit_bucket(None).await;

    // Deleted.
    seen.ask(http, &on_a("DELETE"), &[("if-match", "bare")], none, 400).await;
    seen.ask(http, &on_a("DELETE"), &[("if-match", "\"other\"")], none, 412).await;
    seen.ask(http, &on_a("DELETE"), &[], none, 204).await;
    seen.ask(http, &on_a("DELETE"), &[], none, 404).await;
    seen.ask(http, &line("DELETE", "/b"), &[], none, 204).await;
}

/// All that a client can meet with buckets themselves.
async fn meet_buckets(seen: &mut Seen, http: Http) {
    let (none, file) = (Content::new(0, 0), Content::new(7, 10));
    for (line, status) in [
        ("PUT /v1/buckets/photos", 201),
        ("PUT /v1/buckets/photos", 409),
        ("PUT /v1/buckets/No", 400),
        ("GET /v1/buckets", 200),
        ("GET /v1/buckets?limit=0", 400),
        ("GET /v1/buckets/photos", 200),
        ("GET /v1/buckets/No", 400),
        ("GET /v1/buckets/nowhere", 404),
        ("PATCH /v1/buckets/No", 400),
        ("DELETE /v1/buckets/photos?contents=keep", 400),
        ("DELETE /v1/buckets/nowhere", 404),
    ] {
        seen.ask(http, line, &[], none, status).await;
    }
    for (bucket, status) in [("photos", 200), ("nowhere", 404)] {
        seen.ask_json(http, &format!("PATCH /v1/buckets/{bucket}"), r#"{"copies":1}"#, status)
            .await;
    }
    seen.ask(http, "PUT /v1/buckets/photos/files/a", &[], file, 201).await;
    seen.ask(http, "DELETE /v1/buckets/photos", &[], none, 409).await;
    seen.ask(http, "DELETE /v1/buckets/photos?contents=delete", &[], none, 202).await;
    seen.ask_json(http, "PATCH /v1/buckets/photos", "{}", 409).await;
    seen.ask(http, "PUT /v1/buckets/empty", &[], none, 201).await;
    seen.ask(http, "DELETE /v1/buckets/empty", &[], none, 204).await;
}

/// 413: no library sends a head without its body.
async fn announce_too_much(seen: &mut Seen, up: &Up, line: &str) {
    let mut raw = up.edge.raw().await;
    let head = format!("{line} HTTP/1.1\r\nhost: cairn\r\ncontent-length: 54975581388801\r\n\r\n");
    raw.send(head.as_bytes()).await;
    assert_eq!(raw.answer().await.status, 413, "{line}");
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let operation = documented::operation(method, path).expect("an operation");
    assert!(operation["responses"].get("413").is_some(), "{line} documents no 413");
    let id = operation["operationId"].as_str().expect("an id");
    seen.0.insert((id.to_owned(), "413".to_owned()));
}

#[tokio::test]
async fn each_operation_answers_what_is_documented() {
    let up = Up::start().await;
    let http = up.edge.http();
    let (none, file) = (Content::new(0, 0), Content::new(7, 10));
    let mut seen = Seen::default();
    meet_all(&mut seen, &up, "/v1/files").await;
    meet_all(&mut seen, &up, "/v1/buckets/default/files").await;
    seen.ask(http, "GET /openapi.json", &[("x-request-id", "mine")], none, 200).await;
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        let line = format!("{method} /v1/buckets/nowhere/files/a");
        let content = if method.starts_with('P') { file } else { none };
        seen.ask(http, &line, &[], content, 404).await;
    }
    seen.ask(http, "GET /v1/buckets/nowhere/files?list", &[], none, 404).await;

    meet_buckets(&mut seen, http).await;

    let mut not_met = Vec::new();
    for (path, item) in documented::paths() {
        for (method, operation) in item.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an id");
            for status in operation["responses"].as_object().expect("answers").keys() {
                let met = seen.0.contains(&(id.to_owned(), status.clone()));
                // The bucket `default` is always there.
                let never = status == "404" && !path.contains("{bucket}") && met_nowhere(id);
                if !met && !never && !NOT_ASKED_FOR.contains(&status.as_str()) {
                    not_met.push(format!("{method} {path} {status}"));
                }
            }
        }
    }
    assert!(not_met.is_empty(), "documented, and not asked for: {not_met:#?}");
}

/// Operations that know no 404 but that of the bucket.
fn met_nowhere(id: &str) -> bool {
    ["putFile", "createFile", "listFiles"].contains(&id)
}
