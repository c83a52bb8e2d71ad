//! The scenario: the node that holds the chunk being written is cut off; where there are three copies, two of them are.
//!
//! ```text
//! crowd    ── PUT, GET, DELETE of shared names, some uploads cut ─────────────────────┐
//! writer   ── PUT of several chunks ─────────────────────────────────────────────┐    ├─► heal ─► sweep ─► invariants
//! saboteur ── waits for the moment ── cuts what is written to ── heals ──────────┴────┘
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_chunk_master::SeededBug;
use cairn_proto::v1::NodeState;
use cairn_runtime::{Clock, Entropy};
use futures_util::future::{join, join_all, join3};

use crate::acts;
use crate::client::{Client, Upload};
use crate::cluster::{CLIENT, Cluster, ClusterConfig, Control, Cut, GATEWAY, MASTER, clock};
use crate::events::EventLog;
use crate::history::{Content, History};
use crate::invariants;
use crate::linear::object::When;
use crate::operator::Operator;
use crate::outcome::Outcome;

/// Clients that work beside the writer.
const CROWD: u64 = 3;
/// Requests of each.
const REQUESTS: u64 = 6;
/// Clients that want to make the same file.
const RIVALS: u64 = 2;
/// Names that they share.
const SHARED: u64 = 4;
/// Files that are written one after the other, each with a node cut off.
const ROUNDS: u64 = 2;
/// Longest wait until the cluster serves, and until it is quiet again.
const READY_WITHIN: Duration = Duration::from_secs(60);
const QUIET_WITHIN: Duration = Duration::from_secs(240);

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// A fault on purpose in the master, for the invariants to find.
    pub seeded_bug: Option<SeededBug>,
}

impl Scenario {
    /// Every kind of fault: over many seeds each must strike.
    pub const FAULTS: &[&str] = &[
        "buffered transactions lost",
        "cut from gateway",
        "deaf",
        "disk lost",
        "file torn",
        "isolated",
        "killed",
        "kv busy",
        "kv conflict",
        "kv failed",
        "kv unknown, did happen",
        "kv unknown, did not",
        "kv view failed",
        "mute",
        "power lost",
        "stalled",
        "unsynced name lost",
        "unsynced page lost",
        "upload cut",
    ];

    /// The scenario of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, seeded_bug: None }
    }

    /// Runs it. What a service panics with ends the run and is a violation.
    pub fn run(self) -> Outcome {
        let log = EventLog::default();
        let history = History::default();
        let simulate = || log.collect(|| self.simulate(&log, &history));
        let (mut violations, elapsed) =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(simulate)).unwrap_or_else(|_| {
                (vec!["the simulation panicked: see above".to_owned()], Duration::ZERO)
            });
        violations.extend(history.violations());
        violations.extend(log.unexpected_errors());
        Outcome {
            seed: self.seed,
            violations,
            log: log.lines(),
            faults: log.faults(),
            tally: history.tally(),
            audits: 1,
            elapsed,
        }
    }

    fn simulate(self, log: &EventLog, history: &History) -> (Vec<String>, Duration) {
        let chance = Entropy::seeded(self.seed);
        let (nodes, copies) = match chance.below(6) {
            0..=2 => (3, 2),
            3 => (4, 2),
            _ => (5, 3),
        };
        let config = ClusterConfig {
            seed: self.seed,
            nodes,
            copies,
            chunk_bytes: (64 << 10) << chance.below(3),
            seeded_bug: self.seeded_bug,
        };
        log.note(CLIENT, format_args!("{config:?}"));
        let cluster = match Cluster::new(&config, log) {
            Ok(cluster) => cluster,
            Err(error) => return (vec![error.to_string()], Duration::ZERO),
        };
        let found = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&found);
        let (control, log, history) = (cluster.control(), log.clone(), history.clone());
        let ran = cluster.run(async move {
            let play = Play::new(chance, &config, control, log, history);
            let violations = Box::pin(play.run()).await;
            told.lock().unwrap_or_else(PoisonError::into_inner).extend(violations);
        });
        let mut violations = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let elapsed = ran.unwrap_or_else(|error| {
            violations.push(format!("the simulation ended early: {error}"));
            Duration::ZERO
        });
        (violations, elapsed)
    }
}

/// One run, on the client's host.
pub(crate) struct Play {
    chance: Entropy,
    copies: u32,
    pub(crate) chunk_bytes: u64,
    pub(crate) control: Control,
    pub(crate) log: EventLog,
    pub(crate) history: History,
    pub(crate) clock: Clock,
}

impl Play {
    fn new(
        chance: Entropy,
        config: &ClusterConfig,
        control: Control,
        log: EventLog,
        history: History,
    ) -> Self {
        let ClusterConfig { copies, chunk_bytes, .. } = *config;
        Self { chance, copies, chunk_bytes, control, log, history, clock: clock() }
    }

