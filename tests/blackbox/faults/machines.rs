//! Nodes on machines of their own, which vanish without a word while clients work; others are added, emptied and taken away.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_proto::v1::NodeState;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use crate::harness::{Content, Edge, Machines, Parts, PartsPlan, Process, eventually};
use crate::operations::counted;

const MIB: u64 = 1 << 20;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) clients: u64,
    /// Files that are there before anything happens, and the bytes of each.
    pub(crate) files: u64,
    pub(crate) length: u64,
    /// Bytes of each file that clients write meanwhile.
    pub(crate) written: u64,
}

/// A file and what it holds.
#[derive(Debug, Clone)]
struct File {
    path: String,
    content: Content,
    sha256: [u8; 32],
}

impl File {
    fn new(path: String, seed: u64, length: u64) -> Self {
        let content = Content::new(seed, length);
        Self { path, content, sha256: content.sha256() }
    }

    /// Stores it; false when that is refused for now. Any other refusal fails the test.
    async fn write(&self, edge: &Edge) -> bool {
        let answer = edge.http().put(&self.path, self.content).await;
        if answer.status != 503 {
            answer.expect(201);
            return true;
        }
        let _seconds: u64 = answer.must_have("retry-after").parse().expect("seconds");
        answer.problem(503);
        false
    }

    async fn can_be_read(&self, edge: &Edge) {
        let read = edge.http().request("GET", &self.path).send().await;
        assert_eq!(read.status, 200, "{}", self.path);
        assert_eq!(read.digest().await, (self.content.length, self.sha256), "{}", self.path);
    }
}

/// Clients that read and write until they are told to stop.
#[derive(Debug)]
struct Work {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    clients: Vec<tokio::task::JoinHandle<Vec<File>>>,
}

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    longest_read_ms: AtomicU64,
}

/// Three files are read, of those that were there and of its own; then one is written.
async fn client(
    edge: Edge,
    folder: String,
    there: Arc<Vec<File>>,
    written: u64,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
) -> Vec<File> {
    let (mut own, mut round) = (Vec::<File>::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for step in 0..3 {
            let choice = (round * 31 + step * 17) as usize;
            let file = match step {
                2 if !own.is_empty() => &own[choice % own.len()],
                _ => &there[choice % there.len()],
            };
            let begun = Instant::now();
            file.can_be_read(&edge).await;
            let took = begun.elapsed().as_millis() as u64;
            counts.longest_read_ms.fetch_max(took, Ordering::Relaxed);
            counts.reads.fetch_add(1, Ordering::Relaxed);
        }
        let file = File::new(format!("{folder}/{round}"), 1 << 32 | round, written);
        if file.write(&edge).await {
            counts.writes.fetch_add(1, Ordering::Relaxed);
            own.push(file);
        } else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(200)).await;
        }
    }
    own
}

impl Work {
    /// What clients write is below `folder`.
    fn begin(edge: Edge, folder: &str, size: Size, files: &Arc<Vec<File>>) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let clients = (0..size.clients).map(|nth| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            let folder = format!("/v1/files/{folder}/{nth}");
            tokio::spawn(client(edge, folder, Arc::clone(files), size.written, stop, counts))
        });
        let clients = clients.collect();
        Self { stop, counts, clients }
    }

    /// Waits until so many more reads and writes went well.
    async fn goes_on(&self) {
        let done = || {
            let counts = &self.counts;
            (counts.reads.load(Ordering::Relaxed), counts.writes.load(Ordering::Relaxed))
        };
        let (reads, writes) = done();
        let enough = self.clients.len() as u64;
        eventually(120, "clients read and write", async || {
            assert!(!self.clients.iter().any(|client| client.is_finished()), "a client gave up");
            let now = done();
            let more = now.0 >= reads + enough && now.1 >= writes + enough;
            if more { Ok(()) } else { Err(format!("{now:?} after {:?}", (reads, writes))) }
        })
        .await;
    }

    /// What they wrote.
    async fn end(self) -> Vec<File> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Vec::new();
        for client in self.clients {
            written.extend(client.await.expect("no read failed, and no write but with a 503"));
        }
        let counts = &self.counts;
        eprintln!(
            "{} reads, none failed, the longest {} ms; {} writes, {} refused with a 503",
            counts.reads.load(Ordering::Relaxed),
            counts.longest_read_ms.load(Ordering::Relaxed),
            counts.writes.load(Ordering::Relaxed),
            counts.refused.load(Ordering::Relaxed),
        );
        written
    }
}

