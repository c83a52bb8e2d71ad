//! What operators see and set; health; what shells and `man` read.

use crate::harness::{Up, cairn, eventually, run};

#[test]
fn nodes_and_usage_are_told() {
    let up = Up::start();
    run(up.command(&["put", "-q", "-", "a"]), b"12345").done();
    run(up.command(&["put", "-q", "-", "a"]), b"123").done();
    let nodes = up.run(&["admin", "nodes"]).done().stdout;
    assert_eq!(nodes.lines().filter(|line| line.contains("  up  ")).count(), 3, "{nodes}");

    let usage = &up.run(&["admin", "usage", "--json"]).done().json()[0];
    for (field, value) in
        [("used_bytes", 3), ("reserved_bytes", 0), ("condemned_bytes", 5), ("objects", 1)]
    {
        assert_eq!(usage[field], value, "{field} of {usage}");
    }
    assert_eq!(usage["bucket"], "default");
    let table = up.run(&["admin", "usage", "--bytes"]).done().stdout;
    assert!(table.starts_with("KIND ") && table.contains("bucket  default     3 "), "{table}");
    let all = up.run(&["admin", "usage", "--json", "--all"]).done().json();
    let kinds = ["bucket", "tenant", "user"];
    assert_eq!(all.len(), 3, "{all:?}");
    for (kind, account) in kinds.iter().zip(&all) {
        assert!(account[kind].is_string() && account["used_bytes"] == 3, "{account}");
    }
    assert_eq!(up.run(&["admin", "uploads", "--json"]).done().stdout, "");
    assert_eq!(up.run(&["admin", "short", "--json"]).done().stdout, "");
    assert!(up.run(&["admin", "uploads"]).done().stdout.starts_with("UPLOAD"));
    assert!(up.run(&["admin", "short"]).done().stdout.starts_with("BLOB"));
}

#[test]
fn the_deletion_of_a_bucket_is_a_job_that_is_paused_resumed_and_done() {
    const PHOTOS: &str = "delete-bucket/default/photos";
    let up = Up::start();
    up.run(&["bucket", "create", "photos"]).done();
    run(up.command(&["put", "-q", "-", "a", "--bucket", "photos"]), b"12345").done();
    up.run(&["bucket", "rm", "photos", "--contents"]).done();
    let paused = up.run(&["admin", "jobs", "pause", PHOTOS]).done().stdout;
    assert_eq!(paused, "delete-bucket/default/photos is paused\n");
    let listed = up.run(&["admin", "jobs"]).done().stdout;
    assert!(listed.starts_with("JOB ") && listed.contains("repair  "), "{listed}");
    let jobs = up.run(&["admin", "jobs", "list", "--json"]).done().json();
    let states: Vec<_> = jobs.iter().map(|job| (&job["job"], &job["state"])).collect();
    let (repair, rebalance, photos) = ("repair".into(), "rebalance".into(), PHOTOS.into());
    let running = "running".into();
    let expected = [(&repair, &running), (&rebalance, &running), (&photos, &"paused".into())];
    assert_eq!(states, expected);
    assert!(jobs.iter().all(|job| job.get("seconds_left").is_some()), "{jobs:?}");
    assert!(listed.contains("rebalance  ") && listed.contains("TIME LEFT"), "{listed}");
    up.run(&["admin", "jobs", "cancel", "rebalance"]).refused(4, "it can be paused");
    up.run(&["admin", "jobs", "cancel", PHOTOS]).refused(4, "cannot be cancelled");
    up.run(&["admin", "jobs", "pause", "delete-bucket/default/absent"]).refused(3, "no job");
    up.run(&["admin", "jobs", "pause", "photos"]).refused(2, "no name of a job");
    up.run(&["bucket", "show", "photos"]).done();

    let resumed = up.run(&["admin", "jobs", "resume", PHOTOS, "--json"]).done().json();
    assert_eq!(resumed[0]["state"], "running");
    let done = eventually("the job is done", || {
        let mut jobs = up.run(&["admin", "jobs", "--json"]).done().json();
        jobs.pop().filter(|job| job["state"] == "done")
    });
    assert_eq!((&done["job"], &done["left"]), (&photos, &0.into()));
    up.run(&["bucket", "show", "photos"]).refused(3, "no bucket photos");
}

