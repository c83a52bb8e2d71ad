//! Machines of their own for nodes: network namespaces at one switch, so that a node can vanish without a word, as when the power
//! goes or a cable is pulled. It takes root and `ip`: where they are missing it is said loudly, and is a failure where
//! `CAIRN_REQUIRE` names `netns`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::tools::{missing, said};

/// Tells the networks of one run apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A switch with a cable to here, and one to each machine.
#[derive(Debug)]
pub(crate) struct Machines {
    /// What all names begin with.
    tag: String,
    /// The third number of all addresses: 198.18.0.0/15 is kept for tests of networks (RFC 2544).
    network: [u8; 3],
    machines: usize,
}

const SWITCH: &str = "set -e
ip netns add $1-switch
ip -n $1-switch link add hub type bridge
ip -n $1-switch link set hub up
ip link add $1 type veth peer name here netns $1-switch
ip -n $1-switch link set here master hub
ip -n $1-switch link set here up
ip addr add $2/24 dev $1
ip link set $1 up";

const MACHINE: &str = "set -e
ip netns add $1-$3
ip -n $1-$3 link set lo up
ip link add eth0 netns $1-$3 type veth peer name m$3 netns $1-switch
ip -n $1-switch link set m$3 master hub
ip -n $1-switch link set m$3 up
ip -n $1-$3 addr add $2/24 dev eth0
ip -n $1-$3 link set eth0 up";

impl Machines {
    /// So many machines; nothing where that cannot be done.
    pub(crate) fn new(machines: usize) -> Option<Self> {
        let (process, nth) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [.., high, low] = process.wrapping_add(nth).to_be_bytes();
        let network = [198, 18 | (high & 1), low];
        let made = Self { tag: format!("cn{process}x{nth}"), network, machines };
        if let Err(text) = made.script(SWITCH, 1, "") {
            missing("netns", &format!("it takes root and iproute2: {text}"));
            return None;
        }
        for at in 0..machines {
            let name = at.to_string();
            made.script(MACHINE, made.host(at), &name).expect("a machine as the switch");
        }
        Some(made)
    }

    fn script(&self, text: &str, host: u8, name: &str) -> Result<(), String> {
        let address = self.address(host).to_string();
        let (done, text) =
            said(Command::new("sh").args(["-c", text, "sh", &self.tag, &address, name]));
        if done { Ok(()) } else { Err(text) }
    }

    fn host(&self, at: usize) -> u8 {
        assert!(at < self.machines, "there are {} machines", self.machines);
        u8::try_from(at + 10).expect("few machines")
    }

    fn address(&self, host: u8) -> IpAddr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, host).into()
    }

    /// A port of ours that machines can reach.
    pub(crate) fn here(&self) -> SocketAddr {
        SocketAddr::new(self.address(1), 0)
    }

    /// A port of machine `at`.
    pub(crate) fn of(&self, at: usize) -> SocketAddr {
        SocketAddr::new(self.address(self.host(at)), 0)
    }

    /// The namespace that the processes of machine `at` run in.
    pub(crate) fn namespace(&self, at: usize) -> String {
        format!("{}-{at}", self.tag)
    }

    /// Pulls the cable of machine `at`, or plugs it in: nobody is told.
    pub(crate) fn plug(&self, at: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        let (switch, port) = (format!("{}-switch", self.tag), format!("m{at}"));
        let (done, text) =
            said(Command::new("ip").args(["-n", &switch, "link", "set", &port, state]));
        assert!(done, "{text}");
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let machines = (0..self.machines).map(|at| self.namespace(at));
        for namespace in machines.chain([format!("{}-switch", self.tag)]) {
            // The cables go with it.
            let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
        }
    }
}
