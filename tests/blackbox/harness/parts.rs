//! A cluster of separate processes, so that single ones can be killed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::{Edge, Machines, Process, Store};

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct PartsPlan {
    masters: usize,
    nodes: usize,
    zones: usize,
    copies: usize,
    /// One for each node, also of those that come later.
    machines: Option<Arc<Machines>>,
    master_flags: Vec<String>,
    flags: Vec<String>,
    /// The file of each node, with its number for `{node}`.
    node_file: Option<String>,
    transport: &'static str,
    /// Folders of nodes that are elsewhere than the others'.
    node_data: BTreeMap<usize, PathBuf>,
    /// Where the catalog is; by default where the tests are told to have it.
    store: Store,
}

impl PartsPlan {
    /// Nodes, each in a zone of its own, and copies of each chunk.
    pub(crate) fn new(nodes: usize, copies: usize) -> Self {
        let (master_flags, flags) = (Vec::new(), Vec::new());
        let store = Store::of_this_run();
        let (node_file, node_data, transport) = (None, BTreeMap::new(), "lane");
        Self {
            masters: 1,
            nodes,
            zones: usize::MAX,
            copies,
            machines: None,
            master_flags,
            flags,
            node_file,
            transport,
            node_data,
            store,
        }
    }

    /// Several masters: the catalog must be in a store that they can share.
    pub(crate) fn masters(self, masters: usize) -> Self {
        Self { masters, ..self }
    }

    /// Nodes are in so many zones, in turns.
    pub(crate) fn zones(self, zones: usize) -> Self {
        Self { zones, ..self }
    }

