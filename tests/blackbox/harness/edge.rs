//! Where a cluster is reached, and its clients.

use std::net::SocketAddr;

use cairn_proto::v1::NodeState;

use super::{Admin, Http, OverGrpc, OverRest, Raw, eventually};

/// The two ports of a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    /// Files.
    pub(crate) gateway: SocketAddr,
    /// `cairn.v1.Admin`.
    pub(crate) admin: SocketAddr,
}

impl Edge {
    pub(crate) fn http(&self) -> Http {
        Http::new(self.gateway)
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(self.gateway).await
    }

    pub(crate) fn rest(&self) -> OverRest {
        OverRest::new(self.http())
    }

    pub(crate) async fn grpc(&self) -> OverGrpc {
        OverGrpc::connect(self.gateway).await
    }

    pub(crate) async fn admin(&self) -> Admin {
        Admin::connect(self.admin).await
    }

    /// Waits until `/readyz` of an operator's port says yes.
    pub(crate) async fn ready(port: SocketAddr) {
        let http = Http::new(port);
        eventually(60, "/readyz", async || {
            let asked = http.request("GET", "/readyz").try_send().await;
            let answer = match asked {
                Ok(download) => download.collect().await,
                Err(error) => return Err(error),
            };
            match answer.status {
                200 => Ok(()),
                _ => Err(answer.text()),
            }
        })
        .await;
    }

    /// Waits until the master counts on this many nodes.
    pub(crate) async fn nodes_up(&self, wanted: usize) {
        let mut admin = self.admin().await;
        eventually(60, "the master hears every node", async || {
            let nodes = admin.nodes().await;
            let states = nodes.iter().map(|node| node.state());
            let up = states.filter(|state| *state == NodeState::Up).count();
            if up == wanted { Ok(()) } else { Err(format!("{up} of {wanted} are up")) }
        })
        .await;
    }

    /// Waits until no upload is open and nothing is reserved, sweeping meanwhile.
    pub(crate) async fn settle(&self) {
        let mut admin = self.admin().await;
        eventually(60, "all uploads end and give back", async || {
            admin.sweep().await;
            let open = admin.uploads().await;
            let account = admin.bucket_account().await;
            let reserved = (account.reserved_bytes, account.reserved_objects);
            if open.is_empty() && reserved == (0, 0) {
                Ok(())
            } else {
                Err(format!("{} open, reserved {reserved:?}", open.len()))
            }
        })
        .await;
    }
}
