//! The command line of operators.

use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueHint};

use super::meta::args::Meta;
use crate::client::error::EXIT_CODES;

/// Where the master is administered.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Connection {
    /// The admin port of the master or of `cairn up`
    #[arg(
        long,
        global = true,
        env = "CAIRN_ADMIN_URL",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL",
        value_hint = ValueHint::Url
    )]
    pub(crate) admin_url: String,
}

/// Options of `cairn admin`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Admin {
    #[command(subcommand)]
    pub(crate) what: Do,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// What operators do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Do {
    /// Show the storage nodes: state, zone, how full
    Nodes(Show),
    /// Empty a node, let it back, remove it
    #[command(subcommand)]
    Node(Node),
    /// Show what each bucket holds, and its limits
    Usage(ShowUsage),
    /// Set limits
    #[command(subcommand)]
    Quota(Quota),
    /// Create, list and delete tenants
    #[command(subcommand)]
    Tenant(Tenant),
    /// Show files that were deleted or replaced and can come back
    Deleted(Deleted),
    /// Bring a deleted file back under its name
    Undelete(Undelete),
    /// Show uploads that hold a reservation
    Uploads(Show),
    /// Show chunks with fewer good copies than wanted
    Short(Show),
    /// Show, pause, resume and cancel what the master does for long in the background
    Jobs(Jobs),
    /// Compare catalog and nodes both ways, and mend what can be mended
    Fsck(Fsck),
    /// Back the catalog up, bring it back, see how safe it is
    #[command(subcommand)]
    Meta(Meta),
}

/// What is done with one node.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Node {
    /// Empty a node: it gets nothing new, and what it has is copied to others
    Drain(DrainNode),
    /// Let a node back that is being emptied
    Undrain(OneNode),
    /// Show what is left on a node, and so whether it is safe to remove it
    Left(OneNode),
    /// Remove a node that is drained, for good
    Remove(OneNode),
}

/// Which node.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct OneNode {
    /// Its address, its id, or the beginning of its id, as cairn admin nodes shows
    #[arg(value_name = "NODE")]
    pub(crate) name: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn admin node drain`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DrainNode {
    #[command(flatten)]
    pub(crate) one: OneNode,
    /// Wait until nothing is left there
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Options of `cairn admin fsck`.
#[derive(Debug, Clone, Copy, ClapArgs)]
#[command(after_help = FSCK_EXIT_CODES)]
pub(crate) struct Fsck {
    /// Only say what would be done, which is the default
    #[arg(long, conflicts_with = "repair")]
    pub(crate) dry_run: bool,
    /// Mend what can be mended: index records, counters, chunks on nodes that nobody has; missing copies are recorded
    #[arg(long)]
    pub(crate) repair: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The exit codes that mean something of their own, for `--help`.
const FSCK_EXIT_CODES: &str = "\
Exit codes:
  0  clean: all was compared, and no difference is left
  7  there are differences, or some that could not be mended
  8  no difference was found, and not everything could be compared";

/// How it is shown.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Show {
    /// Numbers of bytes in full
    #[arg(long)]
    pub(crate) bytes: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn admin usage`.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct ShowUsage {
    /// What each user and each tenant holds as well
    #[arg(long)]
    pub(crate) all: bool,
    /// Add up all files and compare with what is counted: exit code 7 when a number differs
    #[arg(long)]
    pub(crate) verify: bool,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// Options of `cairn admin deleted`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Deleted {
    /// Only keys that begin so
    pub(crate) prefix: Option<String>,
    /// The bucket
    #[arg(long, env = "CAIRN_BUCKET", default_value = "default")]
    pub(crate) bucket: String,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// Options of `cairn admin undelete`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Undelete {
    /// The key; the version that was deleted last comes back
    pub(crate) key: String,
    /// The bucket
    #[arg(long, env = "CAIRN_BUCKET", default_value = "default")]
    pub(crate) bucket: String,
    /// Another version of it, as cairn admin deleted shows
    #[arg(long, value_name = "ID")]
    pub(crate) version: Option<String>,
}

/// What is done with limits.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Quota {
    /// Limit a bucket; what is not named keeps its limit
    Set(SetQuota),
}

/// Options of `cairn admin quota set`.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = ArgGroup::new("limits").required(true).multiple(true).args(["bytes", "objects"]))]
pub(crate) struct SetQuota {
    /// The bucket
    pub(crate) bucket: String,
    /// Most bytes, e.g. 20MiB; or none
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) bytes: Option<Limit>,
    /// Most files; or none
    #[arg(long, value_name = "COUNT", value_parser = objects)]
    pub(crate) objects: Option<Limit>,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn admin jobs`.
#[derive(Debug, Clone, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    pub(crate) what: Option<WithJob>,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// What is done with jobs.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum WithJob {
    /// Show the jobs, also those that ended in the last 7 days: what is shown without a subcommand
    List(Show),
    /// Leave a job where it is, until it is resumed
    Pause(AskJob),
    /// Go on with a job that was paused, or has failed
    Resume(AskJob),
    /// End a job and take back what it began
    Cancel(AskJob),
}

/// Which job.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct AskJob {
    /// Its name, as the list shows it
    pub(crate) job: String,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is done with tenants.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Tenant {
    /// Create a tenant
    Create(CreateTenant),
    /// List tenants with what they hold
    Ls(Show),
    /// Delete a tenant that has no buckets
    Rm(RemoveTenant),
}

/// Options of `cairn admin tenant create`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CreateTenant {
    /// 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'
    pub(crate) tenant: String,
    /// Most bytes, e.g. 20MiB; or none
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) bytes: Option<Limit>,
    /// Most files; or none
    #[arg(long, value_name = "COUNT", value_parser = objects)]
    pub(crate) objects: Option<Limit>,
}

/// Options of `cairn admin tenant rm`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RemoveTenant {
    /// The tenant
    pub(crate) tenant: String,
}

/// A limit as it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// No limit.
    None,
    /// The most.
    AtMost(u64),
}

impl From<Limit> for Option<u64> {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::None => None,
            Limit::AtMost(most) => Some(most),
        }
    }
}

fn bytes(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let rule = |error| format!("{error}: use a number of bytes, one with KiB, MiB, GiB, or none");
    parse_size::parse_size(text).map(Limit::AtMost).map_err(rule)
}

fn objects(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let rule = |_| "use a whole number, or none".to_owned();
    text.parse().map(Limit::AtMost).map_err(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(bytes("20MiB"), Ok(Limit::AtMost(20 << 20)));
        assert_eq!(bytes("none"), Ok(Limit::None));
        assert_eq!(objects("7"), Ok(Limit::AtMost(7)));
        assert!(bytes("much").is_err());
        assert!(objects("7MiB").is_err());
    }
}
