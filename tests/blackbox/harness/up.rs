//! `cairn up`: everything in one process.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Edge, Process, Store};

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct UpPlan {
    nodes: usize,
    copies: usize,
    flags: Vec<String>,
    store: Store,
}

impl UpPlan {
    pub(crate) fn flag(mut self, name: &str, value: impl Display) -> Self {
        self.flags.extend([name.to_owned(), format!("{value}")]);
        self
    }

    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    pub(crate) fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    pub(crate) fn chunk_size(self, bytes: u64) -> Self {
        self.flag("--chunk-size", bytes)
    }

    fn arguments(&self, data: &Path) -> Vec<String> {
        let data = data.to_string_lossy().into_owned();
        let mut arguments: Vec<String> =
            ["up", "--open", "--data", &data].map(str::to_owned).to_vec();
        for (name, value) in [
            ("--nodes", self.nodes.to_string()),
            ("--copies", self.copies.to_string()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        arguments.extend(self.store.flags());
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// Starts it and waits until all nodes take chunks.
    pub(crate) async fn start(self) -> Up {
        self.start_only().await.with_all_nodes().await
    }

    /// Starts it and waits for what people wait for: the printed lines and `/readyz`.
    pub(crate) async fn start_only(self) -> Up {
        let home = tempfile::tempdir().expect("a folder for the data");
        Up::start_in(self, home).await
    }
}

/// A running `cairn up` and its folder.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) edge: Edge,
    pub(crate) process: Process,
    plan: UpPlan,
    home: TempDir,
}

impl Up {
    /// Three nodes, two copies.
    pub(crate) fn plan() -> UpPlan {
        UpPlan { nodes: 3, copies: 2, flags: Vec::new(), store: Store::of_this_run() }
    }

    /// Three nodes, two copies, started.
    pub(crate) async fn start() -> Self {
        Self::plan().start().await
    }

    async fn start_in(plan: UpPlan, home: TempDir) -> Self {
        let process = Process::start("up", &plan.arguments(&home.path().join("data")));
        let edge = Edge {
            gateway: process.announced("gateway").await,
            admin: process.announced("admin").await,
        };
        Edge::ready(edge.admin).await;
        Self { edge, process, plan, home }
    }

    async fn with_all_nodes(self) -> Self {
        self.edge.nodes_up(self.plan.nodes).await;
        self
    }

    /// The folder of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Starts it again on the same data, after its end.
    pub(crate) async fn again(self) -> Self {
        drop(self.process);
        let up = Self::start_in(self.plan, self.home).await;
        up.with_all_nodes().await
    }
}
