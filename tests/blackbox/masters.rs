//! Two masters over one PostgreSQL: either answers, and either may die.

use std::time::Duration;

use cairn_test_postgres::Server;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::{
    Content, Draw, Http, Parts, PartsPlan, Store, assert_nodes_hold_what_the_catalog_names,
    eventually,
};

const WRITERS: u64 = 4;

async fn two_masters(server: &Server) -> Parts {
    let plan = PartsPlan::new(3, 2).masters(2).chunk_size(64 << 10);
    let plan = plan.on(Store::Database(server.new_database())).master_flag("--lease", "5s");
    let parts = plan.start().await;
    parts.at_master(1).nodes_up(3).await;
    parts
}

fn content(writer: u64, nth: u64) -> Content {
    let seed = writer * 10_000 + nth;
    Content::new(seed, 1000 + seed * 7919 % 200_000)
}

fn path(writer: u64, nth: u64) -> String {
    format!("/v1/files/{writer}/{nth}")
}

/// Writes `files` files, each until it is acknowledged, as a client does who is told to try again; every fifth one is
/// deleted again, until that is acknowledged.
async fn write(http: Http, writer: u64, files: u64) {
    for nth in 0..files {
        let path = path(writer, nth);
        eventually(60, "the file is acknowledged", async || {
            let request = http.request("PUT", &path).content(content(writer, nth));
            match request.answer().await.status {
                200 | 201 => Ok(()),
                503 => Err("503".to_owned()),
                other => panic!("{path}: {other}"),
            }
        })
        .await;
        if nth % 5 == 4 {
            eventually(60, "the deletion is acknowledged", async || {
                match http.request("DELETE", &path).answer().await.status {
                    204 | 404 => Ok(()),
                    503 => Err("503".to_owned()),
                    other => panic!("{path}: {other}"),
                }
            })
            .await;
        }
    }
}

/// Every file that was acknowledged is there once, with its bytes; who adds up finds what is charged.
async fn check(parts: &Parts, files: u64) {
    let http = parts.edge.http();
    let mut bytes = 0;
    let mut kept = 0;
    for writer in 0..WRITERS {
        let listed = http.get(&format!("/v1/files?list&prefix={writer}/")).await.expect(200);
        let listed = listed.json()["files"].as_array().expect("files").len() as u64;
        assert_eq!(listed, files - files / 5, "names of writer {writer}");
        for nth in (0..files).filter(|nth| nth % 5 != 4) {
            let (path, expected) = (path(writer, nth), content(writer, nth));
            let download = http.request("GET", &path).send().await;
            assert_eq!(download.status, 200, "{path}");
            assert_eq!(download.digest().await, (expected.length, expected.sha256()), "{path}");
            bytes += expected.length;
            kept += 1;
        }
    }
    for at in [0, 1] {
        let mut admin = parts.at_master(at).admin().await;
        let account = admin.bucket_account().await;
        assert_eq!((account.used_bytes, account.used_objects), (bytes, kept), "at master {at}");
        assert_eq!(admin.wrong_accounts().await, 0, "at master {at}");
    }
}

/// Kills one master after the other, and starts it again, until `over` ends; how often.
async fn kill_in_turn(parts: &mut Parts, mut over: watch::Receiver<()>) -> u64 {
    let mut draw = Draw::new(7);
    let mut kills = 0;
    loop {
        let at = usize::from(kills % 2 == 1);
        let pause = Duration::from_millis(300 + draw.below(1200));
        tokio::select! {
            biased;
            _ = over.changed() => return kills,
            () = sleep(pause) => {}
        }
        parts.kill_master(at);
        kills += 1;
        sleep(Duration::from_millis(draw.below(1500))).await;
        parts.start_master(at).await;
        parts.at_master(at).nodes_up(3).await;
    }
}

/// One of two masters is killed again and again, in turn, while `files` files are written by each of four writers.
pub(crate) async fn kill_masters_during_uploads(files: u64) {
    let Some(server) = Server::shared() else { return };
    let mut parts = two_masters(server).await;
    let (over, is_over) = watch::channel(());
    let http = parts.edge.http();
    let writers = async {
        join_all((0..WRITERS).map(|writer| write(http, writer, files))).await;
        drop(over);
    };
    let ((), kills) = tokio::join!(writers, kill_in_turn(&mut parts, is_over));
    eprintln!("{} files, masters killed {kills} times", WRITERS * files);
    assert!(kills > 0, "the writers were done before a master was killed");
    parts.edge.settle().await;
    check(&parts, files).await;
    assert_nodes_hold_what_the_catalog_names(&parts).await;
}

#[tokio::test]
async fn files_are_acknowledged_once_and_charged_once_while_masters_are_killed() {
    kill_masters_during_uploads(60).await;
}

#[tokio::test]
async fn what_one_master_is_told_the_other_one_knows() {
    let Some(server) = Server::shared() else { return };
    let mut parts = two_masters(server).await;
    let http = parts.edge.http();
    http.put("/v1/files/a", Content::new(1, 300_000)).await.expect(201);
    parts.kill_master(0);
    let got = http.get("/v1/files/a").await.expect(200);
    assert!(got.body == Content::new(1, 300_000).all());
    http.put("/v1/files/b", Content::new(2, 300_000)).await.expect(201);
    let account = parts.at_master(1).admin().await.bucket_account().await;
    assert_eq!((account.used_bytes, account.used_objects), (600_000, 2));
    parts.start_master(0).await;
    parts.kill_master(1);
    parts.at_master(0).nodes_up(3).await;
    let got = http.get("/v1/files/b").await.expect(200);
    assert!(got.body == Content::new(2, 300_000).all());
}
