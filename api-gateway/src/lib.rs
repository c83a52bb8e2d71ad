//! The gateway: files over HTTP and gRPC in, chunks out. Stateless: everything it knows it can learn again.
//!
//! ```text
//! rest/  files_grpc  ─► upload/    ─► master (begin … commit) and nodes (chunk bytes)
//!                    ─► download/  ─► master (locate) and nodes
//!                    ─► namespace  ─► master (list, delete)
//! rest/bucket/  buckets_grpc  ─► buckets  ─► master
//! ```

pub mod buckets;
pub mod buckets_grpc;
mod budget;
mod config;
pub mod download;
mod files;
pub mod files_grpc;
mod gateway;
pub mod master;
mod metrics;
pub mod namespace;
mod nodes;
mod reach;
mod reports;
pub mod rest;
mod seams;
pub mod upload;

pub use budget::BudgetExhausted;
pub use config::{Config, DownloadConfig, UploadConfig};
pub use files::Files;
pub use gateway::Gateway;
pub use metrics::GatewayMetrics;
pub use seams::Seams;
