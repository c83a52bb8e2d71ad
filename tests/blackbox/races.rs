//! Several at one name: a reader sees a whole file, and exactly one writer is first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;

use crate::harness::{Content, Http, Up, base64};

const PATH: &str = "/v1/files/contested";
/// Several chunks, so that a mix could be seen.
const LENGTH: u64 = 700_000;

fn digest(content: Content) -> String {
    format!("sha-256=:{}:", base64(&content.sha256()))
}

/// Reads the name; the digest of what came, which must be what the head announced.
async fn read(http: Http) -> Option<String> {
    let download = http.request("GET", PATH).send().await;
    if download.status == 404 {
        return None;
    }
    assert_eq!(download.status, 200);
    let announced = download.header("repr-digest").expect("digest").to_owned();
    let (_, got) = download.digest().await;
    let got = format!("sha-256=:{}:", base64(&got));
    assert_eq!(got, announced, "the body is not what its head says");
    Some(got)
}

#[tokio::test]
async fn of_two_puts_the_one_that_is_answered_last_stands_whole() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    for round in 0..10 {
        let contents = [0, 1].map(|nth| Content::new(2 * round + nth, LENGTH + nth));
        let puts = contents.map(|content| async move {
            let answer = http.put(PATH, content).await;
            assert!([200, 201].contains(&answer.status), "{}", answer.status);
            answer.must_have("etag").to_owned()
        });
        let [first, second] = puts;
        let (first, second) = tokio::join!(first, second);
        let stands = read(http).await.expect("a file");
        let etag = http.get(PATH).await.must_have("etag").to_owned();
        let nth = [&first, &second].iter().position(|known| **known == etag);
        let nth = nth.expect("one of the two stands");
        assert_eq!(stands, digest(contents[nth]), "round {round}");
    }
    up.edge.settle().await;
}

#[tokio::test]
async fn a_put_that_begins_after_another_was_answered_stands() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    for round in 0..10 {
        let content = Content::new(round, LENGTH);
        http.put(PATH, content).await;
        assert_eq!(read(http).await, Some(digest(content)), "round {round}");
    }
}

#[tokio::test]
async fn of_many_posts_exactly_one_makes_the_file() {
    let up = Up::plan().chunk_size(64 << 10).start().await;
    let http = up.edge.http();
    let post = |nth| async move {
        let content = Content::new(nth, LENGTH);
        let request = http.request("POST", PATH);
        let request = match nth % 2 {
            0 => request.content(content),
            _ => request.content_of_unknown_length(content),
        };
        request.answer().await.status
    };
    let statuses = join_all((0..16).map(post)).await;
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for status in &statuses {
        *counts.entry(*status).or_default() += 1;
    }
    assert_eq!(counts, [(201, 1), (409, 15)].into());
    let winner = statuses.iter().position(|status| *status == 201);
    let winner = winner.expect("one") as u64;
    assert_eq!(read(http).await, Some(digest(Content::new(winner, LENGTH))));
    up.edge.settle().await;
    let account = up.edge.admin().await.bucket_account().await;
    assert_eq!((account.used_bytes, account.used_objects), (LENGTH, 1));
}

/// Reads until told to stop; how often, and what was seen.
async fn read_on(http: Http, stop: Arc<AtomicBool>) -> BTreeMap<Option<String>, usize> {
    let mut seen = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        *seen.entry(read(http).await).or_default() += 1;
    }
    seen
}

/// Readers, while the name is replaced and deleted; a sweep follows every delete.
async fn read_while_it_changes(up: Up) {
    let http = up.edge.http();
    let contents = [1, 2].map(|seed| Content::new(seed, LENGTH));
    http.put(PATH, contents[0]).await.expect(201);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4).map(|_| tokio::spawn(read_on(http, Arc::clone(&stop)))).collect();
    let mut admin = up.edge.admin().await;
    for round in 0..30 {
        if round % 3 == 2 {
            http.request("DELETE", PATH).answer().await.expect(204);
            admin.sweep().await;
        }
        http.put(PATH, contents[round % 2]).await;
    }
    stop.store(true, Ordering::Relaxed);
    let known = contents.map(|content| Some(digest(content)));
    let mut reads = 0;
    for reader in readers {
        for (seen, times) in reader.await.expect("a reader's checks hold") {
            assert!(seen.is_none() || known.contains(&seen), "{seen:?}");
            reads += times;
        }
    }
    assert!(reads >= 20, "only {reads} reads: nothing was shown");
}

#[tokio::test]
async fn a_get_during_replace_and_delete_sees_old_or_new_whole() {
    let plan = Up::plan().chunk_size(64 << 10);
    read_while_it_changes(plan.start().await).await;
}

#[tokio::test]
async fn what_is_being_read_is_not_purged_under_the_reader() {
    let plan = Up::plan().chunk_size(64 << 10);
    read_while_it_changes(plan.flag("--condemn-for", "0s").start().await).await;
}
