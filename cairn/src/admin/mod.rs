//! `cairn admin`: what operators see and set, over `cairn.v1.Admin`.

pub(crate) mod args;
mod audit;
mod condemned;
mod fsck;
mod jobs;
mod meta;
mod node;
mod nodes;
mod short;
mod tenants;
mod uploads;
mod usage;

use std::time::Duration;

use cairn_proto::v1::admin_client::AdminClient;
use cairn_proto::{MAX_MESSAGE_BYTES, Reason, RemoteError};
use cairn_runtime::{Clock, Dial, NetworkDial, PeerChannel};
use tonic::{Response, Status};
use uuid::Uuid;

use self::args::{Admin, Connection, Do};
use crate::client::args::Telling;
use crate::client::block_on;
use crate::client::error::{ClientError, Kind};
use crate::client::http::base_url;
use crate::client::output::Output;
use crate::human::Table;

/// Longest wait for one answer.
const BOUND: Duration = Duration::from_secs(30);

/// Runs what was asked for.
pub(crate) fn run(args: &Admin) -> Result<(), ClientError> {
    block_on(async {
        if let Do::Meta(what) = &args.what {
            return meta::run(&args.connection, what).await;
        }
        let operator = Operator::dial(&args.connection)?;
        match &args.what {
            Do::Nodes(show) => nodes::run(&operator, show).await,
            Do::Node(what) => node::run(&operator, what).await,
            Do::Usage(args) if args.verify => audit::run(&operator, &args.show).await,
            Do::Usage(args) => usage::run(&operator, args).await,
            Do::Quota(args::Quota::Set(set)) => usage::set(&operator, set).await,
            Do::Tenant(what) => tenants::run(&operator, what).await,
            Do::Deleted(args) => condemned::list(&operator, args).await,
            Do::Undelete(args) => condemned::undelete(&operator, args).await,
            Do::Uploads(show) => uploads::run(&operator, show).await,
            Do::Short(show) => short::run(&operator, show).await,
            Do::Jobs(args) => jobs::run(&operator, args).await,
            Do::Fsck(args) => fsck::run(&operator, args).await,
            Do::Meta(_) => Ok(()),
        }
    })
}

/// The admin port, and where results go.
struct Operator {
    calls: AdminClient<PeerChannel>,
    url: String,
    clock: Clock,
    output: Output,
}

impl Operator {
    fn dial(connection: &Connection) -> Result<Self, ClientError> {
        let url = base_url("--admin-url", &connection.admin_url)?;
        let channel = NetworkDial::tcp(1).dial(&url);
        let channel = channel.map_err(|error| ClientError::usage("--admin-url", error))?;
        let calls = AdminClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let output = Output::new(Telling { quiet: true, json: false });
        Ok(Self { calls, url, clock: Clock::system(), output })
    }

    /// Waits for an answer, and says what a refusal means.
    async fn answer<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        let answer = self.clock.timeout(BOUND, call).await;
        let answer = answer.map_err(|elapsed| {
            ClientError::new(Kind::Unreachable, doing, format!("{}: {elapsed}", self.url))
        })?;
        answer.map(Response::into_inner).map_err(|status| self.refusal(doing, status))
    }

    fn refusal(&self, doing: &str, status: Status) -> ClientError {
        let cause = deepest(&status);
        let error = RemoteError::from(status);
        match error.reason {
            Reason::Unreachable => {
                let problem =
                    format!("cannot reach {}: {}", self.url, cause.unwrap_or(error.message));
                ClientError::new(Kind::Unreachable, doing, problem)
                    .advise("see that a master runs there, or name its admin port with --admin-url or CAIRN_ADMIN_URL")
            }
            Reason::InvalidField => ClientError::usage(doing, error.message),
            Reason::ObjectNotFound => ClientError::new(Kind::NotFound, doing, error.message)
                .advise("see what is kept: cairn admin deleted"),
            Reason::ObjectExists
            | Reason::TenantExists
            | Reason::TenantNotEmpty
            | Reason::NodeRemoved
            | Reason::NodeNeeded
            | Reason::JobRefuses => ClientError::new(Kind::Condition, doing, error.message),
            Reason::JobNotFound => ClientError::new(Kind::NotFound, doing, error.message)
                .advise("see the jobs: cairn admin jobs"),
            Reason::TenantNotFound => ClientError::new(Kind::NotFound, doing, error.message)
                .advise("see the tenants: cairn admin tenant ls"),
            Reason::QuotaExceeded => ClientError::new(Kind::Quota, doing, error.message),
            Reason::BucketNotFound => ClientError::new(Kind::NotFound, doing, error.message)
                .advise("see the buckets: cairn bucket ls"),
            Reason::Unspecified => {
                ClientError::failed(doing, format!("{} answered: {}", self.url, error.code))
                    .advise("see that --admin-url names the admin port of a master or of cairn up")
            }
            _ => ClientError::failed(doing, error.message),
        }
    }

    fn table(&self, table: &Table) -> Result<(), ClientError> {
        table.lines().iter().try_for_each(|line| self.output.line(line))
    }
}

/// What the operating system said, when no answer came.
fn deepest(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Some(cause.to_string())
}

/// An id as people see it everywhere else.
fn id(bytes: &[u8]) -> String {
    match Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
