//! Files and folders go in and come out.

use std::fs;

use crate::harness::{Up, content, run};

#[test]
fn a_file_comes_back_as_it_went_in() {
    let up = Up::start();
    let bytes = content(1, 40 << 20);
    up.write("big", &bytes);
    let put =
        up.run(&["put", "--json", "--type", "video/x", "--meta", "owner=ada", "big", "docs/"]);
    let put = &put.done().json()[0];
    assert_eq!((&put["key"], &put["replaced"]), (&"docs/big".into(), &false.into()));

    let got = up.run(&["get", "--json", "docs/big", "copy"]).done().json();
    assert_eq!((&got[0]["verified"], &got[0]["sha256"]), (&true.into(), &put["sha256"]));
    assert!(up.read("copy") == bytes, "the copy is the file");
    up.run(&["get", "--no-verify", "docs/big", "unverified"]).done();
    assert!(up.read("unverified") == bytes, "so is the one that was not verified");

    let stat = &up.run(&["stat", "--json", "docs/big"]).done().json()[0];
    assert_eq!((&stat["content_type"], &stat["meta"]["owner"]), (&"video/x".into(), &"ada".into()));
    assert_eq!((&stat["length"], &stat["sha256"]), (&bytes.len().into(), &put["sha256"]));
    let left: Vec<_> = fs::read_dir(up.path("")).expect("the folder").collect();
    assert_eq!(left.len(), 3, "no part is left: {left:?}");
}

#[test]
fn a_file_is_cut_as_it_was_asked() {
    let up = Up::start();
    let bytes = content(1, 9007);
    up.write("file", &bytes);
    up.run(&["put", "--chunking", "equal:6", "file", "parts"]).done();
    let stat = &up.run(&["stat", "--json", "parts"]).done().json()[0];
    assert_eq!(stat["chunks"], "1501;n=5, 1502");
    up.run(&["get", "parts", "copy"]).done();
    assert!(up.read("copy") == bytes);
    let pipe = run(up.command(&["put", "--chunking", "equal:6", "-", "pipe"]), &bytes);
    pipe.refused(2, "length");
}

#[test]
fn a_folder_comes_back_with_its_relative_paths() {
    let up = Up::start();
    let names = ["a.txt", "empty", "in/b b%.txt", "in/deep/ü?#.txt"];
    for (seed, name) in (0..).zip(names) {
        let bytes = if name == "empty" { Vec::new() } else { content(seed, 1000) };
        up.write(&format!("photos/{name}"), &bytes);
    }
    for n in 0..50 {
        up.write(&format!("photos/many/{n}"), &content(n, 100));
    }
    let put = up.run(&["put", "-r", "--json", "photos", "album"]).done();
    assert_eq!(put.json().len(), 54);
    up.run(&["get", "-r", "album", "back"]).done();
    for name in names.map(str::to_owned).into_iter().chain((0..50).map(|n| format!("many/{n}"))) {
        let (sent, back) = (format!("photos/{name}"), format!("back/{name}"));
        assert!(up.read(&sent) == up.read(&back), "{name}");
    }
}

#[test]
fn pipes_are_stored_and_written() {
    let up = Up::start();
    for length in [0, 1, 3 << 20] {
        let bytes = content(9, length);
        let put = run(up.command(&["put", "-", "pipe"]), &bytes).done();
        assert!(put.stderr.is_empty(), "no progress where nobody looks: {put:?}");
        let mut cat = up.command(&["cat", "pipe"]);
        let cat = cat.output().expect("cairn cat");
        assert!(cat.status.success() && cat.stdout == bytes, "{length}: {cat:?}");
    }
}

#[test]
fn lists_show_a_level_or_all_of_it() {
    let up = Up::start();
    for key in ["a", "docs/b", "docs/in/c", "docs2/d"] {
        run(up.command(&["put", "-q", "-", key]), b"12345").done();
    }
    let ls = |arguments: &[&str]| up.run(&[&["ls"], arguments].concat()).done().stdout;
    assert_eq!(ls(&[]), "a\ndocs/\ndocs2/\n");
    assert_eq!(ls(&["docs"]), "docs/b\ndocs/in/\n");
    assert_eq!(ls(&["docs/in/"]), "docs/in/c\n");
    assert_eq!(ls(&["do"]), "docs/\ndocs2/\n");
    assert_eq!(ls(&["--recursive", "docs"]), "docs/b\ndocs/in/c\n");
    assert!(
        ls(&["-l", "docs/b"]).ends_with("Z         5 B  docs/b\n"),
        "{}",
        ls(&["-l", "docs/b"])
    );
    let json = up.run(&["ls", "--json"]).done().json();
    assert_eq!((&json[0]["length"], &json[1]["prefix"]), (&5.into(), &"docs/".into()));
}

#[test]
fn files_and_folders_are_deleted() {
    let up = Up::start();
    for key in ["a", "docs/b", "docs/in/c", "docs2/d"] {
        run(up.command(&["put", "-q", "-", key]), b"1").done();
    }
    up.run(&["rm", "a", "none"]).refused(3, "none");
    up.run(&["rm", "docs/"]).refused(3, "cairn rm -r");
    up.run(&["rm", "-r", "docs"]).done();
    assert_eq!(up.run(&["ls", "-r"]).done().stdout, "docs2/d\n", "a folder is not a prefix");
    up.run(&["rm", "-r", "/"]).refused(2, "every file");
    up.run(&["rm", "-r", "--everything", "/"]).done();
    assert_eq!(up.run(&["ls"]).done().stdout, "");
}