    async fn run(&self) -> Vec<String> {
        let operator = match Operator::new() {
            Ok(operator) => operator,
            Err(error) => return vec![error.to_string()],
        };
        if !self.wait_until_all_are_up(&operator).await {
            return vec!["the cluster does not start".to_owned()];
        }
        self.control.store_fails(true);
        let crowd = join_all((1..=CROWD).map(|n| self.crowd(n)));
        let rivals = join_all((1..=RIVALS).map(|n| self.rival(n)));
        let work = join3(crowd, Box::pin(self.writer(&operator)), rivals);
        join(work, self.service_restart()).await;
        self.control.store_fails(false);
        self.log.note(CLIENT, "all faults are over");
        if !self.wait_until_all_are_up(&operator).await {
            return vec!["not all nodes come back".to_owned()];
        }
        let mut violations = Vec::new();
        violations.extend(Box::pin(acts::a_reader_outlives_a_purge(self, &operator)).await);
        if self.one_in(2) {
            violations
                .extend(Box::pin(acts::the_master_dies_after_its_word(self, &operator)).await);
        }
        if self.one_in(2) {
            violations.extend(Box::pin(acts::a_node_is_lost_with_its_disk(self, &operator)).await);
        }
        if self.one_in(2) {
            violations.extend(Box::pin(acts::a_node_is_emptied(self, &operator)).await);
        }
        if !self.sweep_until_quiet(&operator).await {
            violations.push("the sweep does not come to an end".to_owned());
        }
        let reader = Client::new("reader", &self.log, &self.history);
        violations.extend(invariants::check(&operator, &reader, &self.history).await);
        violations.extend(self.audit().await);
        self.control.count_losses();
        for violation in &violations {
            self.log.note(CLIENT, format_args!("VIOLATION {violation}"));
        }
        violations
    }

    /// What the catalog's records say of each other.
    async fn audit(&self) -> Vec<String> {
        match cairn_chunk_master::audit(&self.control.store().open()).await {
            Ok(audit) => {
                let found = audit.contradictions.into_iter().chain(audit.over_limit);
                found.map(|text| format!("audit: {text}")).collect()
            }
            Err(error) => vec![format!("audit: {error}")],
        }
    }

    fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.chance.below(most))
    }

    /// One of the storage nodes' hosts.
    pub(crate) fn some_node(&self) -> String {
        let mut nodes = self.control.nodes();
        let at = usize::try_from(self.chance.below(nodes.len() as u64)).unwrap_or(0);
        nodes.swap_remove(at)
    }

    fn one_in(&self, n: u64) -> bool {
        self.chance.below(n) == 0
    }

    /// A length with the edges of chunks among them.
    fn length(&self) -> u64 {
        let chunk = self.chunk_bytes;
        match self.chance.below(8) {
            0 => 0,
            1 => 1 + self.chance.below(100),
            2 => chunk - 1,
            3 => chunk,
            4 => chunk + 1,
            _ => self.chance.below(4 * chunk),
        }
    }

    pub(crate) fn upload(&self, length: u64) -> Upload {
        Upload {
            content: Content::new(self.chance.below(1 << 32), length),
            when: if self.one_in(4) { When::Absent } else { When::Always },
            announced: self.one_in(2),
            piece: 16 << 10,
            pause: Duration::from_millis(2) + self.millis(10),
            cut_after: None,
        }
    }

    /// A client that does this and that with shared names.
    async fn crowd(&self, n: u64) {
        let client = Client::new(format!("crowd-{n}"), &self.log, &self.history);
        for _ in 0..REQUESTS {
            self.clock.sleep(self.millis(3000)).await;
            let key = format!("shared-{}", self.chance.below(SHARED));
            match self.chance.below(8) {
                0 => client.delete(&key).await,
                1..=3 => drop(client.get(&key).await),
                4 | 5 => drop(client.put(&key, self.upload(self.length())).await),
                _ => {
                    let mut upload = self.upload((1 + self.chance.below(4)) * self.chunk_bytes);
                    upload.cut_after = Some(self.chance.below(upload.content.length));
                    client.put(&key, upload).await;
                }
            }
        }
    }

    /// One of those that all want to be the one who makes a file.
    async fn rival(&self, n: u64) {
        let client = Client::new(format!("rival-{n}"), &self.log, &self.history);
        for round in 0..ROUNDS {
            self.clock.sleep(self.millis(200)).await;
            let upload = Upload { when: When::Absent, ..self.upload(self.length()) };
            client.put(&format!("only-one-{round}"), upload).await;
        }
    }

    /// Writes the files during which a node is cut off.
    async fn writer(&self, operator: &Operator) {
        let client = Client::new("writer", &self.log, &self.history);
        for round in 0..ROUNDS {
            let key = format!("written-{round}");
            let chunks = 2 + self.chance.below(5);
            let length = chunks * self.chunk_bytes + self.chance.below(self.chunk_bytes);
            let done = Arc::new(Mutex::new(false));
            let ends = Arc::clone(&done);
            let write = async {
                client.put(&key, self.upload(length)).await;
                *ends.lock().unwrap_or_else(PoisonError::into_inner) = true;
            };
            join(write, self.saboteur(operator, &key, chunks, &done)).await;
            client.get(&key).await;
        }
    }

    /// Cuts off a node while it takes a chunk of `key`, perhaps with another one that is written to, and heals them later.
    async fn saboteur(&self, operator: &Operator, key: &str, chunks: u64, done: &Mutex<bool>) {
        const LOOK_AGAIN: Duration = Duration::from_millis(5);
        let index = self.chance.below(chunks);
        let taken = self.chance.below(self.chunk_bytes);
        let turn = self.chance.below(2) == 0;
        let over = || *done.lock().unwrap_or_else(PoisonError::into_inner);
        let blob = loop {
            match operator.blob_of(key).await {
                Some(blob) => break blob,
                None if over() => return,
                None => self.clock.sleep(LOOK_AGAIN).await,
            }
        };
        let in_flight = self.control.in_flight();
        let host = loop {
            let mut writes = in_flight.now();
            writes.retain(|write| {
                let due = u64::from(write.chunk.index) > index
                    || (u64::from(write.chunk.index) == index && write.taken >= taken);
                write.chunk.blob == blob && due
            });
            let last = if turn { writes.pop() } else { writes.into_iter().next() };
            match last {
                Some(write) => {
                    let (chunk, taken) = (write.chunk, write.taken);
                    self.log
                        .note("FAULT", format_args!("{} has {taken} bytes of {chunk}", write.host));
                    break write.host;
                }
                None if over() => return,
                None => self.clock.sleep(LOOK_AGAIN).await,
            }
        };
        let beside =
            in_flight.now().into_iter().map(|write| write.host).find(|other| *other != host);
        let two = self.copies > 2 && self.one_in(2);
        let hosts = [host].into_iter().chain(beside.filter(|_| two));
        join_all(hosts.map(|host| self.cut_off(host))).await;
    }

    /// Cuts off a node for a while.
    async fn cut_off(&self, host: String) {
        let cut = self.shape();
        if matches!(cut, Cut::PowerLost(_)) {
            self.stop_the_disk(&host).await;
        }
        self.control.cut(&host, cut);
        self.clock.sleep(Duration::from_millis(200) + self.millis(25_000)).await;
        self.control.heal(&host, cut);
    }

    /// The disk stops in the middle of what is being written, or a while later when nothing is.
    async fn stop_the_disk(&self, host: &str) {
        const CHANGES: u64 = 10;
        let stopped = async {
            self.control.stop_disk_after(host, self.chance.below(CHANGES));
            while !self.control.disk_has_stopped(host) {
                self.clock.sleep(Duration::from_millis(2)).await;
            }
        };
        let _or_it_was_idle = self.clock.timeout(Duration::from_secs(3), stopped).await;
    }

    fn shape(&self) -> Cut {
        match self.chance.below(10) {
            0..=2 => Cut::Isolated,
            3 => Cut::Mute,
            4 => Cut::Deaf,
            5 => Cut::FromGateway,
            6 => Cut::Stalled,
            7 => Cut::Killed,
            _ => Cut::PowerLost(self.chance.below(1 << 32)),
        }
    }

    /// In some runs the master or the gateway dies as well, and comes back.
    async fn service_restart(&self) {
        let host = match self.chance.below(6) {
            0..=2 => MASTER,
            3 => GATEWAY,
            _ => return,
        };
        self.clock.sleep(Duration::from_millis(500) + self.millis(15_000)).await;
        self.control.cut(host, Cut::Killed);
        self.clock.sleep(Duration::from_millis(100) + self.millis(5_000)).await;
        self.control.heal(host, Cut::Killed);
    }

    pub(crate) async fn wait_until_all_are_up(&self, operator: &Operator) -> bool {
        let wanted = self.control.nodes().len();
        let all_up = async {
            loop {
                let nodes = operator.nodes().await.unwrap_or_default();
                let up = nodes.iter().filter(|node| node.state() == NodeState::Up).count();
                // The gateway is there as well once it lists.
                if up == wanted && operator.files().await.is_ok() {
                    return;
                }
                self.clock.sleep(Duration::from_millis(500)).await;
            }
        };
        self.clock.timeout(READY_WITHIN, all_up).await.is_ok()
    }

    /// Sweeps until no upload is open and nothing is condemned, waiting or orphaned.
    async fn sweep_until_quiet(&self, operator: &Operator) -> bool {
        let quiet = async {
            loop {
                self.clock.sleep(Duration::from_secs(2)).await;
                if matches!(is_quiet(operator).await, Some(true)) {
                    return;
                }
            }
        };
        self.clock.timeout(QUIET_WITHIN, quiet).await.is_ok()
    }
}

async fn is_quiet(operator: &Operator) -> Option<bool> {
    let report = operator.sweep().await.ok()?;
    let swept = report.uploads_expired
        + report.versions_purged
        + report.blobs_erased
        + report.blobs_waiting
        + report.orphans_deleted;
    let open = operator.uploads().await.ok()?.len();
    let accounts = operator.accounts().await.ok()?;
    let condemned: u64 = accounts.iter().map(|account| account.condemned_objects).sum();
    Some(swept == 0 && open == 0 && condemned == 0)
}
