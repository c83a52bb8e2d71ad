//! Backups of the catalog, while it serves and when it does not, and into an empty store.

use std::fs;

use cairn_test_postgres::Server;

use crate::harness::{Up, cairn, run};

fn store_files(up: &Up) {
    for nth in 0..5 {
        run(up.command(&["put", "-q", "-", &format!("a/{nth}")]), b"content").done();
    }
    up.run(&["rm", "-q", "a/4"]).done();
}

#[test]
fn a_backup_is_made_while_the_master_serves_and_comes_back_into_an_empty_store() {
    let mut up = Up::start();
    store_files(&up);
    let said = up.run(&["admin", "meta", "export", "all.backup"]).done().stdout;
    assert!(said.contains("records") && said.contains("checked"), "{said}");
    up.run(&["admin", "meta", "export", "all.backup"]).refused(4, "file of that name");
    let master = up.data().join("master");
    let folder = master.to_string_lossy().into_owned();
    up.run(&["admin", "meta", "import", "all.backup", "--data", &folder])
        .refused(1, "another cairn uses it");

    up.stop();
    up.run(&["admin", "meta", "import", "all.backup", "--data", &folder]).refused(1, "not empty");
    let offline = ["admin", "meta", "export", "offline.backup", "--data", &folder];
    up.run(&offline).done();
    fs::remove_dir_all(&master).expect("the catalog is deleted");
    up.run(&["admin", "meta", "import", "offline.backup", "--data", &folder, "--complete"]).done();
    up.start_again();
    let keys = up.run(&["ls", "-r"]).done().stdout;
    assert_eq!(keys.lines().filter(|line| line.contains("a/")).count(), 4, "{keys}");
    assert_eq!(up.run(&["cat", "a/2"]).done().stdout, "content");
    up.run(&["admin", "undelete", "a/4"]).done();
    up.run(&["admin", "usage", "--verify"]).done();
    let status = up.run(&["admin", "meta", "status", "--json"]).done().json();
    assert!(status[0]["sweep_waits"].is_null(), "{status:?}");
}

#[test]
fn a_backup_without_what_came_later_makes_the_sweep_wait() {
    let mut up = Up::start();
    store_files(&up);
    up.run(&["admin", "meta", "export", "old.backup"]).done();
    run(up.command(&["put", "-q", "-", "later"]), b"content").done();
    up.stop();
    let master = up.data().join("master");
    let folder = master.to_string_lossy().into_owned();
    fs::remove_dir_all(&master).expect("the catalog is deleted");
    let said = up.run(&["admin", "meta", "import", "old.backup", "--data", &folder]).done().stdout;
    assert!(said.contains("the sweep waits"), "{said}");
    up.start_again();
    let status = up.run(&["admin", "meta", "status"]).done().stdout;
    assert!(status.contains("imported from a backup of 20"), "{status}");
    assert_eq!(up.run(&["admin", "meta", "release-sweep"]).done().stdout, "the sweep goes on\n");
    let again = up.run(&["admin", "meta", "release-sweep"]).done().stdout;
    assert_eq!(again, "the sweep was not waiting\n");
}

#[test]
fn what_is_no_whole_backup_is_refused_and_leaves_no_catalog_that_a_master_would_serve() {
    let up = Up::start();
    store_files(&up);
    up.run(&["admin", "meta", "export", "good"]).done();
    let good = up.read("good");
    let mut newer = good.clone();
    newer[11] = 9;
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (name, bytes, why) in [
        ("foreign", b"PK and other things".to_vec(), "no backup of a catalog"),
        ("newer", newer, "version 9"),
        ("damaged", damaged, "damaged at frame"),
        ("cut", good[..good.len() - 10].to_vec(), "not whole"),
    ] {
        up.write(name, &bytes);
        let folder = up.path(&format!("{name}-store"));
        let folder = folder.to_string_lossy();
        up.run(&["admin", "meta", "import", name, "--data", &folder]).refused(7, why);
        if name == "damaged" {
            let master = ["master", "--open", "--listen", "127.0.0.1:0", "--admin-listen"];
            let rest = ["127.0.0.1:0", "--data", &folder];
            run(cairn(&[&master[..], &rest].concat()), b"").refused(1, "is not whole");
        }
    }
    up.run(&["admin", "meta", "import", "absent", "--data", "x"]).refused(3, "No such file");
    up.run(&["admin", "meta", "import", "good"]).refused(2, "--data DIR or --store URL");
    up.run(&["admin", "meta", "export", "x", "--data", "nowhere"]).refused(3, "no catalog");
}

#[test]
fn a_catalog_moves_from_a_folder_into_postgresql_and_back() {
    let Some(server) = Server::shared() else { return };
    let mut up = Up::start();
    store_files(&up);
    up.stop();
    let master = up.data().join("master");
    let folder = master.to_string_lossy().into_owned();
    let database = server.new_database();
    up.run(&["admin", "meta", "export", "one", "--data", &folder]).done();
    let into = ["admin", "meta", "import", "one", "--complete", "--store", &database];
    up.run(&into).done();
    up.run(&into).refused(1, "not empty");
    up.run(&["admin", "meta", "export", "two", "--store", &database]).done();
    fs::remove_dir_all(&master).expect("the catalog is deleted");
    up.run(&["admin", "meta", "import", "two", "--complete", "--data", &folder]).done();
    up.start_again();
    assert_eq!(up.run(&["cat", "a/2"]).done().stdout, "content");
    up.run(&["admin", "usage", "--verify"]).done();
}