async fn admin(parts: &Parts, args: &[&str]) -> (Option<i32>, String, String) {
    let admin = format!("http://{}", parts.edge.admin);
    Process::run(&[&["admin"], args, &["--admin-url", &admin]].concat()).await
}

/// An order to the master is carried out.
async fn order(parts: &Parts, args: &[&str]) {
    let (code, _, error) = admin(parts, args).await;
    assert_eq!(code, Some(0), "{args:?}: {error}");
}

async fn are_down(parts: &Parts, wanted: usize) {
    eventually(60, "the nodes are down", async || {
        let nodes = parts.edge.admin().await.nodes().await;
        let down = nodes.iter().filter(|node| node.state() == NodeState::Down).count();
        if down == wanted { Ok(()) } else { Err(format!("{down} of {wanted}")) }
    })
    .await;
}

/// Every chunk has its copies, and the census has seen it.
async fn nothing_is_short(parts: &Parts) {
    eventually(900, "every chunk has its copies again", async || {
        let short = parts.edge.admin().await.short_chunks().await;
        if short.is_empty() { Ok(()) } else { Err(format!("{} are short", short.len())) }
    })
    .await;
}

async fn fsck_is_clean(parts: &Parts) {
    eventually(120, "fsck is clean", async || {
        let (code, out, _) = admin(parts, &["fsck", "--json"]).await;
        if code == Some(0) { Ok(()) } else { Err(format!("{code:?}: {out}")) }
    })
    .await;
}

async fn all_can_be_read(parts: &Parts, files: &[File]) {
    let reads = stream::iter(files).for_each_concurrent(8, |file| file.can_be_read(&parts.edge));
    reads.await;
}

/// Stores the files that are there from the beginning.
async fn store(parts: &Parts, size: Size) -> Vec<File> {
    let file = |n| File::new(format!("/v1/files/there/{n}"), n, size.length);
    let files: Vec<_> = (0..size.files).map(file).collect();
    stream::iter(&files)
        .for_each_concurrent(4, |file| async {
            assert!(file.write(&parts.edge).await, "all nodes are there");
        })
        .await;
    files
}

/// A node that is emptied and removed; its disk is deleted.
async fn take_away(parts: &mut Parts, at: usize) {
    let name = parts.node_address(at).to_string();
    order(parts, &["node", "drain", &name]).await;
    eventually(900, "it is empty, and removed", async || {
        let (code, _, why) = admin(parts, &["node", "remove", &name]).await;
        if code == Some(0) { Ok(()) } else { Err(why) }
    })
    .await;
    if parts.has_node(at) {
        parts.kill_node(at);
    }
    fs::remove_dir_all(parts.node_folder(at)).expect("removed");
}

fn plan(machines: Machines, nodes: usize, copies: usize) -> PartsPlan {
    PartsPlan::new(nodes, copies)
        .machines(machines)
        .zones(3)
        .chunk_size(MIB)
        .master_flag("--heartbeat", "300ms")
        .master_flag("--suspect-after", "2s")
        .master_flag("--down-after", "4s")
}

