//! One table of operations, run over REST and over gRPC alike.

use crate::harness::{
    Client, Condition, Content, FileInfo, Listed, Refusal, Stored, Up, hex, sha256,
};

const BIG: Content = Content::new(11, 3_000_000);
const SMALL: Content = Content::new(12, 17);
const NOTHING: Content = Content::new(13, 0);
const META: &[(&str, &str)] = &[("content-type", "text/plain"), ("author", "Ada")];

/// A condition; the entity tag is the one that the file has when the step runs.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    New,
    Exists,
    Current,
    NotCurrent,
    Stale,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(&'static str, Content, When),
    Get(&'static str, u64, u64),
    Stat(&'static str),
    List(&'static str, &'static str),
    Delete(&'static str, When),
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    Replaced,
    /// These bytes of this content.
    Bytes(u64, [u8; 32]),
    Known(u64, [u8; 32]),
    /// Keys and common prefixes.
    Names(Vec<String>, Vec<String>),
    Deleted,
    Refused(Refusal),
}

fn bytes(content: Content, from: u64, to: u64) -> Outcome {
    Outcome::Bytes(to - from, sha256(&content.bytes(from, to)))
}

fn known(content: Content) -> Outcome {
    Outcome::Known(content.length, content.sha256())
}

fn names(keys: &[&str], prefixes: &[&str]) -> Outcome {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Outcome::Names(owned(keys), owned(prefixes))
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

/// In order: each step relies on the ones before it.
fn table() -> Vec<(Step, Outcome)> {
    let missing = || refused(Refusal::FileNotFound);
    let precondition = || refused(Refusal::Precondition);
    vec![
        (Step::Get("a", 0, 0), missing()),
        (Step::Stat("a"), missing()),
        (Step::Delete("a", When::Always), missing()),
        (Step::Put("a", SMALL, When::Exists), precondition()),
        (Step::Put("a", BIG, When::Always), Outcome::Made),
        (Step::Stat("a"), known(BIG)),
        (Step::Get("a", 0, 0), bytes(BIG, 0, BIG.length)),
        (Step::Get("a", 0, 1), bytes(BIG, 0, 1)),
        (Step::Get("a", 65_535, 2), bytes(BIG, 65_535, 65_537)),
        (Step::Get("a", 1_048_570, 1_000_000), bytes(BIG, 1_048_570, 2_048_570)),
        (Step::Get("a", 2_999_999, 0), bytes(BIG, 2_999_999, BIG.length)),
        (Step::Get("a", 2_999_990, 100), bytes(BIG, 2_999_990, BIG.length)),
        (Step::Put("a", SMALL, When::New), refused(Refusal::Exists)),
        (Step::Put("a", SMALL, When::Stale), precondition()),
        (Step::Put("a", SMALL, When::NotCurrent), precondition()),
        (Step::Get("a", 0, 0), bytes(BIG, 0, BIG.length)),
        (Step::Put("a", SMALL, When::Current), Outcome::Replaced),
        (Step::Put("a", SMALL, When::Exists), Outcome::Replaced),
        (Step::Get("a", 0, 0), bytes(SMALL, 0, 17)),
        (Step::Put("a/b/\u{e4} +%", NOTHING, When::New), Outcome::Made),
        (Step::Get("a/b/\u{e4} +%", 0, 0), bytes(NOTHING, 0, 0)),
        (Step::Put("..", SMALL, When::Always), Outcome::Made),
        (Step::Put("a//c", SMALL, When::Always), Outcome::Made),
        (Step::List("", ""), names(&["..", "a", "a//c", "a/b/\u{e4} +%"], &[])),
        (Step::List("", "/"), names(&["..", "a"], &["a/"])),
        (Step::List("a/", "/"), names(&[], &["a//", "a/b/"])),
        (Step::Delete("a", When::Stale), precondition()),
        (Step::Delete("a", When::Current), Outcome::Deleted),
        (Step::Delete("a", When::Always), missing()),
        (Step::Get("a", 0, 0), missing()),
        (Step::Delete("..", When::Exists), Outcome::Deleted),
        (Step::List("", "/"), names(&[], &["a/"])),
        (Step::Put(LONG, SMALL, When::Always), refused(Refusal::Invalid)),
        (Step::Put("nul\0", SMALL, When::Always), refused(Refusal::Invalid)),
    ]
}

/// One byte more than a key may have.
const LONG: &str = {
    const BYTES: [u8; 1025] = [b'k'; 1025];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("ASCII is UTF-8"),
    }
};

async fn condition(client: &mut impl Client, key: &str, when: When) -> Condition {
    let etag = match when {
        When::Current | When::NotCurrent => client.stat("default", key).await.expect("etag").etag,
        _ => String::new(),
    };
    match when {
        When::Always => Condition::Always,
        When::New => Condition::MustNotExist,
        When::Exists => Condition::MustExist,
        When::Current => Condition::Match(etag),
        When::NotCurrent => Condition::NoneMatch(etag),
        When::Stale => Condition::Match("stale".to_owned()),
    }
}

fn checked(client_said: &Stored, info: &FileInfo) -> Outcome {
    assert_eq!(client_said.etag, info.etag);
    assert_eq!(info.content_type, "text/plain");
    assert_eq!(info.meta, [("author".to_owned(), "Ada".to_owned())].into());
    let receipt = &client_said.receipt;
    // A file without bytes has no chunks, and so no copies of any.
    let copies = if info.length == 0 { 0 } else { 2 };
    assert!(receipt.starts_with(&format!("copies={copies}; hosts=")), "{receipt}");
    if client_said.replaced { Outcome::Replaced } else { Outcome::Made }
}

async fn run(client: &mut impl Client, step: Step) -> Result<Outcome, Refusal> {
    Ok(match step {
        Step::Put(key, content, when) => {
            let condition = condition(client, key, when).await;
            let stored = client.put("default", key, content, META, condition).await?;
            checked(&stored, &client.stat("default", key).await?)
        }
        Step::Get(key, offset, length) => {
            let (length, hash) = client.get("default", key, offset, length).await?;
            Outcome::Bytes(length, hash)
        }
        Step::Stat(key) => {
            let info = client.stat("default", key).await?;
            Outcome::Known(info.length, info.sha256)
        }
        Step::List(prefix, delimiter) => {
            let listed = client.list("default", prefix, delimiter, "", 0).await?;
            let keys = listed.files.into_iter().map(|(key, _, _)| key).collect();
            Outcome::Names(keys, listed.prefixes)
        }
        Step::Delete(key, when) => {
            let condition = condition(client, key, when).await;
            client.delete("default", key, condition).await?;
            Outcome::Deleted
        }
    })
}

async fn run_table(mut client: impl Client) {
    for (nth, (step, expected)) in table().into_iter().enumerate() {
        let outcome = run(&mut client, step).await;
        let outcome = outcome.unwrap_or_else(Outcome::Refused);
        let shown = format!("{step:?}");
        let shown: String = shown.chars().take(120).collect();
        assert_eq!(outcome, expected, "step {nth}: {shown}");
    }
    pages(&mut client).await;
    buckets(&mut client).await;
}

async fn pages(client: &mut impl Client) {
    for nth in 0..5 {
        let (key, content) = (format!("page/{nth}"), Content::new(nth, nth));
        let put = client.put("default", &key, content, &[], Condition::Always);
        put.await.expect("stored");
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.list("default", "page/", "", &after, 2).await;
        let Listed { files, next_after, .. } = page.expect("a page");
        seen.extend(files);
        match next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    let expected: Vec<_> = (0..5)
        .map(|nth| {
            let content = Content::new(nth, nth);
            (format!("page/{nth}"), nth, hex(&content.sha256()))
        })
        .collect();
    assert_eq!(seen, expected);
}

async fn buckets(client: &mut impl Client) {
    let put = client.put("no-such-bucket", "a", SMALL, &[], Condition::Always);
    assert_eq!(put.await, Err(Refusal::BucketNotFound));
    let got = client.get("no-such-bucket", "a", 0, 0).await;
    assert_eq!(got, Err(Refusal::BucketNotFound));
    let listed = client.list("no-such-bucket", "", "", "", 0).await;
    assert_eq!(listed, Err(Refusal::BucketNotFound));
    let put = client.put("No_Bucket", "a", SMALL, &[], Condition::Always);
    assert_eq!(put.await, Err(Refusal::Invalid));
}

#[tokio::test]
async fn the_table_holds_over_rest() {
    let up = Up::plan().chunk_size(1 << 20).start().await;
    run_table(up.edge.rest()).await;
}

#[tokio::test]
async fn the_table_holds_over_grpc() {
    let up = Up::plan().chunk_size(1 << 20).start().await;
    run_table(up.edge.grpc().await).await;
}

#[tokio::test]
async fn both_protocols_see_the_same_files() {
    let up = Up::start().await;
    let (mut rest, mut grpc) = (up.edge.rest(), up.edge.grpc().await);
    let put = rest.put("default", "rest", BIG, META, Condition::Always);
    put.await.expect("stored");
    let put = grpc.put("default", "grpc", BIG, META, Condition::Always);
    put.await.expect("stored");
    for key in ["rest", "grpc"] {
        let over_rest = rest.stat("default", key).await.expect("known");
        let over_grpc = grpc.stat("default", key).await.expect("known");
        assert_eq!(over_rest, over_grpc, "{key}");
    }
    let over_rest = rest.list("default", "", "", "", 0).await;
    let over_grpc = grpc.list("default", "", "", "", 0).await;
    assert_eq!(over_rest, over_grpc);
}
