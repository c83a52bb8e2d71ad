//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures Cairn, and nginx beside it.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Args {
    /// The binary to measure; the one beside this program, when not given
    #[arg(long)]
    pub(crate) cairn: Option<PathBuf>,
    /// A few seconds of everything, with every byte checked: says whether it works, not how fast
    #[arg(long, conflicts_with_all = ["sizes", "bytes", "files", "rounds", "interface", "copies", "verify"])]
    pub(crate) smoke: bool,
    /// Where both sides keep their data; a folder of its own is made in it
    #[arg(long, default_value = "target")]
    pub(crate) dir: PathBuf,
    /// Sizes of files
    #[arg(long, value_delimiter = ',', default_value = "4KiB,1MiB,64MiB", value_parser = size)]
    pub(crate) sizes: Vec<u64>,
    /// Requests at once
    #[arg(long, default_value_t = 4)]
    pub(crate) concurrency: usize,
    /// Bytes for each load; the number of files follows from it
    #[arg(long, default_value = "1GiB", value_parser = size)]
    pub(crate) bytes: u64,
    /// Most files for each load
    #[arg(long, default_value_t = 2000)]
    pub(crate) files: u64,
    /// Rounds; the figures are medians
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Which interfaces of Cairn
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rest")]
    pub(crate) interface: Vec<Interface>,
    /// Storage nodes
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u32,
    /// Copies of each chunk
    #[arg(long, default_value_t = 1)]
    pub(crate) copies: u32,
    /// Measure nginx (WebDAV PUT, static GET) in each round as well
    #[arg(long)]
    pub(crate) nginx: bool,
    /// Check every byte that comes back (costs the client's CPU time)
    #[arg(long)]
    pub(crate) verify: bool,
}

impl Args {
    /// What `--smoke` stands for: one, several and many chunks over both interfaces.
    pub(crate) fn settled(self) -> Self {
        if !self.smoke {
            return self;
        }
        Self {
            sizes: vec![4 << 10, 1 << 20, 20 << 20],
            bytes: 40 << 20,
            files: 50,
            rounds: 1,
            interface: vec![Interface::Rest, Interface::Grpc],
            copies: 2,
            verify: true,
            ..self
        }
    }

    /// The binary to measure.
    pub(crate) fn binary(&self) -> std::io::Result<PathBuf> {
        match &self.cairn {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("cairn")),
        }
    }
}

/// How Cairn is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Interface {
    /// Files over HTTP/1.1
    Rest,
    /// cairn.v1.Files
    Grpc,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|error| error.to_string())
}
