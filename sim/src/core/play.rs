//! One run: what happens, and in which order, drawn from the seed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use cairn_chunk_master::{Config, SeededBug};
use cairn_core::chunking::ChunkSizes;
use cairn_core::doubt::FlapBounds;
use cairn_core::ids::DiskIncarnation;
use cairn_core::liveness::LivenessBounds;
use cairn_kv::simulated::Odds;
use cairn_proto::v1::admin_server::Admin as _;
use cairn_proto::v1::master_server::Master as _;
use cairn_proto::{Reason, convert, v1};
use tonic::Request;

use super::tasks::Owner;
use super::world::World;
use super::{calls, ending, gateway, operator, reader, truth};
use crate::EventLog;
use crate::history::Content;
use crate::linear::object::When;
use crate::outcome::Outcome;

/// Bytes of a chunk: nothing has bytes here, so any small number will do.
pub(super) const CHUNK: u64 = 1000;
/// Names that are shared, and those of the bucket that comes and goes.
const NAMES: [&str; 6] =
    ["default/k0", "default/k1", "default/k2", "default/k3", "passing/k0", "passing/k1"];
/// Gateways.
const GATEWAYS: u64 = 2;
/// Things that happen in a run.
const HAPPENINGS: u32 = 260;
/// Polls between two of them, at most.
const MOST_POLLS: u64 = 24;
/// Tasks beyond which no client begins anything new.
const CROWDED: usize = 40;
/// What the bucket may hold: little enough that some uploads are refused.
const LIMIT_BYTES: u64 = 40 * CHUNK;

/// Bytes of copies that may be made anew in a second.
pub(super) const REPAIR_RATE: u64 = 40 * CHUNK;
/// The longest that a node which comes and goes must be steady before it gets chunks again.
pub(super) const HOLD: Duration = Duration::from_secs(4);

/// How often the store fails.
const FAULTY: Odds = Odds { conflict: 12, failure: 150, unknown: 60, busy: 200, pauses: 3 };

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreScenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// A fault on purpose in the master, for the checkers to find.
    pub seeded_bug: Option<SeededBug>,
    /// Whether the event log is kept: without it a run is several times faster.
    pub keep_log: bool,
}

impl CoreScenario {
    /// Every kind of fault: over many seeds each must strike.
    pub const FAULTS: &[&str] = &[
        "answer lost",
        "bucket deleted among open calls",
        "bucket made again",
        "buffered transactions lost",
        "call broken off",
        "copy command repeated",
        "copy damaged",
        "copy lost",
        "clock jumped ahead",
        "clock jumped back",
        "disk emptied",
        "erase command repeated",
        "file brought back",
        "gateway died",
        "kv busy",
        "kv conflict",
        "kv failed",
        "kv unknown, did happen",
        "kv unknown, did not",
        "kv view failed",
        "late request arrived",
        "long silence",
        "master crashed",
        "node away for long",
        "node drained",
        "node drained and let back",
        "node cut off",
        "node lost power",
        "node started again",
        "node's answer lost",
        "request late",
        "request lost",
        "repair among open calls",
        "request repeated",
        "sweep among open calls",
        "unsynced chunk lost",
    ];

    /// The scenario of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, seeded_bug: None, keep_log: false }
    }

    /// Runs it. What the master panics with ends the run and is a violation.
    pub fn run(self) -> Outcome {
        let log = if self.keep_log { EventLog::default() } else { EventLog::faults_only() };
        let simulate = || log.collect(|| self.simulate(&log));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(simulate));
        let mut outcome = played.unwrap_or_else(|_| Outcome {
            violations: vec!["the simulation panicked: see above".to_owned()],
            ..Outcome::default()
        });
        outcome.seed = self.seed;
        outcome.violations.extend(log.unexpected_errors());
        outcome.log = log.lines();
        outcome.faults.extend(log.faults());
        outcome
    }

    fn simulate(self, log: &EventLog) -> Outcome {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        match runtime {
            // Unconstrained: the scheduler decides when a task yields, not tokio's budget.
            Ok(runtime) => runtime.block_on(tokio::task::unconstrained(self.play(log))),
            Err(error) => Outcome { violations: vec![error.to_string()], ..Outcome::default() },
        }
    }

    async fn play(self, log: &EventLog) -> Outcome {
        let seed = self.seed;
        log.stand_still(Some(Duration::ZERO));
        let (nodes, copies) = match seed % 6 {
            0 | 3 => (4, 2),
            1 => (5, 3),
            _ => (3, 2),
        };
        let world = World::new(seed, config(self.seeded_bug, copies), nodes, log);
        let play = Play { world, audits: Cell::new(0) };
        play.begin().await;
        for _ in 0..HAPPENINGS {
            play.run_tasks(play.below(MOST_POLLS));
            play.something_happens().await;
        }
        ending::come_to_rest(&play).await;
        ending::check(&play).await;
        let world = &play.world;
        let mut violations = world.violations.borrow().clone();
        violations.extend(world.history.violations());
        Outcome {
            violations,
            faults: world.store.struck(),
            tally: world.history.tally(),
            audits: play.audits.get(),
            elapsed: world.clock.monotonic(),
            ..Outcome::default()
        }
    }
}

