//! The master is killed under load, again and again: after each start the books agree and every acknowledged file reads
//! back whole, and at the end nothing else is left.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::{
    Content, Draw, Http, Parts, PartsPlan, Process, assert_nodes_hold_what_the_catalog_names,
    within,
};

const WRITERS: u64 = 8;
/// Longest wait for a round's load.
const BOUND_SECONDS: u64 = 120;

/// What became of a name, as far as its writer was told.
#[derive(Debug, Clone)]
struct Written {
    path: String,
    content: Content,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The PUT was acknowledged.
    Stands,
    /// The DELETE was acknowledged.
    Gone,
    /// There was no answer, or one that leaves it open.
    Unknown,
}

/// Whether an answer came, and which.
async fn status(request: impl Future<Output = Result<crate::harness::Download, String>>) -> u16 {
    request.await.map_or(0, |answer| answer.status)
}

/// What the writers of a round share: what was acknowledged so far, and whether the master was killed.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    acknowledged: u64,
    is_over: bool,
}

/// Writes file after file, and deletes some, until the master was killed.
async fn write_on(
    http: Http,
    round: u64,
    writer: u64,
    progress: watch::Sender<Progress>,
) -> Vec<Written> {
    let mut written = Vec::new();
    for nth in 0.. {
        if progress.borrow().is_over {
            break;
        }
        let seed = (round * WRITERS + writer) * 10_000 + nth;
        let content = Content::new(seed, seed * 7919 % 200_000);
        let path = format!("/v1/files/{round}/{writer}/{nth}");
        let put = http.request("PUT", &path).content(content).try_send();
        let mut fate = if status(put).await == 201 { Fate::Stands } else { Fate::Unknown };
        if nth % 4 == 3 && fate == Fate::Stands {
            let deleted = status(http.request("DELETE", &path).try_send()).await;
            fate = if deleted == 204 { Fate::Gone } else { Fate::Unknown };
        }
        progress.send_modify(|so_far| so_far.acknowledged += u64::from(fate != Fate::Unknown));
        written.push(Written { path, content, fate });
    }
    written
}

/// What was acknowledged is so; what was not is whole or absent.
async fn check(http: Http, written: &[Written]) {
    for Written { path, content, fate } in written {
        let download = http.request("GET", path).send().await;
        match (fate, download.status) {
            (Fate::Gone | Fate::Unknown, 404) => {}
            (Fate::Stands | Fate::Unknown, 200) => {
                assert_eq!(download.digest().await, (content.length, content.sha256()), "{path}");
            }
            (fate, status) => panic!("{path}: {fate:?}, and GET answers {status}"),
        }
    }
}

/// The command that operators have for it.
async fn verify_usage(parts: &Parts) {
    let admin = format!("http://{}", parts.edge.admin);
    let (code, stdout, stderr) =
        Process::run(&["admin", "usage", "--verify", "--admin-url", &admin]).await;
    assert_eq!(code, Some(0), "{stdout}\n{stderr}");
}

/// In each round the master dies at a random moment of the load, and starts again.
pub(crate) async fn kill_the_master_under_load(rounds: u64) {
    let plan = PartsPlan::new(3, 2).chunk_size(64 << 10).master_flag("--lease", "3s");
    let mut parts = plan.start().await;
    let mut draw = Draw::new(4);
    let mut all = Vec::new();
    for round in 0..rounds {
        let progress = watch::Sender::new(Progress::default());
        let http = parts.edge.http();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_on(http, round, writer, progress.clone())))
            .collect();
        let enough = WRITERS * 4 + draw.below(WRITERS * 4);
        let mut seen = progress.subscribe();
        let loaded = seen.wait_for(|so_far| so_far.acknowledged >= enough);
        drop(within(BOUND_SECONDS, "files are acknowledged", loaded).await);
        // Anywhere within the calls that are under way.
        sleep(Duration::from_millis(draw.below(30))).await;
        parts.kill_master(0);
        progress.send_modify(|so_far| so_far.is_over = true);
        parts.start_master(0).await;
        parts.all_nodes_up().await;
        let mut now = Vec::new();
        for writer in writers {
            now.extend(writer.await.expect("a writer ends"));
        }
        verify_usage(&parts).await;
        check(http, &now).await;
        all.extend(now);
    }
    parts.edge.settle().await;
    verify_usage(&parts).await;
    check(parts.edge.http(), &all).await;
    let copies = assert_nodes_hold_what_the_catalog_names(&parts).await;
    let count = |fate| all.iter().filter(|written| written.fate == fate).count();
    let (stand, gone, open) = (count(Fate::Stands), count(Fate::Gone), count(Fate::Unknown));
    eprintln!(
        "{rounds} kills: {stand} files stand, {gone} deleted, {open} unknown; {copies} copies"
    );
    assert!(stand > 0 && gone > 0, "nothing was shown");
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_the_master_under_load() {
    kill_the_master_under_load(5).await;
}
