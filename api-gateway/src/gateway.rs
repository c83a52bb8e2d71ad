//! The composition root of a gateway.

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use cairn_core::ids::GatewayId;
use cairn_runtime::InvalidAddress;
use cairn_runtime::grpc::{GrpcServices, Health, beside_http};
use cairn_runtime::ops::Readiness;
use cairn_runtime::request::{Guard, guard};

use crate::buckets::Buckets;
use crate::buckets_grpc;
use crate::config::Config;
use crate::download::Downloads;
use crate::files::Files;
use crate::files_grpc;
use crate::master::Master;
use crate::namespace::Namespace;
use crate::nodes::Nodes;
use crate::reach::Reach;
use crate::reports;
use crate::rest;
use crate::seams::Seams;
use crate::upload::Uploads;

/// A gateway that has been built.
#[derive(Debug)]
pub struct Gateway {
    routes: Router,
    health: Health,
    nodes: Nodes,
    uploads: Uploads,
}

impl Gateway {
    /// Builds a gateway and starts following the master's nodes.
    ///
    /// # Errors
    /// [`InvalidAddress`] when a master's address is none, or there is none.
    pub fn build(config: &Config, seams: Seams) -> Result<Self, InvalidAddress> {
        if config.masters.is_empty() {
            return Err(InvalidAddress { address: String::new() });
        }
        let channels = config.masters.iter().map(|address| seams.dialer.dial(address));
        let channels = channels.collect::<Result<_, _>>()?;
        let master = {
            let Seams { clock, entropy, metrics, .. } = seams.clone();
            Master::new(channels, clock, entropy, metrics)
        };
        let reach = Reach::new(seams.clock.clone());
        let nodes = Nodes::new(seams.dialer.clone(), config.transport, reach.clone());
        let (reports, delivery) = reports::channel(seams.metrics.clone());
        let Seams { clock, spawner, drained, .. } = &seams;
        spawner.spawn(nodes.clone().follow(master.clone(), clock.clone(), drained.clone()));
        spawner.spawn(delivery.run(master.clone(), clock.clone(), drained.clone()));
        let gateway = GatewayId::from_uuid(seams.entropy.uuid_v7(clock));
        spawner.spawn(reach.run(gateway, master.clone(), drained.clone()));
        let files = Files {
            uploads: Uploads::new(config.upload, master.clone(), nodes.clone(), seams.clone()),
            downloads: Downloads::new(
                config.download,
                master.clone(),
                nodes.clone(),
                reports,
                seams.clone(),
            ),
            namespace: Namespace::new(master.clone()),
            buckets: Buckets::new(master),
        };
        let Seams { clock, entropy, .. } = seams;
        let guard = Guard { service: "gateway", clock, entropy };
        let uploads = files.uploads.clone();
        let (routes, health) = routes(files, guard);
        Ok(Self { routes, health, nodes, uploads })
    }

    /// REST and gRPC on one port, told apart by the content type.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Waits, at most `bound`, until what was broken off is given back. To be called when nothing is served any more.
    pub async fn settled(&self, bound: Duration) {
        self.uploads.settled(bound).await;
    }

    /// Tells gRPC clients whether the gateway serves.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Ready when it knows a node that takes chunks.
    pub fn require_ready(&self, readiness: &Readiness) {
        let nodes = self.nodes.clone();
        readiness.require("gateway", move || match nodes.up() {
            0 => Err("no storage node is up, or the master is away".to_owned()),
            _ => Ok(()),
        });
    }
}

fn routes(files: Files, with: Guard) -> (Router, Health) {
    let service = files_grpc::service(files.clone());
    let buckets = buckets_grpc::service(files.buckets.clone());
    let (grpc, health) = GrpcServices::new().with(service).with(buckets).build(with.clone());
    let rest = rest::routes(files).layer(from_fn_with_state(with, guard));
    (beside_http(grpc, rest), health)
}