/// Production's rules with shorter waits, no loops, and no wait for quota.
fn config(seeded_bug: Option<SeededBug>, copies: u32) -> Config {
    Config {
        copies,
        chunk_sizes: ChunkSizes::starting_with(CHUNK).unwrap_or(ChunkSizes::STANDARD),
        lease: Duration::from_secs(20),
        condemn_for: Duration::from_secs(6),
        read_lease: Duration::from_secs(10),
        remember_for: Duration::from_secs(180),
        quota_wait: Duration::ZERO,
        repair_after: Duration::from_secs(10),
        repair_rate: REPAIR_RATE,
        liveness: LivenessBounds {
            suspect_after: Duration::from_secs(8),
            down_after: Duration::from_secs(40),
        },
        flaps: FlapBounds { hold: HOLD / 2, most_hold: HOLD, ..FlapBounds::default() },
        seeded_bug,
        ..Config::default()
    }
}

/// A run that goes on.
pub(super) struct Play {
    pub(super) world: Rc<World>,
    pub(super) audits: Cell<u64>,
}

impl Play {
    /// For so long everybody sleeps at least who sleeps, when all tasks are run to their end.
    pub(super) const TICK: Duration = Duration::from_millis(100);

    fn below(&self, bound: u64) -> u64 {
        self.world.chance.below(bound)
    }

    /// A master, its nodes, a limit, and then the faults.
    async fn begin(&self) {
        let world = &self.world;
        world.be_calm(true);
        world.start_master().await;
        self.beat_all().await;
        if let Some(master) = world.master() {
            let scope = v1::Scope {
                kind: v1::ScopeKind::Bucket.into(),
                name: "default".into(),
                ..Default::default()
            };
            let limits = v1::Limits { bytes: Some(LIMIT_BYTES), objects: None };
            let request = v1::SetQuotaRequest { scope: Some(scope), limits: Some(limits) };
            if let Err(refused) = master.admin().set_quota(Request::new(request)).await {
                world.violation(format!("no limit is set: {refused}"));
            }
        }
        world.store.set_odds(FAULTY);
        world.be_calm(false);
    }

    /// Runs up to `polls` steps of tasks; true when nothing can go on before time passes.
    pub(super) fn run_tasks(&self, polls: u64) -> bool {
        (0..polls).any(|_| !self.world.tasks.step(&self.world.chance))
    }

    /// Time passes, for everybody.
    pub(super) async fn pass_time(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.world.log.stand_still(Some(self.world.clock.monotonic()));
    }

    async fn something_happens(&self) {
        match self.below(100) {
            0..=27 => self.client_begins(),
            28..=59 => {
                self.pass_time(Duration::from_millis(self.below(1500))).await;
                self.some_nodes_beat();
            }
            60..=63 => self.client_begins(),
            64 => operator::bring_back(&self.world),
            65 => operator::drain_or_let_back(&self.world),
            66 => self.scrub(),
            67..=69 => self.bucket_comes_or_goes(),
            70..=75 => self.sweep(),
            76..=79 => self.repair(),
            80..=84 => drop(self.world.deliver_a_late_one()),
            85..=90 => self.node_trouble(),
            91 | 92 => self.something_is_lost().await,
            93 | 94 => self.master_trouble().await,
            95 => self.gateway_dies(),
            96 => self.clock_jumps(),
            97 if self.below(2) == 0 => self.long_absence().await,
            97 => self.long_silence().await,
            _ => self.audit().await,
        }
    }