/// Six nodes in three zones, three copies: two nodes of different zones die while clients work; then a node is added, one is
/// emptied, removed, and its disk deleted.
pub(crate) async fn lose_two_machines(size: Size) {
    let Some(machines) = Machines::new(7) else { return };
    let plan = plan(machines, 6, 3).master_flag("--repair-after", "2s");
    let mut parts = plan.start().await;
    let mut files = Arc::new(store(&parts, size).await);
    let work = Work::begin(parts.edge, "lost", size, &files);
    work.goes_on().await;

    let begun = Instant::now();
    parts.lose_machine(0);
    parts.lose_machine(1);
    are_down(&parts, 2).await;
    work.goes_on().await;
    nothing_is_short(&parts).await;
    let copied = counted(parts.edge.admin, "cairn_master_repair_copied_bytes_total").await;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{} MiB were copied anew; whole {seconds:.1} s after the loss", copied / MIB);
    work.goes_on().await;
    Arc::make_mut(&mut files).extend(work.end().await);
    all_can_be_read(&parts, &files).await;
    for lost in [0, 1] {
        take_away(&mut parts, lost).await;
    }
    fsck_is_clean(&parts).await;

    let work = Work::begin(parts.edge, "changed", size, &files);
    parts.add_node().await;
    parts.all_nodes_up().await;
    work.goes_on().await;
    take_away(&mut parts, 2).await;
    work.goes_on().await;
    Arc::make_mut(&mut files).extend(work.end().await);
    nothing_is_short(&parts).await;
    all_can_be_read(&parts, &files).await;
    fsck_is_clean(&parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_die_without_a_word_under_load_then_one_comes_and_one_goes() {
    let size = Size { clients: 6, files: 40, length: 3 * MIB / 2, written: 100_000 };
    lose_two_machines(size).await;
}

async fn copies_made(parts: &Parts) -> u64 {
    counted(parts.edge.admin, "cairn_master_repair_copies_total").await
}

/// Adds the chunks that are named on a node to those that were.
async fn note_held(parts: &Parts, node: &[u8], held: &mut BTreeSet<(Vec<u8>, u32)>) {
    for copies in parts.edge.admin().await.chunks().await {
        let chunk = copies.chunk.expect("it has an id");
        if copies.good.iter().chain(&copies.bad).any(|holder| *holder == node) {
            held.insert((chunk.blob_id.to_vec(), chunk.index));
        }
    }
}

/// A machine's cable is pulled and plugged in again, every so often. What its node had at some time is made anew, once for good, since
/// that was away for longer than `--repair-after`; once the node is known to be unsteady nothing is copied any more.
pub(crate) async fn toggle_a_machine(every: Duration, rounds: u32, size: Size) {
    let Some(machines) = Machines::new(5) else { return };
    let parts = plan(machines, 5, 3).master_flag("--repair-after", "3s").start().await;
    let files = Arc::new(store(&parts, size).await);
    let address = parts.node_address(0).to_string();
    let mut nodes = parts.edge.admin().await.nodes().await;
    nodes.retain(|node| node.address.ends_with(&address));
    let id = nodes.remove(0).node_id;
    let mut held = BTreeSet::new();
    note_held(&parts, &id, &mut held).await;
    let (before, mut until_half) = (held.len(), 0);
    let work = Work::begin(parts.edge, "toggled", size, &files);
    for round in 0..rounds {
        parts.plug(0, round % 2 == 1);
        sleep(every).await;
        note_held(&parts, &id, &mut held).await;
        if round * 2 < rounds {
            until_half = copies_made(&parts).await;
        }
    }
    let until_end = copies_made(&parts).await;
    parts.plug(0, true);
    // It is heard again, and stays in doubt for a while.
    are_down(&parts, 0).await;
    work.goes_on().await;
    let _ = work.end().await;
    nothing_is_short(&parts).await;
    let copies = copies_made(&parts).await;
    let given_up = counted(parts.edge.admin, "cairn_master_repair_given_up_total").await;
    let held = held.len() as u64;
    eprintln!(
        "{copies} copies were made, {until_half} of them in the first half, and {given_up} given up, of {held} chunks that the node had \
         at some time, {before} of them before"
    );
    assert!(copies <= held + given_up, "each is made anew once for good");
    assert!(given_up * 4 <= held, "few are made in vain");
    assert_eq!(until_half, until_end, "a node that is unsteady is left alone");
    fsck_is_clean(&parts).await;
    all_can_be_read(&parts, &files).await;
}

/// A node is lost: which part of the rate that repair is given it uses, from the first copy to the last.
pub(crate) async fn repair_at(rate: u64, size: Size) -> f64 {
    let plan = PartsPlan::new(5, 2)
        .master_flag("--heartbeat", "300ms")
        .master_flag("--suspect-after", "1s")
        .master_flag("--down-after", "2s")
        .master_flag("--repair-after", "1s")
        .master_flag("--repair-rate", rate);
    let mut parts = plan.start().await;
    let _files = store(&parts, size).await;
    parts.kill_node(0);
    let copied = async || counted(parts.edge.admin, "cairn_master_repair_copied_bytes_total").await;
    let first = eventually(60, "the first copy is made", async || match copied().await {
        0 => Err("none".to_owned()),
        bytes => Ok((Instant::now(), bytes)),
    })
    .await;
    let mut last = first;
    eventually(900, "every chunk has its copies again", async || {
        let bytes = copied().await;
        if bytes > last.1 {
            last = (Instant::now(), bytes);
        }
        let short = parts.edge.admin().await.short_chunks().await;
        if short.is_empty() { Ok(()) } else { Err(format!("{} are short", short.len())) }
    })
    .await;
    let (seconds, copied) = ((last.0 - first.0).as_secs_f64(), last.1 - first.1);
    let used = copied as f64 / seconds / rate as f64;
    eprintln!("{} MiB in {seconds:.1} s: {used:.2} of {} MiB/s", copied / MIB, rate / MIB);
    used
}
