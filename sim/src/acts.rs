//! Acts that a scenario plays when its faults are over: one fault each, at the worst moment.

use std::time::Duration;

use futures_util::future::join;

use crate::client::{Client, Upload};
use crate::cluster::{Cut, MASTER};
use crate::history::Told;
use crate::operator::Operator;
use crate::scenario::Play;

/// A slow reader is in the middle of a file when the file is deleted, waits out its time and is swept: it reads to the
/// end all the same.
pub(crate) async fn a_reader_outlives_a_purge(play: &Play, operator: &Operator) -> Vec<String> {
    /// More than fits into the buffers on the way.
    const BYTES: u64 = 7 << 20;
    /// Pauses of the reader, and how long each is: together longer than a deleted file waits to be purged.
    const PAUSES: u32 = 10;
    const PAUSE: Duration = Duration::from_secs(4);
    const KEY: &str = "read-for-long";
    let writer = Client::new("writer", &play.log, &play.history);
    let upload = Upload { pause: Duration::ZERO, piece: 1 << 20, ..play.upload(BYTES) };
    if writer.put(KEY, upload).await != Told::Acknowledged {
        return vec![format!("{KEY} cannot be written after healing")];
    }
    let reader = Client::new("reader", &play.log, &play.history);
    let sweeps = async {
        play.clock.sleep(PAUSE / 2).await;
        writer.delete(KEY).await;
        for _ in 1..PAUSES {
            play.clock.sleep(PAUSE).await;
            // What it cannot do now it does in the next pass.
            let _report = operator.sweep().await;
        }
    };
    let (whole, ()) = join(reader.get_slowly(KEY, PAUSES, PAUSE), sweeps).await;
    if whole { Vec::new() } else { vec![format!("{KEY} was purged under its reader")] }
}

/// The master dies as soon as it has given its word: what it has acknowledged stands.
pub(crate) async fn the_master_dies_after_its_word(
    play: &Play,
    operator: &Operator,
) -> Vec<String> {
    const KEY: &str = "last-words";
    let client = Client::new("witness", &play.log, &play.history);
    let upload = Upload { pause: Duration::ZERO, ..play.upload(play.chunk_bytes) };
    if client.put(KEY, upload).await != Told::Acknowledged {
        return vec![format!("{KEY} cannot be written after healing")];
    }
    for step in 0..2 {
        if step == 1 {
            client.delete(KEY).await;
        }
        play.control.cut(MASTER, Cut::Killed);
        play.control.heal(MASTER, Cut::Killed);
        if !play.wait_until_all_are_up(operator).await {
            return vec!["the master does not come back".to_owned()];
        }
        client.get(KEY).await;
    }
    Vec::new()
}
