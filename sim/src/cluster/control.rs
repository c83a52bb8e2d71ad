//! Faults on request: cut hosts off, stop and start them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_chain::disk::memory::{Loss, Losses, MemoryDisk};
use cairn_kv::simulated::{Odds, SimulatedStore};
use turmoil::Sim;

use super::machine::Machine;
use super::services::{GATEWAY, MASTER};
use super::{CLIENT, InFlight};
use crate::EventLog;

/// Bytes of each node's disk.
const DISK_BYTES: u64 = 256 << 20;

/// How a host is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// No message comes or goes; connections do not survive it.
    Isolated,
    /// What it sends is lost, what is sent to it arrives.
    Mute,
    /// What is sent to it is lost, what it sends arrives.
    Deaf,
    /// Only the gateway and it do not hear each other.
    FromGateway,
    /// Messages wait, and all arrive when it ends: a stopped process, or a network that repeats what it lost.
    Stalled,
    /// The process dies, the machine lives on.
    Killed,
    /// The machine loses power, with what was not synced kept or lost by the coin of this seed.
    PowerLost(u64),
    /// The machine is lost with its disk; in its place comes one with an empty disk.
    DiskLost,
}

impl Cut {
    /// Its name in the counts of faults.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
            Self::FromGateway => "cut from gateway",
            Self::Stalled => "stalled",
            Self::Killed => "killed",
            Self::PowerLost(_) => "power lost",
            Self::DiskLost => "disk lost",
        }
    }
}

/// What only the owner of the simulation can do, between two steps.
#[derive(Debug)]
enum Order {
    /// Takes a process away that is dead.
    Kill {
        host: String,
    },
    /// Takes a process away as it is; nobody hears of it, because the host is cut off.
    PowerOff {
        host: String,
        coin: u64,
    },
    /// The same, with its disk.
    Scrap {
        host: String,
    },
    Start {
        host: String,
    },
}

/// A node's disk, which outlives the node's process.
pub(super) type DiskSlot = Arc<Mutex<MemoryDisk>>;

/// Injects faults. Cheap to clone; to be used on the client's host.
#[derive(Debug, Clone)]
pub struct Control {
    log: EventLog,
    in_flight: InFlight,
    machines: BTreeMap<String, Machine>,
    nodes: BTreeMap<String, DiskSlot>,
    orders: Arc<Mutex<VecDeque<Order>>>,
    store: SimulatedStore,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    pub(super) fn new(log: EventLog, store: SimulatedStore) -> Self {
        let (machines, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { log, in_flight: InFlight::default(), machines, nodes, orders: Arc::default(), store }
    }

    pub(super) fn add(&mut self, machine: Machine) -> Machine {
        self.machines.insert(machine.host.clone(), machine.clone());
        machine
    }

    pub(super) fn add_node(&mut self, host: &str) -> DiskSlot {
        let disk = DiskSlot::new(Mutex::new(MemoryDisk::new(DISK_BYTES)));
        self.nodes.insert(host.to_owned(), Arc::clone(&disk));
        disk
    }

    /// Where everything is told.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Chunks that are being written.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.clone()
    }

    /// Makes the master's store fail now and then, or never.
    pub fn store_fails(&self, now_and_then: bool) {
        let faulty = Odds { conflict: 10, failure: 400, unknown: 150, busy: 400, pauses: 2 };
        self.store.set_odds(if now_and_then { faulty } else { Odds::default() });
    }

    /// The master's store.
    pub fn store(&self) -> SimulatedStore {
        self.store.clone()
    }

    /// Counts what crashes of disks and store took, among the faults.
    pub(crate) fn count_losses(&self) {
        for disk in self.nodes.values() {
            let Losses { names, pages, torn } = lock(disk).losses();
            self.log.count("unsynced name lost", names);
            self.log.count("unsynced page lost", pages);
            self.log.count("file torn", torn);
        }
        for (kind, count) in self.store.struck() {
            self.log.count(kind, count);
        }
    }

