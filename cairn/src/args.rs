//! The command line. Every option can be given as `CAIRN_…` as well.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cairn_core::names::Zone;
use cairn_core::strategy::ReadStrategy;
use cairn_runtime::telemetry::LogFormat;
use cairn_transport::Transport;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::admin::args::Admin;
use crate::client::args::{Cat, Get, Healthcheck, Ls, Put, Rm, Stat};
use crate::client::bucket::args::Bucket;
use crate::client::error::EXIT_CODES;
use crate::shell::{Completions, Man};

/// Cairn: a file store that keeps several copies.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run gateway, master and storage nodes in one process
    Up(Up),
    /// Run a gateway
    Gateway(Gateway),
    /// Run a chunk master
    Master(Master),
    /// Run a storage node
    Node(Node),
    /// Store files and folders
    Put(Put),
    /// Fetch files and folders
    Get(Get),
    /// Write a file to standard output
    Cat(Cat),
    /// List files
    Ls(Ls),
    /// Show what is known of a file
    Stat(Stat),
    /// Delete files and folders
    Rm(Rm),
    /// Create, list, change and delete buckets
    Bucket(Bucket),
    /// Look after nodes, usage, limits and tenants
    Admin(Admin),
    /// Say whether a service is ready
    Healthcheck(Healthcheck),
    /// Write completions for a shell to standard output
    Completions(Completions),
    /// Write man pages into a folder
    Man(Man),
}

/// What every service takes.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Common {
    /// Options as a TOML file, a key for each: data = "/srv/cairn"; the command line and CAIRN_… win over it
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve everyone who can connect, without credentials; only on loopback addresses
    #[arg(long, env = "CAIRN_OPEN")]
    pub(crate) open: bool,
    /// With --open: serve on other addresses than loopback as well
    #[arg(long, env = "CAIRN_OPEN_TO_NETWORK", requires = "open")]
    pub(crate) open_to_network: bool,
    /// What is logged, e.g. info or warn,cairn_chunk_master=debug
    #[arg(long, env = "CAIRN_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
    /// How log lines look
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) log_format: Format,
    /// How long running requests may take after a signal to stop
    #[arg(long, env = "CAIRN_DRAIN_FOR", default_value = "30s", value_parser = duration)]
    pub(crate) drain_for: Duration,
    #[command(flatten)]
    pub(crate) traces: TraceSettings,
}

/// Where traces go.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TraceSettings {
    /// Send traces to this OpenTelemetry collector (OTLP over gRPC), http://HOST:4317; no traces, when not given
    #[arg(long, env = "CAIRN_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of traces that are kept, 0 to 1; a client that sends a traceparent decides for its own
    #[arg(long, env = "CAIRN_OTLP_SAMPLE", default_value_t = 1.0, value_name = "SHARE")]
    pub(crate) otlp_sample: f64,
    /// service.name of traces; cairn-up, cairn-gateway, cairn-master or cairn-node, when not given
    #[arg(long, env = "CAIRN_OTLP_SERVICE", value_name = "NAME")]
    pub(crate) otlp_service: Option<String>,
    /// service.instance.id of traces; host name and process id, when not given
    #[arg(long, env = "CAIRN_OTLP_INSTANCE", value_name = "NAME")]
    pub(crate) otlp_instance: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// What a master can be told.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct MasterSettings {
    /// Copies of each chunk, on different nodes
    #[arg(long, env = "CAIRN_COPIES", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) copies: u32,
    /// Least copies with which a write is accepted when nodes are short; the rest is made when there are nodes again. When
    /// not given, all
    #[arg(long, env = "CAIRN_LEAST_COPIES", value_name = "COPIES", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) least_copies: Option<u32>,
    /// Storage nodes that have every change of the catalog before it is acknowledged; 0: none. When not given, as many as
    /// copies, at most 2; 0 with --store and in cairn up
    #[arg(long, env = "CAIRN_META_COPIES", value_name = "NODES", value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(crate) meta_copies: Option<u32>,
    /// Nodes that keep the journal get a new backup of the catalog when the records behind theirs have more bytes than
    /// this, and than the backup
    #[arg(long, env = "CAIRN_META_RENEW", default_value = "64MiB", value_parser = bytes)]
    pub(crate) meta_renew: u64,
    /// Size of a chunk, 1KiB to 64MiB; kept with each file, so it can be changed later
    #[arg(long, env = "CAIRN_CHUNK_SIZE", default_value = "8MiB", value_parser = bytes)]
    pub(crate) chunk_size: u64,
    /// How long an upload may make no progress before it is given up
    #[arg(long, env = "CAIRN_LEASE", default_value = "60s", value_parser = duration)]
    pub(crate) lease: Duration,
    /// How long replaced and deleted files are kept before they are erased
    #[arg(long, env = "CAIRN_CONDEMN_FOR", default_value = "24h", value_parser = duration)]
    pub(crate) condemn_for: Duration,
    /// Share of what the nodes could hold, in percent, below which deleted files are erased before that time is over,
    /// oldest first; 0: never
    #[arg(long, env = "CAIRN_SPACE_FLOOR", default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..100))]
    pub(crate) space_floor: u8,
    /// How often nodes say that they live
    #[arg(long, env = "CAIRN_HEARTBEAT", default_value = "1s", value_parser = duration)]
    pub(crate) heartbeat: Duration,
    /// Silence after which a node gets no new chunks
    #[arg(long, env = "CAIRN_SUSPECT_AFTER", default_value = "5s", value_parser = duration)]
    pub(crate) suspect_after: Duration,
    /// Silence after which a node is treated as gone
    #[arg(long, env = "CAIRN_DOWN_AFTER", default_value = "30s", value_parser = duration)]
    pub(crate) down_after: Duration,
    /// How long a node that is gone is waited for before its copies are made anew on others
    #[arg(long, env = "CAIRN_REPAIR_AFTER", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub(crate) repair_after: Duration,
    /// Most bytes of copies that are made anew or moved in a second, all nodes together; 0: none
    #[arg(long, env = "CAIRN_REPAIR_RATE", default_value = "512MiB", value_parser = bytes, value_name = "BYTES")]
    pub(crate) repair_rate: u64,
    /// The same, from and to one node
    #[arg(long, env = "CAIRN_REPAIR_RATE_PER_NODE", default_value = "64MiB", value_parser = bytes, value_name = "BYTES")]
    pub(crate) repair_rate_per_node: u64,
    /// Most bytes of copies that are made in a second for a better place alone, to even out how full nodes are and in other zones; 0: none
    #[arg(long, env = "CAIRN_REBALANCE_RATE", default_value = "32MiB", value_parser = bytes, value_name = "BYTES")]
    pub(crate) rebalance_rate: u64,
    /// Keep the catalog in a PostgreSQL database instead of the folder: postgres://USER:PASSWORD@HOST:PORT/DATABASE.
    /// Several masters may share it. Others can read a password in the command line: use CAIRN_STORE or --config
    #[arg(long, env = "CAIRN_STORE", hide_env_values = true, value_name = "URL")]
    pub(crate) store: Option<StoreUrl>,
    /// With --store: speak TLS with a server whose certificate is signed by an authority in this PEM file
    #[arg(long, env = "CAIRN_STORE_CA", requires = "store", value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,
}