    /// Each node runs on a machine of its own.
    pub(crate) fn machines(self, machines: Machines) -> Self {
        Self { machines: Some(Arc::new(machines)), ..self }
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

    /// What the file says that each node is given; its number stands for `{node}`, the folder of all data for
    /// `{home}`.
    pub(crate) fn node_file(mut self, text: &str) -> Self {
        self.node_file = Some(text.to_owned());
        self
    }

    /// The catalog is in a file, or in a database, whatever this run says.
    pub(crate) fn on(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Node `at` keeps its chunks in this folder.
    pub(crate) fn node_data(mut self, at: usize, folder: PathBuf) -> Self {
        self.node_data.insert(at, folder);
        self
    }

    fn node_folder(&self, at: usize, home: &TempDir) -> PathBuf {
        let elsewhere = self.node_data.get(&at).cloned();
        elsewhere.unwrap_or_else(|| home.path().join(format!("node-{at}")))
    }

    /// How gateways and nodes exchange chunks.
    pub(crate) fn transport(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    pub(crate) async fn start(self) -> Parts {
        let home = tempfile::tempdir().expect("a folder for the data");
        let mut ports = Ports::any(&self);
        let (masters, nodes, gateway, edge) = run_all(&self, &home, &mut ports).await;
        let parts = Parts { edge, masters, nodes, gateway, ports, plan: self, home };
        parts.all_nodes_up().await;
        parts
    }
}

/// Where everything listens: port 0 until it has been started once.
#[derive(Debug)]
struct Ports {
    /// Of each master, for gateways and nodes, and for operators.
    masters: Vec<(SocketAddr, SocketAddr)>,
    nodes: Vec<SocketAddr>,
}

impl Ports {
    fn any(plan: &PartsPlan) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let calls = plan.machines.as_ref().map_or(any, |machines| machines.here());
        let nodes = (0..plan.nodes).map(|at| Self::of_node(plan, at)).collect();
        Self { masters: vec![(calls, any); plan.masters], nodes }
    }

    fn of_node(plan: &PartsPlan, at: usize) -> SocketAddr {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        plan.machines.as_ref().map_or(here, |machines| machines.of(at))
    }

    /// What gateways and nodes are told.
    fn master_urls(&self) -> String {
        let urls = self.masters.iter().map(|(calls, _)| format!("http://{calls}"));
        urls.collect::<Vec<_>>().join(",")
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

async fn run_master(
    plan: &PartsPlan,
    at: usize,
    home: &TempDir,
    (calls, admin): &mut (SocketAddr, SocketAddr),
) -> Option<Process> {
    let data = home.path().join(format!("master-{at}"));
    let mut arguments = words(&format!(
        "master --open --data {} --listen {calls} --admin-listen {admin} --copies {}",
        data.display(),
        plan.copies
    ));
    arguments.extend(plan.store.flags());
    arguments.extend(plan.machines.iter().map(|_| "--open-to-network".to_owned()));
    arguments.extend(plan.master_flags.iter().chain(&plan.flags).cloned());
    let process = Process::start(&format!("master {at}"), &arguments);
    *calls = process.announced("master").await;
    *admin = process.announced("admin").await;
    Some(process)
}

async fn run_node(
    plan: &PartsPlan,
    at: usize,
    home: &TempDir,
    ports: &mut Ports,
) -> Option<Process> {
    let (masters, port) = (ports.master_urls(), &mut ports.nodes[at]);
    let data = plan.node_folder(at, home);
    let mut arguments = words(&format!(
        "node --open --data {} --listen {port} --master {masters} --zone zone-{} --chunk-transport {}",
        data.display(),
        at % plan.zones,
        plan.transport
    ));
    arguments.extend(plan.machines.iter().map(|_| "--open-to-network".to_owned()));
    arguments.extend(plan.flags.iter().cloned());
    if let Some(text) = &plan.node_file {
        let file = home.path().join(format!("node-{at}.toml"));
        let text = text.replace("{node}", &at.to_string());
        let text = text.replace("{home}", &home.path().display().to_string());
        std::fs::write(&file, text).expect("written");
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
    }
    let namespace = plan.machines.as_ref().map(|machines| machines.namespace(at));
    let process = Process::start_in(namespace.as_deref(), &format!("node {at}"), &arguments);
    *port = process.announced("node").await;
    Some(process)
}

async fn run_all(
    plan: &PartsPlan,
    home: &TempDir,
    ports: &mut Ports,
) -> (Vec<Option<Process>>, Vec<Option<Process>>, Process, Edge) {
    let mut masters = Vec::new();
    for (at, ports) in ports.masters.iter_mut().enumerate() {
        masters.push(run_master(plan, at, home, ports).await);
    }
    let mut nodes = Vec::new();
    for at in 0..ports.nodes.len() {
        nodes.push(run_node(plan, at, home, ports).await);
    }
    let (_, admin) = ports.masters[0];
    let mut edge = Edge { gateway: admin, admin };
    let gateway = run_gateway(plan, ports, &mut edge).await;
    (masters, nodes, gateway, edge)
}

async fn run_gateway(plan: &PartsPlan, ports: &Ports, edge: &mut Edge) -> Process {
    let mut arguments = words(&format!(
        "gateway --open --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --master {} \
         --chunk-transport {}",
        ports.master_urls(),
        plan.transport
    ));
    arguments.extend(plan.flags.iter().cloned());
    let gateway = Process::start("gateway", &arguments);
    edge.gateway = gateway.announced("gateway").await;
    Edge::ready(gateway.announced("health").await).await;
    gateway
}

/// A running cluster: masters, nodes and gateway, each its own process.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) edge: Edge,
    pub(crate) gateway: Process,
    masters: Vec<Option<Process>>,
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
        self.ports.masters[0].0
    }

    /// The cluster as it is seen at master `at`.
    pub(crate) fn at_master(&self, at: usize) -> Edge {
        Edge { admin: self.ports.masters[at].1, ..self.edge }
    }

    pub(crate) fn kill_master(&mut self, at: usize) {
        let mut master = self.masters[at].take().expect("the master runs");
        master.kill();
    }

    /// Starts a master where it was.
    pub(crate) async fn start_master(&mut self, at: usize) {
        self.masters[at] =
            run_master(&self.plan, at, &self.home, &mut self.ports.masters[at]).await;
    }

    /// Where the gateway's health and metrics are served.
    pub(crate) async fn gateway_admin(&self) -> SocketAddr {
        self.gateway.announced("health").await
    }

    /// Asks everything to drain and end, edge first, and waits until it has; the exit codes.
    pub(crate) async fn terminate_all(&mut self) -> Vec<Option<i32>> {
        let nodes = self.nodes.iter_mut().flatten();
        let masters = self.masters.iter_mut().flatten();
        let all = [&mut self.gateway].into_iter().chain(nodes).chain(masters);
        let mut codes = Vec::new();
        for process in all {
            process.terminate();
            codes.push(process.ended().await.code());
        }
        codes
    }

    /// The folder of all data.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where node `at` keeps its chunks.
    pub(crate) fn node_folder(&self, at: usize) -> PathBuf {
        self.plan.node_folder(at, &self.home)
    }

    /// The process of node `at`.
    pub(crate) fn node(&self, at: usize) -> &Process {
        self.nodes[at].as_ref().expect("the node runs")
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

    /// Where the catalog of a single master is, when it is in a file.
    pub(crate) fn catalog_file(&self) -> PathBuf {
        self.home.path().join("master-0/catalog.redb")
    }

    /// The process of master `at`.
    pub(crate) fn master(&self, at: usize) -> &Process {
        self.masters[at].as_ref().expect("the master runs")
    }

    /// Writes what the file of every node says from its next start on.
    pub(crate) fn describe_nodes(&mut self, text: Option<&str>) {
        self.plan.node_file = text.map(str::to_owned);
    }

    pub(crate) fn kill_node(&mut self, at: usize) {
        let mut node = self.nodes[at].take().expect("the node runs");
        node.kill();
    }

    pub(crate) async fn start_node(&mut self, at: usize) {
        self.nodes[at] = run_node(&self.plan, at, &self.home, &mut self.ports).await;
    }

    /// Node `at` runs.
    pub(crate) fn has_node(&self, at: usize) -> bool {
        self.nodes[at].is_some()
    }

    /// Starts one node more.
    pub(crate) async fn add_node(&mut self) {
        let at = self.nodes.len();
        self.ports.nodes.push(Ports::of_node(&self.plan, at));
        self.nodes.push(run_node(&self.plan, at, &self.home, &mut self.ports).await);
    }

    /// Pulls the cable of node `at`, or plugs it in.
    pub(crate) fn plug(&self, at: usize, plugged: bool) {
        self.plan.machines.as_ref().expect("it is a machine").plug(at, plugged);
    }

    /// The machine of node `at` is gone: no connection of it ends.
    pub(crate) fn lose_machine(&mut self, at: usize) {
        self.plug(at, false);
        self.kill_node(at);
    }

    /// Starts a node on its data at another address, as a container that was made anew.
    pub(crate) async fn start_node_elsewhere(&mut self, at: usize) {
        self.ports.nodes[at].set_port(0);
        self.start_node(at).await;
    }

    /// Starts a further gateway over the same master.
    pub(crate) async fn another_gateway(&self) -> (Process, Edge) {
        let mut edge = self.edge;
        let gateway = run_gateway(&self.plan, &self.ports, &mut edge).await;
        (gateway, edge)
    }

    /// Starts the gateway anew, after it was killed.
    pub(crate) async fn start_gateway(&mut self) {
        self.gateway = run_gateway(&self.plan, &self.ports, &mut self.edge).await;
    }

    /// All processes that run.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.gateway].into_iter().chain(self.masters.iter().chain(&self.nodes).flatten())
    }

    /// The folder of master `at`.
    pub(crate) fn master_folder(&self, at: usize) -> PathBuf {
        self.home.path().join(format!("master-{at}"))
    }

    /// Kills everything at once.
    pub(crate) fn kill_all(&mut self) {
        self.gateway.kill();
        for process in self.nodes.iter_mut().chain(&mut self.masters) {
            if let Some(mut process) = process.take() {
                process.kill();
            }
        }
    }

    /// Starts everything again on the same data, after [`Self::kill_all`].
    pub(crate) async fn start_all(&mut self) {
        let started = run_all(&self.plan, &self.home, &mut self.ports).await;
        (self.masters, self.nodes, self.gateway, self.edge) = started;
        self.all_nodes_up().await;
    }
}
