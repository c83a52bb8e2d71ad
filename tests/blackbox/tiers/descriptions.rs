//! Descriptions that make no sense, or that would lose sight of chunks, are refused with the reason.

use std::fs;
use std::path::Path;

use super::stores::flush;
use super::{all_come_back, files, put_all, two_nodes};
use crate::harness::{PartsPlan, Process, eventually};
use crate::operations::scrape;

/// How a node that is started with this description ends.
async fn refused(data: &Path, tiers: Option<&str>) -> (Option<i32>, String) {
    let data_flag = data.display().to_string();
    let mut arguments = vec!["node", "--open", "--data", &data_flag, "--listen", "127.0.0.1:0"];
    let file = data.with_extension("toml").display().to_string();
    if let Some(tiers) = tiers {
        fs::write(&file, tiers).expect("written");
        arguments.extend(["--config", &file]);
    }
    let (code, _, complaint) = Process::run(&arguments).await;
    (code, complaint)
}

#[tokio::test]
async fn a_description_that_makes_no_sense_is_refused_before_anything_is_made() {
    let home = tempfile::tempdir().expect("a folder");
    let disk = |name: &str, path: &str| {
        format!("[[tier]]\nname = '{name}'\nstore = {{ kind = 'segments', path = '{path}' }}\n")
    };
    let behind =
        "[[tier]]\nname = 'far'\nwrite = 'behind'\nstore = { kind = 'files', path = 'far' }\n";
    let lru = "lru = { capacity = '1 GiB' }\n";
    for (tiers, reason) in [
        ("tier = []\n".to_owned(), "no tier"),
        (disk("a", "a") + lru, "last durable one and has an LRU"),
        (disk("a", "x") + &disk("b", "./x"), "the same place"),
        (disk("a", "x") + &disk("b", "x/y"), "one within the other"),
        (disk("a", "a") + &disk("a", "b"), "two tiers are called a"),
        (disk("a", "a") + behind, "behind-journal"),
        (behind.to_owned(), "comes first and is written behind"),
        ("[[tier]]\nname = 'm'\nstore = { kind = 'memory', capacity = '64 MiB' }\n".to_owned(), "durable"),
        ("[[tier]]\nname = 'm'\ndurable = true\nstore = { kind = 'memory', capacity = '64 MiB' }\n".to_owned(), "gone with the process"),
        (disk("a", "a") + "lur = 1\n", "unknown field `lur`"),
        ("[[tier]]\nname = 'a'\nstore = { kind = 'tape' }\n".to_owned(), "unknown variant `tape`"),
    ] {
        let data = home.path().join("node");
        let (code, complaint) = refused(&data, Some(&tiers)).await;
        assert!(code.is_some_and(|code| code != 0), "{tiers}: {complaint}");
        assert!(complaint.contains(reason), "{tiers}: {complaint}");
        for made in ["a", "x", "far", "store"] {
            assert!(!data.join(made).exists(), "{tiers}: {made} was made");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_with_chunks_that_is_not_described_any_more_is_missed() {
    let disk = |path: &str| {
        format!("[[tier]]\nname = 'disk'\nstore = {{ kind = 'segments', path = '{path}' }}\n")
    };
    let mut parts = two_nodes(&disk("disk")).await;
    put_all(&parts, &files(&[1000])).await;
    parts.kill_node(0);
    let folder = parts.node_folder(0);
    let (code, complaint) = refused(&folder, None).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("keeps chunks in tiers (disk)"), "{complaint}");
    let (code, complaint) = refused(&folder, Some(&disk("elsewhere"))).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("tier disk kept chunks"), "{complaint}");

    // Its folder is empty: the disk is not mounted.
    let away = folder.join("away");
    fs::rename(folder.join("disk"), &away).expect("away");
    let (code, complaint) = refused(&folder, Some(&disk("disk"))).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("is its disk mounted?"), "{complaint}");
    fs::remove_dir_all(folder.join("disk")).expect("removed");
    fs::rename(&away, folder.join("disk")).expect("back");

    // Another node's: its sweep would take the chunks for strays.
    let theirs = parts.node_folder(1).join("disk");
    parts.kill_node(1);
    let both = disk("disk") + &disk(&theirs.display().to_string()).replace("'disk'", "'theirs'");
    let (code, complaint) = refused(&folder, Some(&both)).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("which this node has not put there"), "{complaint}");

    for node in 0..2 {
        parts.start_node(node).await;
    }
    parts.all_nodes_up().await;
    all_come_back(&parts, &files(&[1000])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_tiers_becomes_one_with_tiers_when_its_folder_is_one_of_them() {
    let disk = |path: &str| {
        format!("[[tier]]\nname = 'disk'\nstore = {{ kind = 'segments', path = '{path}' }}\n")
    };
    let mut parts = PartsPlan::new(1, 1).chunk_size(1 << 20).start().await;
    // More than the LRU holds, and nothing of it is in the tier behind yet.
    let files = files(&[4 << 20; 6]);
    put_all(&parts, &files).await;
    parts.kill_node(0);
    let (code, complaint) = refused(&parts.node_folder(0), Some(&disk("elsewhere"))).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("which is no tier"), "{complaint}");

    let tiers = format!(
        "behind-journal = 'behind'\n{}lru = {{ capacity = '16 MiB' }}\n\
         [[tier]]\nname = 'far'\nwrite = 'behind'\nstore = {{ kind = 'files', path = 'far' }}\n",
        disk(".")
    );
    parts.describe_nodes(Some(&tiers));
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    flush(&parts).await;
    eventually(30, "what does not fit was let go of", async || {
        let numbers = scrape(parts.node_address(0)).await;
        let evicted = |line: &&str| line.starts_with("cairn_node_tier_lru_evicted_total{");
        let evicted: Vec<_> = numbers.lines().filter(evicted).map(str::to_owned).collect();
        if evicted.iter().any(|line| !line.ends_with(" 0")) {
            Ok(())
        } else {
            Err(evicted.join(", "))
        }
    })
    .await;
    all_come_back(&parts, &files).await;
    // The tier that keeps what was let go of is not mounted: nothing is copied to what lies there instead.
    parts.kill_node(0);
    let far = parts.node_folder(0).join("far");
    let away = parts.home().join("away");
    fs::rename(&far, &away).expect("away");
    let (code, complaint) = refused(&parts.node_folder(0), Some(&tiers)).await;
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("is its disk mounted?"), "{complaint}");
    assert!(bytes_in(&far) < 4096, "chunks were copied there");
    fs::remove_dir_all(&far).expect("removed");
    fs::rename(&away, &far).expect("back");
    parts.start_node(0).await;
    parts.all_nodes_up().await;
    all_come_back(&parts, &files).await;
}

/// Bytes of all files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| match entry.file_type().expect("a type").is_dir() {
            true => bytes_in(&entry.path()),
            false => entry.metadata().expect("a file").len(),
        })
        .sum()
}
