//! What every theme uses.

mod admin;
mod client;
mod collector;
mod content;
mod disk;
pub(crate) mod documented;
mod edge;
mod grpc;
mod http;
mod inventory;
mod parts;
mod process;
mod raw;
mod rest;
mod store;
mod tools;
mod up;
mod wait;

pub(crate) use admin::{Admin, channel};
pub(crate) use client::{Client, Condition, FileInfo, Listed, Refusal, Stored};
pub(crate) use collector::{Collector, SeenSpan};
pub(crate) use content::{Content, Draw, base64, hex, sha256};
pub(crate) use disk::{Injected, SmallDisk};
pub(crate) use edge::Edge;
pub(crate) use grpc::OverGrpc;
pub(crate) use http::{Answer, Download, Http};
pub(crate) use inventory::{assert_nodes_hold_what_the_catalog_names, chunk_name};
pub(crate) use parts::{Parts, PartsPlan};
pub(crate) use process::{Process, mib, peak_mib};
pub(crate) use raw::{Cut, Raw, RawAnswer};
pub(crate) use rest::OverRest;
pub(crate) use store::Store;
pub(crate) use tools::{said, tool, workspace};
pub(crate) use up::{Up, UpPlan};
pub(crate) use wait::{eventually, within};