    fn name(&self) -> String {
        let at = usize::try_from(self.below(NAMES.len() as u64)).unwrap_or(0);
        NAMES[at].to_owned()
    }

    fn bucket_comes_or_goes(&self) {
        match self.below(3) {
            0 => {
                let names = NAMES.into_iter().filter(|name| name.starts_with(operator::PASSING));
                operator::remove_bucket(&self.world, names, self.below(3) > 0);
                if self.busy_gateways() > 0 {
                    self.world.log.fault("bucket deleted among open calls", operator::PASSING);
                }
            }
            _ => operator::make_bucket(&self.world),
        }
    }

    /// A condition: often none, sometimes on a content that is or was there.
    fn when(&self, key: &str) -> When {
        match self.below(6) {
            0 | 1 => When::Absent,
            2 => self
                .world
                .history
                .some_content(key, |count| self.below(count))
                .map_or(When::Always, When::Is),
            _ => When::Always,
        }
    }

    fn length(&self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => CHUNK - 1,
            2 => CHUNK,
            3 => CHUNK + 1,
            _ => self.below(5 * CHUNK),
        }
    }

    fn client_begins(&self) {
        let world = Rc::clone(&self.world);
        if world.tasks.len() > CROWDED {
            return;
        }
        let number = self.below(GATEWAYS);
        let owner = Owner::Gateway(usize::try_from(number).unwrap_or(0));
        let (who, name) = (format!("gw-{number}"), self.name());
        match self.below(12) {
            0..=4 => {
                let content = Content::new(self.below(1 << 40), self.length());
                let (when, announced) = (self.when(&name), self.below(3) > 0);
                world.tasks.spawn(
                    owner,
                    gateway::put(
                        Rc::clone(&world),
                        who,
                        gateway::Put { name, content, when, announced },
                    ),
                );
            }
            5 | 6 => {
                let when = match self.when(&name) {
                    When::Absent => When::Always,
                    when => when,
                };
                world.tasks.spawn(owner, gateway::delete(Rc::clone(&world), who, name, when));
            }
            7..=9 => world.tasks.spawn(owner, reader::get(Rc::clone(&world), who, name, false)),
            10 => world.tasks.spawn(owner, gateway::head(Rc::clone(&world), name)),
            _ => {
                let limit = 1 + u32::try_from(self.below(3)).unwrap_or(0);
                let bucket = if self.below(3) == 0 { operator::PASSING } else { "default" };
                world.tasks.spawn(owner, gateway::list(Rc::clone(&world), bucket, limit));
            }
        }
    }

    /// Most nodes are heard; what they say takes its time.
    fn some_nodes_beat(&self) {
        for (number, node) in self.world.nodes.iter().enumerate() {
            let world = Rc::clone(&self.world);
            if node.answers() && self.below(3) > 0 && world.tasks.count(Owner::Node(number)) == 0 {
                self.world
                    .tasks
                    .spawn(Owner::Node(number), async move { beat(&world, number).await });
            }
        }
    }

    /// Every node is heard.
    pub(super) async fn beat_all(&self) {
        for number in 0..self.world.nodes.len() {
            let world = Rc::clone(&self.world);
            self.world.tasks.spawn(Owner::Node(number), async move { beat(&world, number).await });
        }
        self.run_to_rest().await;
    }

    /// Runs tasks until all are done, for as long as that takes. False when some never are.
    pub(super) async fn run_to_rest(&self) -> bool {
        const LONGEST: u32 = 2000;
        for _ in 0..LONGEST {
            while self.world.tasks.step(&self.world.chance) {}
            if self.world.tasks.len() == 0 {
                return true;
            }
            self.pass_time(Self::TICK).await;
        }
        false
    }

    /// A pass of the sweep begins, whatever else goes on.
    fn sweep(&self) {
        let Some(master) = self.world.master() else { return };
        let log = self.world.log.clone();
        let (gateways, complete) = (self.busy_gateways(), self.below(2) == 0);
        if gateways > 0 {
            log.fault("sweep among open calls", format_args!("{gateways} tasks of gateways"));
        }
        self.world.tasks.spawn(Owner::Master, async move {
            let done = if complete {
                master
                    .admin()
                    .sweep(Request::new(v1::SweepRequest {}))
                    .await
                    .map(|answer| format!("{:?}", answer.get_ref()))
            } else {
                master
                    .pass()
                    .await
                    .map(|report| format!("{report:?}"))
                    .map_err(|error| tonic::Status::unknown(error.to_string()))
            };
            match done {
                Ok(report) => log.note("master", format_args!("swept: {report}")),
                Err(error) => {
                    log.note("master", format_args!("sweep broke off: {}", error.message()))
                }
            }
        });
    }

    /// Chunks that are short get new copies, unless that goes on already.
    pub(super) fn repair(&self) {
        let Some(master) = self.world.master() else { return };
        if self.world.tasks.count(Owner::Loop) > 0 {
            return;
        }
        if self.busy_gateways() > 0 {
            self.world.log.fault("repair among open calls", "a round of it");
        }
        let log = self.world.log.clone();
        self.world.tasks.spawn(Owner::Loop, async move {
            match master.repair().await {
                Ok(()) => log.note("master", "repaired what it could"),
                Err(error) => log.note("master", format_args!("repair broke off: {error}")),
            }
        });
    }

    /// A node reads what it holds, and tells of what is damaged.
    fn scrub(&self) {
        let any = usize::try_from(self.below(self.world.nodes.len() as u64)).unwrap_or(0);
        if self.world.nodes[any].answers() {
            let world = Rc::clone(&self.world);
            self.world.tasks.spawn(Owner::Node(any), reader::scrub(world, any));
        }
    }

    /// While every chunk has all its copies, one copy of some is lost: with its disk, or alone.
    async fn something_is_lost(&self) {
        let Some(whole) = self.undisturbed(truth::all_is_whole(&self.world)).await else { return };
        let log = &self.world.log;
        if self.below(2) == 0 {
            let any = usize::try_from(self.below(self.world.nodes.len() as u64)).unwrap_or(0);
            let node = &self.world.nodes[any];
            let disk = self.world.chance.uuid_v7(&self.world.clock);
            node.replace_disk(DiskIncarnation::from_uuid(disk));
            return log.fault("disk emptied", &node.address);
        }
        for (chunk, nodes) in whole {
            let at = usize::try_from(self.below(2 * nodes.len() as u64)).unwrap_or(0);
            let Some(node) = nodes.get(at).and_then(|id| truth::node(&self.world, *id)) else {
                continue;
            };
            let loses = self.below(2) == 0;
            node.spoil(chunk, loses);
            let kind = if loses { "copy lost" } else { "copy damaged" };
            log.fault(kind, format_args!("{chunk} on {}", node.address));
        }
    }

    /// A look at the catalog that no fault meets.
    async fn undisturbed<T>(&self, look: impl Future<Output = T>) -> T {
        self.world.store.set_odds(Odds::default());
        let seen = look.await;
        if !self.world.is_calm() {
            self.world.store.set_odds(FAULTY);
        }
        seen
    }

    fn busy_gateways(&self) -> usize {
        (0..GATEWAYS)
            .map(|n| self.world.tasks.count(Owner::Gateway(usize::try_from(n).unwrap_or(0))))
            .sum()
    }

    fn node_trouble(&self) {
        let busy = self.world.nodes.iter().position(|node| node.is_on() && node.is_writing());
        let any = usize::try_from(self.below(self.world.nodes.len() as u64)).unwrap_or(0);
        let number = busy.unwrap_or(any);
        let node = &self.world.nodes[number];
        let log = &self.world.log;
        match self.below(8) {
            _ if !node.is_on() => {
                node.start();
                log.fault("node started again", &node.address);
            }
            _ if node.is_cut_off() => node.cut_off(false),
            0..=2 => {
                self.world.tasks.kill(Owner::Node(number));
                node.lose_power();
                log.fault("node lost power", &node.address);
            }
            3 | 4 => {
                node.cut_off(true);
                log.fault("node cut off", &node.address);
            }
            _ => {
                if let Some(kind) = calls::repeat_an_order(node, &self.world.nodes) {
                    log.fault(kind, &node.address);
                }
            }
        }
    }

    async fn master_trouble(&self) {
        if self.below(3) == 0 {
            if self.world.tasks.break_off(Owner::Master, &self.world.chance) {
                self.world.log.fault("call broken off", "at the master");
            }
            return;
        }
        self.world.crash_master();
        self.run_tasks(self.below(MOST_POLLS));
        self.world.store.set_odds(Odds { pauses: 3, ..Odds::default() });
        self.world.start_master().await;
        self.world.store.set_odds(FAULTY);
        // Just now, what was sent to the master before is at its worst.
        if self.below(2) == 0 {
            self.world.deliver_a_late_one();
        }
    }

    fn gateway_dies(&self) {
        let number = self.below(GATEWAYS);
        let calls = self.world.tasks.kill(Owner::Gateway(usize::try_from(number).unwrap_or(0)));
        if calls > 0 {
            self.world.log.fault("gateway died", format_args!("gw-{number} with {calls} tasks"));
        }
    }

    fn clock_jumps(&self) {
        const HOUR_MS: u64 = 60 * 60 * 1000;
        let ms = i64::try_from(self.below(2 * HOUR_MS)).unwrap_or(0);
        let (kind, ms) = match self.below(3) {
            0 => ("clock jumped ahead", ms),
            1 => ("clock jumped back", -ms),
            _ => ("clock set right", 0),
        };
        self.world.jump_to(ms);
        self.world.log.fault(kind, format_args!("{ms} ms from the truth"));
    }

    /// Much time passes for what little is done: leases end.
    async fn long_silence(&self) {
        self.world.log.fault("long silence", "leases end");
        for _ in 0..10 {
            self.pass_time(Duration::from_millis(500 + self.below(5000))).await;
            self.some_nodes_beat();
            self.run_tasks(self.below(MOST_POLLS));
        }
    }

    /// A node is away for longer than repair waits for it, and what it had is made anew. It comes back with all of it.
    async fn long_absence(&self) {
        let any = usize::try_from(self.below(self.world.nodes.len() as u64)).unwrap_or(0);
        let node = &self.world.nodes[any];
        if !node.answers() {
            return;
        }
        node.cut_off(true);
        self.world.log.fault("node away for long", &node.address);
        for _ in 0..20 {
            self.pass_time(Duration::from_millis(500 + self.below(5000))).await;
            self.some_nodes_beat();
            self.run_tasks(self.below(MOST_POLLS));
            if self.below(4) == 0 {
                self.repair();
            }
        }
        if self.below(3) > 0 {
            node.cut_off(false);
        }
    }

    /// The catalog must agree with itself after every transaction, so also now.
    pub(super) async fn audit(&self) {
        let store = self.world.store.open();
        match self.undisturbed(cairn_chunk_master::audit(&store)).await {
            Ok(audit) => {
                for found in audit.contradictions.into_iter().chain(audit.over_limit) {
                    self.world.violation(format!("audit: {found}"));
                }
            }
            Err(error) => self.world.violation(format!("audit: {error}")),
        }
        self.audits.set(self.audits.get() + 1);
    }
}

