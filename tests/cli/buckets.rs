//! `cairn bucket` and `cairn admin tenant`.

use crate::harness::{Up, eventually, run};

#[test]
fn a_bucket_is_created_listed_shown_changed_and_deleted() {
    let up = Up::start();
    let created = up.run(&["bucket", "create", "photos", "--copies", "1", "--retention", "7d"]);
    assert_eq!(created.done().stdout, "created photos\n");
    up.run(&["bucket", "create", "photos"]).refused(4, "bucket photos exists");
    run(up.command(&["put", "-q", "-", "a", "--bucket", "photos"]), b"12345").done();

    let listed = up.run(&["bucket", "ls", "--bytes"]).done().stdout;
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATE", "FILES", "USED", "LIMIT", "COPIES"]);
    assert_eq!(
        rows[1..],
        [["default", "live", "0", "0", "none", "2"], ["photos", "live", "1", "5", "none", "1"]]
    );
    assert_eq!(up.run(&["bucket", "ls", "ph", "--json"]).done().json().len(), 1);

    let shown = up.run(&["bucket", "show", "photos"]).done().stdout;
    for line in [
        "copies        1\n",
        "retention     604800 s\n",
        "sha256        on (default)\n",
        "files         1, 5 bytes\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    let set = [
        "bucket",
        "set",
        "photos",
        "--json",
        "--copies",
        "default",
        "--quota-bytes",
        "1KiB",
        "--sha256",
        "off",
    ];
    let bucket = &up.run(&set).done().json()[0];
    let settings =
        serde_json::json!({"sha256": false, "retention_seconds": 604_800, "quota_bytes": 1024});
    assert_eq!(bucket["settings"], settings);
    assert_eq!(bucket["effective"]["copies"], 2);
    run(up.command(&["put", "-q", "-", "b", "--bucket", "photos"]), &[7; 1024]).refused(5, "quota");
    assert_eq!(up.run(&["cat", "a", "--bucket", "photos"]).done().stdout, "12345");
    run(up.command(&["put", "-q", "-", "c", "--bucket", "photos"]), b"without sha256").done();
    assert_eq!(up.run(&["cat", "c", "--bucket", "photos"]).done().stdout, "without sha256");

    up.run(&["bucket", "rm", "photos"]).refused(4, "cairn bucket rm --contents");
    let begun = up.run(&["bucket", "rm", "photos", "--contents"]).done().stdout;
    assert!(begun.contains("is being deleted"), "{begun}");
    eventually("the bucket is gone", || {
        let shown = up.run(&["bucket", "show", "photos"]);
        (shown.code == Some(3)).then_some(())
    });
    up.run(&["bucket", "create", "photos"]).done();
    assert_eq!(up.run(&["bucket", "rm", "photos"]).done().stdout, "deleted photos\n");
}

#[test]
fn wrong_usage_of_buckets_ends_with_2_and_what_is_not_there_with_3() {
    let up = Up::start();
    for (command, why) in [
        (&["bucket", "create", "No"][..], "3 to 63"),
        (&["bucket", "create", "photos", "--copies", "many"], "whole number"),
        (&["bucket", "create", "photos", "--copies", "9"], "use 1 to 8"),
        (&["bucket", "create", "photos", "--sha256", "maybe"], "on, off or default"),
        (&["bucket", "create", "photos", "--durability", "memory"], "synced"),
        (&["bucket", "create", "photos", "--retention", "soon"], "30s"),
        (&["bucket", "set", "default"], "required"),
        (&["bucket", "set", "default", "--zones", "3"], "zones: 3"),
    ] {
        up.run(command).refused(2, why);
    }
    for command in [
        &["bucket", "show", "absent"][..],
        &["bucket", "rm", "absent"],
        &["bucket", "set", "absent", "--copies", "1"],
    ] {
        up.run(command).refused(3, "there is no bucket absent");
    }
}

#[test]
fn tenants_are_created_listed_and_deleted() {
    let up = Up::start();
    let create = ["admin", "tenant", "create", "acme", "--bytes", "1GiB"];
    assert_eq!(up.run(&create).done().stdout, "created acme\n");
    up.run(&create).refused(4, "tenant acme exists");
    let tenants = up.run(&["admin", "tenant", "ls", "--json"]).done().json();
    let names: Vec<_> = tenants.iter().map(|tenant| tenant["tenant"].as_str()).collect();
    assert_eq!(names, [Some("acme"), Some("default")]);
    assert_eq!(tenants[0]["limit_bytes"], 1 << 30);
    assert!(up.run(&["admin", "tenant", "ls"]).done().stdout.starts_with("NAME "));
    up.run(&["admin", "tenant", "rm", "acme"]).done();
    up.run(&["admin", "tenant", "rm", "acme"]).refused(3, "there is no tenant acme");
    up.run(&["admin", "tenant", "rm", "default"]).refused(2, "cannot be deleted");
    up.run(&["admin", "tenant", "create", "a b"]).refused(2, "1 to 63");
}
