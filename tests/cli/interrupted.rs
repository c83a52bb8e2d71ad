//! Ends in the middle, files that change under way, bytes that arrive wrong.

use std::fs;
use std::process::Child;

use serde_json::Value;

use crate::harness::{Up, content, eventually, run};
use crate::proxy::{Mischief, Proxy};

const SEGMENT_BYTES: usize = 16 << 20;

/// A `get` whose answers stall within its second segment, when the first one is on disk.
fn stalled_get(up: &Up, proxy: &Proxy) -> Child {
    let mut get = up.command(&["get", "--parallel", "1", "file", "copy"]);
    let child = get.env("CAIRN_URL", &proxy.url).spawn().expect("start cairn get");
    eventually("the first segment is on disk", || {
        let state = fs::read(up.path("copy.part.json")).ok()?;
        let state: Value = serde_json::from_slice(&state).ok()?;
        (state["done"] == serde_json::json!([0])).then_some(())
    });
    child
}

fn stored(up: &Up) -> Vec<u8> {
    let bytes = content(3, 3 * SEGMENT_BYTES + 7);
    up.write("file", &bytes);
    up.run(&["put", "-q", "file", "file"]).done();
    bytes
}

fn stall(up: &Up) -> Proxy {
    Proxy::before(&up.url, Mischief::StallAnswers(20 << 20))
}

#[test]
fn a_killed_get_goes_on_where_it_was() {
    let up = Up::start();
    let bytes = stored(&up);
    let mut get = stalled_get(&up, &stall(&up));
    get.kill().expect("kill a process of ours");
    get.wait().expect("it ends");
    assert!(!up.path("copy").exists(), "half a file never has the name of the file");
    let again = &up.run(&["get", "--json", "file", "copy"]).done().json()[0];
    assert_eq!(again["resumed"], SEGMENT_BYTES);
    assert!(up.read("copy") == bytes, "the copy is the file");
    assert!(!up.path("copy.part").exists() && !up.path("copy.part.json").exists());
}

#[test]
fn what_was_left_of_another_version_is_not_built_upon() {
    let up = Up::start();
    stored(&up);
    let mut get = stalled_get(&up, &stall(&up));
    get.kill().expect("kill a process of ours");
    get.wait().expect("it ends");
    let other = content(4, 2 * SEGMENT_BYTES);
    up.write("file", &other);
    up.run(&["put", "-q", "file", "file"]).done();
    let again = &up.run(&["get", "--json", "file", "copy"]).done().json()[0];
    assert_eq!(again["resumed"], 0);
    assert!(up.read("copy") == other, "the copy is the new file");
}

#[test]
fn a_part_with_wrong_bytes_is_noticed_and_removed() {
    let up = Up::start();
    let bytes = stored(&up);
    let mut get = stalled_get(&up, &stall(&up));
    get.kill().expect("kill a process of ours");
    get.wait().expect("it ends");
    let mut part = up.read("copy.part");
    part[5] ^= 1;
    up.write("copy.part", &part);
    up.run(&["get", "file", "copy"]).refused(7, "file root");
    assert!(!up.path("copy").exists() && !up.path("copy.part").exists());
    up.run(&["get", "file", "copy"]).done();
    assert!(up.read("copy") == bytes, "the copy is the file");
}

#[test]
fn a_broken_connection_is_made_anew() {
    let up = Up::start();
    let bytes = stored(&up);
    let proxy = stall(&up);
    let mut get = stalled_get(&up, &proxy);
    proxy.lift();
    assert!(get.wait().expect("it ends").success());
    assert!(up.read("copy") == bytes, "the copy is the file");
}

#[test]
fn a_file_that_is_replaced_meanwhile_is_noticed() {
    let up = Up::start();
    stored(&up);
    let proxy = stall(&up);
    let get = stalled_get(&up, &proxy);
    up.write("file", &content(5, 3 * SEGMENT_BYTES + 7));
    up.run(&["put", "-q", "file", "file"]).done();
    proxy.lift();
    let ended = get.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("replaced while it was fetched"), "{said}");
    assert!(!up.path("copy").exists() && !up.path("copy.part").exists());
}

#[test]
fn a_wrong_byte_on_the_way_out_ends_with_7_and_without_the_file() {
    let up = Up::start();
    stored(&up);
    // In the first segment, and in the last byte of the second one.
    for at in [1 << 20, SEGMENT_BYTES as u64 - 1] {
        let flip = Proxy::before(&up.url, Mischief::FlipInAnswer(at));
        let said = up.run(&["get", "--url", &flip.url, "file", "copy"]);
        said.refused(7, "get file: what is on disk is not what was stored: its file root is ");
        assert!(!up.path("copy").exists() && !up.path("copy.part").exists());
    }
    let flip = Proxy::before(&up.url, Mischief::FlipInAnswer(1 << 20));
    let cat = up.command(&["cat", "--url", &flip.url, "file"]).output().expect("cairn cat");
    assert_eq!(cat.status.code(), Some(7));
}

#[test]
fn a_wrong_byte_on_the_way_in_ends_with_7() {
    let up = Up::start();
    up.write("file", &content(6, 4 << 20));
    let flip = Proxy::before(&up.url, Mischief::FlipInRequest(1 << 20));
    up.run(&["put", "--url", &flip.url, "file", "file"]).refused(7, "the server stored");
    let flip = Proxy::before(&up.url, Mischief::FlipInRequest(1 << 20));
    let put = run(up.command(&["put", "--url", &flip.url, "-", "pipe"]), &content(7, 4 << 20));
    // In a chunked body the byte may be one of its framing.
    assert_ne!(put.code, Some(0), "{put:?}");
}

#[test]
fn chunks_of_any_size_are_compared_with_the_file_root() {
    let up = Up::with(&["--chunk-size", "100000"]);
    for length in [0, 1, 100_000, 100_001, 2 * SEGMENT_BYTES + 5] {
        let bytes = content(8, length);
        up.write("file", &bytes);
        up.run(&["put", "-q", "file", "file"]).done();
        let got = up.run(&["get", "--json", "file", "copy"]).done().json();
        assert_eq!(got[0]["verified_by"], "root", "{length}");
        assert!(up.read("copy") == bytes, "{length}");
        let cat = up.command(&["cat", "file"]).output().expect("cairn cat");
        assert!(cat.status.success() && cat.stdout == bytes, "{length}");
        up.run(&["get", "-r", "/", "all"]).done();
        assert!(up.read("all/file") == bytes, "{length}");
    }
}

#[test]
fn where_the_root_cannot_be_computed_the_sha256_is_compared() {
    let up = Up::start();
    let bytes = stored(&up);
    let hide = Proxy::before(&up.url, Mischief::HideHeader("cairn-chunks"));
    let got = up.run(&["get", "--json", "--url", &hide.url, "file", "copy"]).done().json();
    assert_eq!((&got[0]["verified"], &got[0]["verified_by"]), (&true.into(), &"sha256".into()));
    assert!(up.read("copy") == bytes, "the copy is the file");

    let mut get = stalled_get(&up, &stall(&up));
    get.kill().expect("kill a process of ours");
    get.wait().expect("it ends");
    let again = up.run(&["get", "--json", "--url", &hide.url, "file", "copy"]).done().json();
    assert_eq!(again[0]["resumed"], 0, "the part of another form is not built upon");
    assert!(up.read("copy") == bytes, "the copy is the file");
}