/// A node is heard, and makes itself known when the master does not know it.
async fn beat(world: &Rc<World>, number: usize) {
    const CAPACITY: u64 = 1 << 40;
    let node = &world.nodes[number];
    let node_id = convert::bytes(node.id.as_bytes());
    let disks = node.disks();
    let told = disks.iter().map(disk_status).collect();
    let moment = Some(node.moment().into());
    let status =
        Some(v1::NodeStatus { capacity: CAPACITY, disks: told, moment, ..Default::default() });
    let request = v1::HeartbeatRequest { node_id: node_id.clone(), status: status.clone() };
    let heartbeat = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.heartbeat(request).await
    };
    match world.call("heartbeat", request, heartbeat).await.answer {
        Err(error) if error.reason == Reason::NodeUnknown => {}
        Ok(_) => return node.is_registered(disks),
        Err(_) => return,
    }
    let request = v1::RegisterNodeRequest {
        node_id,
        address: node.address.clone(),
        zone: node.zone.clone(),
        status,
        catalog_id: bytes::Bytes::new(),
    };
    let register = |master: cairn_chunk_master::MasterRpc, request| async move {
        master.register_node(request).await
    };
    // Tried again later, when it fails.
    if world.call("register", request, register).await.answer.is_ok() {
        node.is_registered(disks);
    }
}

fn disk_status(disk: &DiskIncarnation) -> v1::DiskStatus {
    v1::DiskStatus { disk: convert::bytes(disk.as_bytes()), ..Default::default() }
}
