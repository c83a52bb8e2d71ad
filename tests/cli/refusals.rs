//! What goes wrong, and the exit code that tells it.

use std::net::TcpListener;

use crate::harness::{Up, cairn, content, run};

#[test]
fn what_is_not_there_ends_with_3() {
    let up = Up::start();
    for command in [
        &["get", "none"][..],
        &["get", "-r", "none"],
        &["cat", "none"],
        &["stat", "none"],
        &["rm", "none"],
        &["rm", "-r", "none"],
        &["ls", "none"],
        &["ls", "--bucket", "missing"],
    ] {
        up.run(command).refused(3, "what to do:");
    }
    assert!(!up.path("none.part").exists());
    run(up.command(&["put", "-q", "-", "docs/a"]), b"1").done();
    up.run(&["get", "docs"]).refused(3, "cairn get -r");
    up.run(&["rm", "docs"]).refused(3, "cairn rm -r");
}

#[test]
fn a_name_that_is_to_be_new_ends_with_4_when_it_exists() {
    let up = Up::start();
    up.write("file", b"one");
    up.run(&["put", "--new", "file", "a"]).done();
    up.run(&["put", "--new", "file", "a"]).refused(4, "request id:");
    up.run(&["put", "file", "a"]).done();
}

#[test]
fn a_full_quota_ends_with_5() {
    let up = Up::start();
    up.run(&["admin", "quota", "set", "default", "--bytes", "1MiB"]).done();
    up.write("file", &content(1, 9 << 20));
    up.run(&["put", "file", "a"]).refused(5, "quota");
    run(up.command(&["put", "-", "a"]), &content(1, 9 << 20)).refused(5, "quota");
    up.write("many/a", &content(1, 700 << 10));
    up.write("many/b", &content(2, 700 << 10));
    up.run(&["put", "-r", "many", "many"]).refused(5, "quota");
    assert_eq!(up.run(&["ls", "-r"]).done().stdout.lines().count(), 1);
}

#[test]
fn a_server_that_is_not_there_ends_with_6() {
    let nobody =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let url = format!("http://{nobody}");
    for command in [
        &["ls", "--url", &url][..],
        &["get", "a", "--url", &url],
        &["put", "-", "a", "--url", &url],
        &["rm", "a", "--url", &url],
        &["admin", "nodes", "--admin-url", &url],
    ] {
        run(cairn(command), b"bytes").refused(6, "Connection refused");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let up = Up::start();
    up.write("dir/file", b"one");
    up.write("file", b"one");
    let long = "k".repeat(1025);
    for (command, why) in [
        (&["put", "file"][..], "2 values required"),
        (&["put", "dir", "a"], "put -r"),
        (&["put", "file", "dir/file", "a"], "cannot all become"),
        (&["put", "file", "file", "a/"], "would both be"),
        (&["put", "-", "a/"], "give it a key"),
        (&["put", "file", &long], "1024"),
        (&["put", "--meta", "x", "file", "a"], "NAME=VALUE"),
        (&["put", "--chunking", "equal:0", "file", "a"], "equal:N"),
        (&["put", "--chunking", "half", "file", "a"], "equal:N"),
        (&["get", "file", "-"], "cairn cat"),
        (&["get", "dir/"], "-r"),
        (&["ls", "--url", "https://127.0.0.1"], "https"),
        (&["ls", "--bucket", "A"], "bucket name"),
        (&["admin", "quota", "set", "default"], "--bytes"),
        (&["admin", "quota", "set", "default", "--bytes", "lots"], "none"),
    ] {
        up.run(command).refused(2, why);
    }
    up.run(&["put", "nothing", "a"]).refused(1, "No such file");
}

#[test]
fn no_key_leads_out_of_the_folder_that_is_fetched_into() {
    let up = Up::start();
    for key in ["docs/../../out", "docs//out"] {
        run(up.command(&["put", "-", key]), b"1").done();
        up.run(&["get", "-r", "docs", "here"]).refused(2, "cannot be a path");
        assert!(!up.path("here").exists() && !up.path("../out").exists());
        up.run(&["rm", key]).done();
    }
}

#[test]
fn a_file_of_somebody_else_is_not_taken_for_a_part() {
    let up = Up::start();
    run(up.command(&["put", "-", "a"]), b"1").done();
    up.write("a.part", b"mine");
    up.run(&["get", "a"]).refused(1, "not a part");
    assert_eq!(up.read("a.part"), b"mine");
}
