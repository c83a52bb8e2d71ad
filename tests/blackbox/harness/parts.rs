//! A cluster of separate processes, so that single ones can be killed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Edge, Process};

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct PartsPlan {
    nodes: usize,
    copies: usize,
    master_flags: Vec<String>,
    flags: Vec<String>,
    transport: &'static str,
}

impl PartsPlan {
    /// Nodes, each in a zone of its own, and copies of each chunk.
    pub(crate) fn new(nodes: usize, copies: usize) -> Self {
        let (master_flags, flags) = (Vec::new(), Vec::new());
        Self { nodes, copies, master_flags, flags, transport: "lane" }
    }

    pub(crate) fn chunk_size(self, bytes: u64) -> Self {
        self.master_flag("--chunk-size", bytes)
    }

    pub(crate) fn master_flag(mut self, name: &str, value: impl Display) -> Self {
        let flag = [name.to_owned(), format!("{value}")];
        self.master_flags.extend(flag);
        self
    }

    /// An option of every service.
    pub(crate) fn flag(mut self, name: &str, value: impl Display) -> Self {
        self.flags.extend([name.to_owned(), format!("{value}")]);
        self
    }

    /// How gateways and nodes exchange chunks.
    pub(crate) fn transport(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    pub(crate) async fn start(self) -> Parts {
        let home = tempfile::tempdir().expect("a folder for the data");
        let mut ports = Ports::any(self.nodes);
        let (master, nodes, gateway, edge) = run_all(&self, &home, &mut ports).await;
        let parts = Parts { edge, master, nodes, gateway, ports, plan: self, home };
        parts.all_nodes_up().await;
        parts
    }
}

/// Where everything listens: port 0 until it has been started once.
#[derive(Debug)]
struct Ports {
    master: SocketAddr,
    nodes: Vec<SocketAddr>,
}

impl Ports {
    fn any(nodes: usize) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { master: any, nodes: vec![any; nodes] }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

async fn run_master(plan: &PartsPlan, home: &TempDir, port: &mut SocketAddr) -> (Process, Edge) {
    let data = home.path().join("master");
    let mut arguments = words(&format!(
        "master --open --data {} --listen {port} --admin-listen 127.0.0.1:0 --copies {}",
        data.display(),
        plan.copies
    ));
    arguments.extend(plan.master_flags.iter().chain(&plan.flags).cloned());
    let process = Process::start("master", &arguments);
    *port = process.announced("master").await;
    let admin = process.announced("admin").await;
    let edge = Edge { gateway: admin, admin };
    (process, edge)
}

async fn run_node(
    plan: &PartsPlan,
    at: usize,
    home: &TempDir,
    master: SocketAddr,
    port: &mut SocketAddr,
) -> Option<Process> {
    let data = home.path().join(format!("node-{at}"));
    let mut arguments = words(&format!(
        "node --open --data {} --listen {port} --master http://{master} --zone zone-{at} --chunk-transport {}",
        data.display(),
        plan.transport
    ));
    arguments.extend(plan.flags.iter().cloned());
    let process = Process::start(&format!("node {at}"), &arguments);
    *port = process.announced("node").await;
    Some(process)
}

async fn run_all(
    plan: &PartsPlan,
    home: &TempDir,
    ports: &mut Ports,
) -> (Process, Vec<Option<Process>>, Process, Edge) {
    let (master, mut edge) = run_master(plan, home, &mut ports.master).await;
    let mut nodes = Vec::new();
    for (at, port) in ports.nodes.iter_mut().enumerate() {
        nodes.push(run_node(plan, at, home, ports.master, port).await);
    }
    let gateway = run_gateway(plan, ports.master, &mut edge).await;
    (master, nodes, gateway, edge)
}

async fn run_gateway(plan: &PartsPlan, master: SocketAddr, edge: &mut Edge) -> Process {
    let mut arguments = words(&format!(
        "gateway --open --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --master http://{master} \
         --chunk-transport {}",
        plan.transport
    ));
    arguments.extend(plan.flags.iter().cloned());
    let gateway = Process::start("gateway", &arguments);
    edge.gateway = gateway.announced("gateway").await;
    Edge::ready(gateway.announced("health").await).await;
    gateway
}

/// A running cluster: master, nodes and gateway, each its own process.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) edge: Edge,
    pub(crate) gateway: Process,
    master: Process,
    nodes: Vec<Option<Process>>,
    ports: Ports,
    plan: PartsPlan,
    home: TempDir,
}

impl Parts {
    /// Waits until the master counts on every node that runs.
    pub(crate) async fn all_nodes_up(&self) {
        self.edge.nodes_up(self.nodes.iter().flatten().count()).await;
    }

