//! Options of `cairn admin meta`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueHint};

use crate::admin::args::Show;
use crate::args::StoreUrl;

/// What is done with the metadata.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Meta {
    /// Show how safe the metadata is: the journal on nodes, and whether the sweep waits for you
    Status(Show),
    /// Write a backup of the catalog into a file, while the master serves or from a store that nobody uses
    Export(Export),
    /// Read a backup into an empty store, of the same engine or the other; the master must not run
    Import(Import),
    /// Bring the catalog back from what nodes keep, into an empty store; the master must not run
    Restore(Restore),
    /// Let the sweep go on that waits after a restore: what the catalog does not know is erased then
    ReleaseSweep,
}

/// A store that no master uses.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = ArgGroup::new("place").multiple(false).args(["data", "store"]))]
pub(crate) struct Place {
    /// The master's folder
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// The master's PostgreSQL database: postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, env = "CAIRN_STORE", hide_env_values = true, value_name = "URL")]
    pub(crate) store: Option<StoreUrl>,
    /// With --store: speak TLS with a server whose certificate is signed by an authority in this PEM file
    #[arg(long, env = "CAIRN_STORE_CA", value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,
}

/// Options of `cairn admin meta export`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Export {
    /// The file to write; there must be none of that name
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) from: Place,
}

/// Options of `cairn admin meta import`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Import {
    /// The backup
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Nothing was written since the backup was made: the sweep need not wait for you
    #[arg(long)]
    pub(crate) complete: bool,
    #[command(flatten)]
    pub(crate) into: Place,
}

/// Options of `cairn admin meta restore`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Restore {
    /// A storage node, e.g. http://node-1:7100; name all nodes of the cluster, each with --node
    #[arg(long = "node", required = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) nodes: Vec<String>,
    /// Begin with this backup instead of the one that the nodes keep
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) backup: Option<PathBuf>,
    /// Go on although so many nodes do not answer that acknowledged changes may be missing
    #[arg(long)]
    pub(crate) allow_missing: bool,
    #[command(flatten)]
    pub(crate) into: Place,
}