/// Where a database is, possibly with a password, which `Debug` does not show.
#[derive(Clone)]
pub(crate) struct StoreUrl(pub(crate) String);

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreUrl")
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = ["postgres://", "postgresql://"];
        if known.iter().any(|scheme| text.starts_with(scheme)) {
            Ok(Self(text.to_owned()))
        } else {
            Err("use postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned())
        }
    }
}

/// What a gateway can be told.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct GatewaySettings {
    /// Memory for chunks of uploads in flight, at least 64MiB
    #[arg(long, env = "CAIRN_UPLOAD_BUDGET", default_value = "128MiB", value_parser = bytes)]
    pub(crate) upload_budget: u64,
    /// Memory for bytes on their way to clients, at least 8MiB
    #[arg(long, env = "CAIRN_DOWNLOAD_BUDGET", default_value = "64MiB", value_parser = bytes)]
    pub(crate) download_budget: u64,
    /// Longest silence of a client within an upload
    #[arg(long, env = "CAIRN_BODY_IDLE", default_value = "30s", value_parser = duration)]
    pub(crate) body_idle: Duration,
    /// How copies are read where neither request nor bucket say it: hedged (a second copy when the first takes long),
    /// ordered or race
    #[arg(long, env = "CAIRN_READ_STRATEGY", default_value_t, value_name = "STRATEGY")]
    pub(crate) read_strategy: ReadStrategy,
}

/// What a node can be told.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct NodeSettings {
    /// Bytes that each disk of a node may hold; what it has, when not given
    #[arg(long, env = "CAIRN_CAPACITY", value_parser = bytes)]
    pub(crate) capacity: Option<u64>,
    /// In which time all chunks of a node are read once and proven; what is damaged is put aside
    #[arg(long, env = "CAIRN_SCRUB_PERIOD", default_value = "14d", value_parser = duration, value_name = "DURATION")]
    pub(crate) scrub_period: Duration,
    /// Most bytes that a node reads in a second to prove them
    #[arg(long, env = "CAIRN_SCRUB_RATE", default_value = "64MiB", value_parser = bytes, value_name = "BYTES")]
    pub(crate) scrub_rate: u64,
}

/// How services exchange chunks.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct TransferSettings {
    /// How chunk bytes travel between services: lane (plain HTTP/1.1, less work for each byte) or grpc
    #[arg(long, env = "CAIRN_CHUNK_TRANSPORT", default_value = "lane", value_name = "TRANSPORT")]
    pub(crate) chunk_transport: Transport,
}

