//! Lists: byte order, prefix, delimiter, pages.

use serde_json::Value;

use crate::harness::{Client, Condition, Content, Http, Up};

const KEYS: [&str; 9] = ["a", "a/1", "a/2", "a/b/3", "a0", "b/1", "b/2", "c", "\u{e4}"];

async fn stored() -> Up {
    let up = Up::start().await;
    let mut client = up.edge.rest();
    for (seed, key) in (0..).zip(KEYS) {
        let content = Content::new(seed, 10 + seed);
        let put = client.put("default", key, content, &[], Condition::Always);
        put.await.expect("stored");
    }
    up
}

async fn list(http: Http, query: &str) -> Value {
    let path = format!("/v1/files?list{query}");
    http.get(&path).await.expect(200).json()
}

fn names(list: &Value) -> (Vec<&str>, Vec<&str>) {
    let files = list["files"].as_array().expect("files").iter();
    let prefixes = list["prefixes"].as_array().expect("prefixes").iter();
    (
        files.map(|file| file["key"].as_str().expect("key")).collect(),
        prefixes.map(|name| name.as_str().expect("prefix")).collect(),
    )
}

#[tokio::test]
async fn a_list_shows_keys_in_byte_order_with_what_is_known() {
    let up = stored().await;
    let listed = list(up.edge.http(), "").await;
    assert_eq!(names(&listed), (KEYS.to_vec(), vec![]));
    assert_eq!(listed["bucket"], "default");
    assert!(listed["next_after"].is_null(), "{listed}");
    let first = &listed["files"][0];
    assert_eq!(first["length"], 10);
    for field in ["etag", "sha256", "root", "modified"] {
        assert!(first[field].is_string(), "no {field} in {first}");
    }
}

#[tokio::test]
async fn prefix_and_delimiter_show_folders() {
    let up = stored().await;
    let http = up.edge.http();
    for (query, files, prefixes) in [
        ("&prefix=a", vec!["a", "a/1", "a/2", "a/b/3", "a0"], vec![]),
        ("&prefix=a/", vec!["a/1", "a/2", "a/b/3"], vec![]),
        ("&prefix=%C3%A4", vec!["\u{e4}"], vec![]),
        ("&prefix=none", vec![], vec![]),
        ("&delimiter=/", vec!["a", "a0", "c", "\u{e4}"], vec!["a/", "b/"]),
        ("&prefix=a/&delimiter=/", vec!["a/1", "a/2"], vec!["a/b/"]),
        ("&prefix=a/&delimiter=b/", vec!["a/1", "a/2"], vec!["a/b/"]),
    ] {
        let listed = list(http, query).await;
        assert_eq!(names(&listed), (files, prefixes), "{query}");
    }
}

#[tokio::test]
async fn pages_of_any_size_show_every_entry_once() {
    let up = stored().await;
    let http = up.edge.http();
    for (query, expected) in [("", 9), ("&delimiter=/", 6), ("&prefix=a&delimiter=/", 3)] {
        for limit in 1..=10 {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let page = format!("{query}&limit={limit}{after}");
                let listed = list(http, &page).await;
                let (files, prefixes) = names(&listed);
                assert!(files.len() + prefixes.len() <= limit, "{page}: {listed}");
                seen.extend(files.into_iter().chain(prefixes).map(str::to_owned));
                let Some(next) = listed["next_after"].as_str() else {
                    break;
                };
                after = format!("&after={}", next.replace('/', "%2F").replace('\u{e4}', "%C3%A4"));
            }
            let all = seen.len();
            seen.sort();
            seen.dedup();
            assert_eq!((all, seen.len()), (expected, expected), "{query} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_list_of_more_than_a_page_says_where_to_go_on() {
    let up = Up::start().await;
    let http = up.edge.http();
    for nth in 0..20 {
        let path = format!("/v1/files/{nth:02}");
        http.put(&path, Content::new(nth, 1)).await.expect(201);
    }
    let listed = list(http, "&limit=7").await;
    assert_eq!(listed["next_after"], "06");
    let listed = list(http, "&limit=7&after=06").await;
    assert_eq!(names(&listed).0[0], "07");
    let listed = list(http, "&limit=7&after=13").await;
    assert_eq!(names(&listed).0.len(), 6);
    assert!(listed["next_after"].is_null(), "{listed}");
}