    /// Where gateways and nodes call the master.
    pub(crate) fn master_address(&self) -> SocketAddr {
        self.ports.master
    }

    /// Where the gateway's health and metrics are served.
    pub(crate) async fn gateway_admin(&self) -> SocketAddr {
        self.gateway.announced("health").await
    }

    /// Asks everything to drain and end, edge first, and waits until it has; the exit codes.
    pub(crate) async fn terminate_all(&mut self) -> Vec<Option<i32>> {
        let nodes = self.nodes.iter_mut().flatten();
        let all = [&mut self.gateway].into_iter().chain(nodes).chain([&mut self.master]);
        let mut codes = Vec::new();
        for process in all {
            process.terminate();
            codes.push(process.ended().await.code());
        }
        codes
    }

    /// Where node `at` is reached, or was.
    pub(crate) fn node_address(&self, at: usize) -> SocketAddr {
        self.ports.nodes[at]
    }

    /// Where the nodes that run are reached.
    pub(crate) fn node_addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.ports.nodes.iter().zip(&self.nodes);
        addresses.filter_map(|(address, node)| node.as_ref().map(|_| *address)).collect()
    }

    /// Which of our nodes listens there.
    pub(crate) fn node_at(&self, address: &str) -> usize {
        let ports = &self.ports.nodes;
        let found = ports.iter().position(|port| address.ends_with(&port.to_string()));
        found.unwrap_or_else(|| panic!("no node of {ports:?} listens on {address}"))
    }

    pub(crate) fn kill_node(&mut self, at: usize) {
        let mut node = self.nodes[at].take().expect("the node runs");
        node.kill();
    }

    pub(crate) async fn start_node(&mut self, at: usize) {
        let port = &mut self.ports.nodes[at];
        self.nodes[at] = run_node(&self.plan, at, &self.home, self.ports.master, port).await;
    }

    /// Starts a node on its data at another address, as a container that was made anew.
    pub(crate) async fn start_node_elsewhere(&mut self, at: usize) {
        self.ports.nodes[at].set_port(0);
        self.start_node(at).await;
    }

    /// Starts a further gateway over the same master.
    pub(crate) async fn another_gateway(&self) -> (Process, Edge) {
        let mut edge = self.edge;
        let gateway = run_gateway(&self.plan, self.ports.master, &mut edge).await;
        (gateway, edge)
    }

    /// Starts the gateway anew, after it was killed.
    pub(crate) async fn start_gateway(&mut self) {
        self.gateway = run_gateway(&self.plan, self.ports.master, &mut self.edge).await;
    }

    /// All processes that run.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.gateway, &self.master].into_iter().chain(self.nodes.iter().flatten())
    }

    /// The master's folder.
    pub(crate) fn master_folder(&self) -> PathBuf {
        self.home.path().join("master")
    }

    /// Kills the master alone.
    pub(crate) fn kill_master(&mut self) {
        self.master.kill();
    }

    /// Starts the master again, where gateways and nodes look for it.
    pub(crate) async fn start_master(&mut self) {
        let (master, edge) = run_master(&self.plan, &self.home, &mut self.ports.master).await;
        self.master = master;
        self.edge.admin = edge.admin;
        self.all_nodes_up().await;
    }

    /// Kills everything at once.
    pub(crate) fn kill_all(&mut self) {
        self.gateway.kill();
        for node in &mut self.nodes {
            if let Some(mut node) = node.take() {
                node.kill();
            }
        }
        self.master.kill();
    }

    /// Starts everything again on the same data, after [`Self::kill_all`].
    pub(crate) async fn start_all(&mut self) {
        let started = run_all(&self.plan, &self.home, &mut self.ports).await;
        (self.master, self.nodes, self.gateway, self.edge) = started;
        self.all_nodes_up().await;
    }
}