/// Options of `cairn up`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Up {
    /// Where everything is kept
    #[arg(long, env = "CAIRN_DATA", default_value = "cairn-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Storage nodes
    #[arg(long, env = "CAIRN_NODES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) nodes: u32,
    /// Zones that the nodes are spread over; one for each node, when not given
    #[arg(long, env = "CAIRN_ZONES", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) zones: Option<u32>,
    /// Where files are served
    #[arg(long, env = "CAIRN_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where administration, health and metrics are served
    #[arg(long, env = "CAIRN_ADMIN_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDR", value_parser = address)]
    pub(crate) admin_listen: SocketAddr,
    #[command(flatten)]
    pub(crate) master: MasterSettings,
    #[command(flatten)]
    pub(crate) gateway: GatewaySettings,
    #[command(flatten)]
    pub(crate) node: NodeSettings,
    #[command(flatten)]
    pub(crate) transfer: TransferSettings,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `cairn gateway`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Gateway {
    /// Where files are served
    #[arg(long, env = "CAIRN_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where health and metrics are served
    #[arg(long, env = "CAIRN_ADMIN_LISTEN", default_value = "127.0.0.1:8082", value_name = "ADDR", value_parser = address)]
    pub(crate) admin_listen: SocketAddr,
    /// Where the chunk master is reached; several with commas between: one of them is asked, another one when it is away
    #[arg(
        long = "master",
        env = "CAIRN_MASTER",
        default_value = "http://127.0.0.1:7000",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub(crate) masters: Vec<String>,
    #[command(flatten)]
    pub(crate) gateway: GatewaySettings,
    #[command(flatten)]
    pub(crate) transfer: TransferSettings,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of `cairn master`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Master {
    /// Where the catalog is kept
    #[arg(long, env = "CAIRN_DATA", default_value = "cairn-data/master", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where gateways and nodes call
    #[arg(long, env = "CAIRN_LISTEN", default_value = "127.0.0.1:7000", value_name = "ADDR", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where administration, health and metrics are served
    #[arg(long, env = "CAIRN_ADMIN_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDR", value_parser = address)]
    pub(crate) admin_listen: SocketAddr,
    #[command(flatten)]
    pub(crate) settings: MasterSettings,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What can be done with a node's folder while the node is stopped.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NodeFolder {
    /// Show the segments of a stopped node's folder, and what of them is live
    Inspect(Folder),
    /// Read all chunks of a stopped node's folder and prove them; exit code 7 when some are damaged
    Verify(Folder),
    /// Write the index of a stopped node's folder anew, from the records themselves
    RebuildIndex(Folder),
}

/// A node's folder.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Folder {
    /// The folder that --data names
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// JSON objects, one a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn node`.
#[derive(Debug, Clone, ClapArgs)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Node {
    #[command(subcommand)]
    pub(crate) folder: Option<NodeFolder>,
    /// Where chunks are kept
    #[arg(long, env = "CAIRN_DATA", default_value = "cairn-data/node", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where chunks, health and metrics are served
    #[arg(long, env = "CAIRN_LISTEN", default_value = "127.0.0.1:7100", value_name = "ADDR", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// How others reach this node; http:// and the listening address, when not given
    #[arg(long, env = "CAIRN_ADVERTISE", value_name = "URL")]
    pub(crate) advertise: Option<String>,
    /// Where the chunk master is reached; several with commas between: the node makes itself known to each
    #[arg(
        long = "master",
        env = "CAIRN_MASTER",
        default_value = "http://127.0.0.1:7000",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub(crate) masters: Vec<String>,
    /// What fails together with this node: copies are spread over zones
    #[arg(long, env = "CAIRN_ZONE", default_value = "default", value_name = "ZONE")]
    pub(crate) zone: Zone,
    /// A folder on a disk to keep chunks on; several are spread over. The data folder, when not given
    #[arg(long = "disk", env = "CAIRN_DISK", value_name = "DIR", value_delimiter = ',')]
    pub(crate) disks: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: NodeSettings,
    #[command(flatten)]
    pub(crate) transfer: TransferSettings,
    #[command(flatten)]
    pub(crate) common: Common,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "use IP:PORT, e.g. 127.0.0.1:8080 or [::1]:8080".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let rule = |error| format!("{error}: use a number and a unit, e.g. 500ms, 30s, 24h");
    humantime::parse_duration(text).map_err(rule)
}

fn bytes(text: &str) -> Result<u64, String> {
    let rule = |error| format!("{error}: use a number of bytes, or one with KiB, MiB, GiB");
    parse_size::parse_size(text).map_err(rule)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_are_written_as_people_do() {
        assert_eq!(bytes("8MiB"), Ok(8 << 20));
        assert_eq!(bytes("1024"), Ok(1024));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(address("127.0.0.1").is_err() && address("localhost:80").is_err());
        assert!(bytes("many").is_err());
        assert!(duration("soon").is_err());
    }
}