#[test]
fn a_limit_that_is_not_named_stays() {
    let up = Up::start();
    let set = |limits: &[&str]| {
        let command = [&["admin", "quota", "set", "default", "--json"], limits].concat();
        let account = up.run(&command).done().json().remove(0);
        (account["limit_bytes"].as_u64(), account["limit_objects"].as_u64())
    };
    assert_eq!(set(&["--bytes", "20MiB"]), (Some(20 << 20), None));
    assert_eq!(set(&["--objects", "7"]), (Some(20 << 20), Some(7)));
    assert_eq!(set(&["--bytes", "none"]), (None, Some(7)));
    let missing = up.run(&["admin", "quota", "set", "missing", "--bytes", "1KiB"]);
    missing.refused(3, "there is no bucket missing");
    assert_eq!(up.run(&["admin", "usage", "--json"]).done().json().len(), 1);
}

#[test]
fn a_deleted_file_is_listed_and_comes_back() {
    let up = Up::start();
    run(up.command(&["put", "-q", "-", "a/b"]), b"first").done();
    run(up.command(&["put", "-q", "-", "a/b"]), b"second").done();
    up.run(&["rm", "-q", "a/b"]).done();
    let kept = up.run(&["admin", "deleted", "a/", "--json"]).done().json();
    let lengths: Vec<_> = kept.iter().map(|kept| kept["length"].as_u64()).collect();
    assert_eq!(lengths, [Some(5), Some(6)], "oldest first");
    up.run(&["admin", "undelete", "a/b"]).done();
    assert_eq!(up.run(&["cat", "a/b"]).done().stdout, "second");
    let first = kept[0]["version"].as_str().expect("an id");
    up.run(&["admin", "undelete", "a/b", "--version", first]).refused(4, "exists");
    up.run(&["admin", "undelete", "a/b", "--version", "x"]).refused(2, "--version");
    up.run(&["admin", "undelete", "never"]).refused(3, "cairn admin deleted");
    assert!(up.run(&["admin", "deleted"]).done().stdout.contains(first));
    let verified = up.run(&["admin", "usage", "--verify"]).done().stdout;
    assert_eq!(verified, "3 accounts, 2 versions, 0 open uploads: all add up\n");
}

#[test]
fn fsck_tells_what_it_compared_and_that_all_is_clean() {
    let up = Up::start();
    run(up.command(&["put", "-q", "-", "a"]), b"12345").done();
    for options in [&[][..], &["--dry-run"], &["--repair"]] {
        let said = up.run(&[&["admin", "fsck"], options].concat()).done().stdout;
        assert!(said.contains(" records and 2 copies compared: clean"), "{said}");
    }
    let counts = up.run(&["admin", "fsck", "--json"]).done().json().remove(0);
    assert_eq!((&counts["copies"], &counts["not_checked"]), (&2.into(), &0.into()), "{counts}");
    up.run(&["admin", "fsck", "--repair", "--dry-run"]).refused(2, "cannot be used with");
    let help = up.run(&["admin", "fsck", "--help"]).done().stdout;
    assert!(help.contains("8  no difference was found, and not everything"), "{help}");
}

#[test]
fn health_is_0_or_1() {
    let up = Up::start();
    let ready = up.run(&["healthcheck", "--url", &up.admin_url]).done();
    assert_eq!(ready.stdout, "ready\n");
    up.run(&["healthcheck", "--url", &up.url]).refused(1, "admin port");
    let admin_url = up.admin_url.clone();
    drop(up);
    run(cairn(&["healthcheck", "--url", &admin_url]), b"").refused(1, "Connection refused");
}

#[test]
fn a_port_that_is_another_one_is_said_so() {
    let up = Up::start();
    up.run(&["admin", "nodes", "--admin-url", &up.url]).refused(1, "--admin-url");
    up.run(&["stat", "a", "--url", &up.admin_url]).refused(1, "--url");
}

#[test]
fn shells_and_man_know_all_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(cairn(&["completions", shell]), b"").done().stdout;
        for word in ["healthcheck", "no-resume", "admin-url"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    run(cairn(&["man", &pages.to_string_lossy()]), b"").done();
    for page in ["cairn.1", "cairn-put.1", "cairn-admin-quota-set.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
    let help = run(cairn(&["get", "--help"]), b"").done().stdout;
    assert!(help.contains("7  what arrived is not what was stored"), "{help}");
}