    /// Hosts of the storage nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    fn others(&self, host: &str) -> Vec<String> {
        let all = [GATEWAY, MASTER, CLIENT].map(str::to_owned);
        all.into_iter().chain(self.nodes()).filter(|other| other != host).collect()
    }

    /// Cuts `host` off, now; a process dies at the end of this step of the simulation.
    pub fn cut(&self, host: &str, cut: Cut) {
        self.log.fault(cut.kind(), host);
        for other in self.others(host) {
            match cut {
                Cut::Isolated | Cut::PowerLost(_) | Cut::DiskLost => {
                    turmoil::partition(host, other);
                }
                Cut::Mute => turmoil::partition_oneway(host, other),
                Cut::Deaf => turmoil::partition_oneway(other, host),
                Cut::FromGateway if other == GATEWAY => turmoil::partition(host, other),
                Cut::Stalled => turmoil::hold(host, other),
                Cut::FromGateway | Cut::Killed => {}
            }
        }
        let order = match cut {
            Cut::Killed => Order::Kill { host: host.to_owned() },
            Cut::PowerLost(coin) => Order::PowerOff { host: host.to_owned(), coin },
            Cut::DiskLost => Order::Scrap { host: host.to_owned() },
            Cut::Isolated | Cut::Mute | Cut::Deaf | Cut::FromGateway | Cut::Stalled => return,
        };
        if let (Order::Kill { .. }, Some(machine)) = (&order, self.machines.get(host)) {
            machine.kill();
        }
        lock(&self.orders).push_back(order);
    }

    /// The disk of `host` takes so many changes more, and then fails: the moment at which its machine loses power.
    pub fn stop_disk_after(&self, host: &str, changes: u64) {
        if let Some(disk) = self.nodes.get(host) {
            lock(disk).stop_after(changes);
        }
    }

    /// Whether the disk of `host` has failed.
    pub fn disk_has_stopped(&self, host: &str) -> bool {
        self.nodes.get(host).is_some_and(|disk| lock(disk).is_off())
    }

    /// Ends what [`Self::cut`] began.
    pub fn heal(&self, host: &str, cut: Cut) {
        self.log.note("FAULT", format_args!("over: {host} {}", cut.kind()));
        for other in self.others(host) {
            match cut {
                Cut::Stalled => turmoil::release(host, other),
                // Another fault may hold the link.
                Cut::Killed => {}
                _ => turmoil::repair(host, other),
            }
        }
        if matches!(cut, Cut::Killed | Cut::PowerLost(_) | Cut::DiskLost) {
            lock(&self.orders).push_back(Order::Start { host: host.to_owned() });
        }
    }

    /// Carries out what was ordered in the last step; what is not due yet waits, and all that came after it.
    pub(super) fn carry_out(&self, sim: &mut Sim<'_>) {
        loop {
            let Some(order) = self.next_due() else { return };
            // Between steps no host has a time of its own.
            self.log.stand_still(Some(sim.elapsed()));
            match order {
                Order::Kill { host } => self.stop(sim, &host, Loss::Nothing),
                Order::PowerOff { host, coin } => self.stop(sim, &host, Loss::Coin(coin)),
                Order::Scrap { host } => {
                    sim.crash(host.as_str());
                    if let Some(disk) = self.nodes.get(&host) {
                        *lock(disk) = MemoryDisk::new(DISK_BYTES);
                    }
                }
                Order::Start { host } => sim.bounce(host.as_str()),
            }
            self.log.stand_still(None);
        }
    }

    fn next_due(&self) -> Option<Order> {
        let mut orders = lock(&self.orders);
        let due = match orders.front()? {
            Order::Kill { host } => self.machines.get(host).is_none_or(Machine::is_dead),
            Order::PowerOff { .. } | Order::Scrap { .. } | Order::Start { .. } => true,
        };
        if due { orders.pop_front() } else { None }
    }

    fn stop(&self, sim: &mut Sim<'_>, host: &str, loss: Loss) {
        sim.crash(host);
        if host == MASTER {
            let lost = self.store.crash();
            self.log.note(
                "FAULT",
                format_args!("the master's store lost {lost} buffered transactions"),
            );
        }
        if let Some(disk) = self.nodes.get(host) {
            let mut disk = lock(disk);
            *disk = disk.crash(loss);
        }
    }
}
