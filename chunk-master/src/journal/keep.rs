//! Keeps the journal on nodes.
//!
//! ```text
//! run      nodes of the directory ─► who keeps the journal: a task for each
//! follow   BeginTerm ─► backup, unless what the node has leads on ─► records as they are committed
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_core::backup::BackupHead;
use cairn_core::ids::{CatalogId, NodeId};
use cairn_core::journal::{JournalKept, JournalWriter, Position};
use cairn_core::liveness::{Membership, NodeState};
use cairn_core::names::Zone;
use cairn_kv::StorageFailure;
use cairn_proto::v1::meta_journal_client::MetaJournalClient;
use cairn_proto::v1::{AppendRecordsRequest, BeginTermRequest, MetaState, PutBackupRequest};
use cairn_proto::{InvalidField, MAX_META_MESSAGE_BYTES, RemoteError};
use cairn_runtime::{Elapsed, InvalidAddress, Owned, PeerChannel, Spawner};
use futures_util::future::{Fuse, FusedFuture, FutureExt, ready};
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;
use tonic::{Response, Status};

use super::feed::{Batch, MetaJournal};
use crate::backup;
use crate::master::Master;
use crate::nodes::{Directory, NodeView};

/// How often it is looked who should keep the journal.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Wait before a node that failed is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Longest wait for a node to take a whole backup.
const BACKUP_BOUND: Duration = Duration::from_secs(60 * 60);

/// Why a node does not keep up.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error(transparent)]
    Silent(#[from] Elapsed),
    #[error(transparent)]
    Refused(#[from] RemoteError),
    #[error("the node's answer does not fit: {0}")]
    Answer(#[from] InvalidField),
    #[error("read the catalog for a backup: {0}")]
    Dump(#[from] StorageFailure),
    #[error("another master began a later term: this one is an old copy, or was replaced")]
    Superseded,
    #[error(
        "the node has records that this catalog lacks: it is an old copy; restore it from the nodes"
    )]
    Behind,
    #[error("the node was away for too long and needs a backup")]
    Gone,
    #[error("the node did not take the records")]
    NotTaken,
}

/// Keeps the journal on as many nodes as it should, and one more, until the master stops.
pub(crate) async fn run(master: &Arc<Master>, journal: &MetaJournal, spawner: &Spawner) {
    let mut tasks: BTreeMap<NodeId, (String, Owned<()>)> = BTreeMap::new();
    loop {
        let directory = master.nodes.directory();
        let current: BTreeSet<_> = tasks.keys().copied().collect();
        let (hopeless, avoided) = (journal.hopeless(), journal.avoided());
        let keepers = journal.keepers().into_iter();
        let keeping = keepers.filter(|(_, keeper)| keeper.problem.is_none());
        let keeping = keeping.map(|(node, _)| node).collect();
        let known = Known { current, keeping, hopeless, avoided };
        let chosen = choose(&directory, &known, journal.copies() as usize);
        let stays = |node: &NodeId, address: &str| {
            chosen.contains(node)
                && directory.get(node).is_some_and(|view| view.record.address == address)
        };
        tasks.retain(|node, (address, _)| {
            let stays = stays(node, address);
            if !stays {
                journal.dismiss(*node);
            }
            stays
        });
        for node in chosen {
            let (Some(view), false) = (directory.get(&node), tasks.contains_key(&node)) else {
                continue;
            };
            let address = view.record.address.clone();
            journal.appoint(node, address.clone());
            tracing::info!(target: "cairn", %node, address, "the node is to keep the journal");
            let keeping = Keeping {
                master: Arc::clone(master),
                journal: journal.clone(),
                node,
                address: address.clone(),
            };
            tasks.insert(node, (address, Owned::new(spawner.spawn(keeping.run()))));
        }
        let pause = master.clock.sleep(LOOK_AGAIN);
        if master.stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// What is known of those who keep the journal, or were asked to.
#[derive(Debug, Default)]
struct Known {
    /// Asked to.
    current: BTreeSet<NodeId>,
    /// They keep up.
    keeping: BTreeSet<NodeId>,
    /// They fail for long.
    hopeless: BTreeSet<NodeId>,
    /// They did lately, and were replaced.
    avoided: BTreeSet<NodeId>,
}

/// Who keeps the journal, one more than the `copies` where there is one: those who do already, in different zones first, nobody
/// who is gone, and who failed for long lately only where there is nobody else; who fails still is the last. Who is being emptied makes up for those that do not
/// keep up yet, and no more.
fn choose(directory: &Directory, known: &Known, copies: usize) -> Vec<NodeId> {
    let mut there: Vec<_> =
        directory.values().filter(|view| view.state != NodeState::Down).collect();
    there.sort_by_key(|view| (!known.current.contains(&view.node), view.node));
    let mut zones: BTreeSet<&Zone> = BTreeSet::new();
    let leaves = |view: &&NodeView| view.record.membership == Membership::Draining;
    let (leaving, there): (Vec<_>, Vec<_>) = there.into_iter().partition(leaves);
    let fails = |view: &NodeView| known.hopeless.contains(&view.node);
    let failed = |view: &&NodeView| fails(view) || known.avoided.contains(&view.node);
    let (mut last, there): (Vec<_>, Vec<_>) = there.into_iter().partition(failed);
    last.sort_by_key(|view| fails(view));
    let (first, rest): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|view| zones.insert(&view.record.zone));
    let mut chosen: Vec<_> = first.into_iter().chain(rest).chain(last).take(copies + 1).collect();
    let keeping = chosen.iter().filter(|view| known.keeping.contains(&view.node)).count();
    chosen.extend(leaving.into_iter().take(copies.saturating_sub(keeping)));
    chosen.into_iter().map(|view| view.node).collect()
}

/// The journal on one node.
struct Keeping {
    master: Arc<Master>,
    journal: MetaJournal,
    node: NodeId,
    address: String,
}

type Client = MetaJournalClient<PeerChannel>;

impl Keeping {
    async fn run(self) {
        let mut told = None;
        loop {
            // Boxed: a backup on its way takes some 25 KiB of state.
            let Err(problem) = Box::pin(self.follow(&mut told)).await;
            let refuses = matches!(problem, NotKept::Superseded | NotKept::Behind);
            let problem = problem.to_string();
            self.master.metrics.journal_failures.inc();
            if told.as_ref() != Some(&problem) {
                tracing::warn!(target: "cairn", node = %self.node, problem, "the journal is not kept");
            }
            self.journal.failed(self.node, problem.clone(), refuses);
            told = Some(problem);
            self.master.clock.sleep(ASK_AGAIN).await;
        }
    }

    fn client(&self) -> Result<Client, InvalidAddress> {
        let client = MetaJournalClient::new(self.master.peers.channel(&self.address)?);
        Ok(client.max_decoding_message_size(MAX_META_MESSAGE_BYTES))
    }

    async fn bounded(
        &self,
        bound: Duration,
        call: impl Future<Output = Result<Response<MetaState>, Status>>,
    ) -> Result<JournalKept, NotKept> {
        let answer = self.master.clock.timeout(bound, call).await?;
        let answer = answer.map_err(RemoteError::from)?.into_inner();
        Ok(JournalKept::try_from(answer)?)
    }

    /// Leads the node on, until something fails.
    async fn follow(&self, told: &mut Option<String>) -> Result<std::convert::Infallible, NotKept> {
        let catalog = self.master.catalog.get().copied().ok_or(NotKept::Gone)?;
        self.journal.ask_anew(self.node);
        let (writer, kept) = self.begin(catalog).await?;
        let leads_on = |at: &Position| self.journal.leads_on_from(*at);
        let mut acked = match kept.position.filter(leads_on) {
            Some(position) => {
                self.journal.acked(
                    self.node,
                    position.sequence,
                    kept.journal_bytes,
                    kept.backup_bytes,
                );
                position.sequence
            }
            None => self.put_backup(writer).await?,
        };
        *told = None;
        tracing::info!(target: "cairn", node = %self.node, sequence = acked, "the node keeps the journal");
        let mut renewal = std::pin::pin!(Fuse::terminated());
        loop {
            let batch = tokio::select! {
                biased;
                renewed = renewal.as_mut() => {
                    let _: u64 = renewed?;
                    continue;
                }
                batch = self.journal.next(acked) => batch,
            };
            let kept = self.append(writer, batch).await?;
            acked = kept.position.map_or(acked, |position| position.sequence);
            if kept.journal_bytes > kept.backup_bytes.max(self.master.config.meta_renew)
                && renewal.is_terminated()
            {
                renewal.set(self.put_backup(writer).fuse());
            }
        }
    }

    /// Takes over at the node.
    async fn begin(&self, catalog: CatalogId) -> Result<(JournalWriter, JournalKept), NotKept> {
        let (writer, committed) = self.journal.writer(catalog);
        let request = BeginTermRequest {
            by: Some(writer.into()),
            position: Some(committed.into()),
            copies: self.journal.copies(),
        };
        let mut client = self.client()?;
        let call = client.begin_term(request);
        let kept = self.bounded(self.master.config.node_call, call).await?;
        if kept.writer == Some(writer) {
            return Ok((writer, kept));
        }
        let superseded = kept.writer.is_some_and(|now| now.supersedes(&writer));
        Err(if superseded { NotKept::Superseded } else { NotKept::Behind })
    }

    async fn append(&self, writer: JournalWriter, batch: Batch) -> Result<JournalKept, NotKept> {
        let Batch::Records(records, last) = batch else { return Err(NotKept::Gone) };
        let mut client = self.client()?;
        let call = client.append_records(AppendRecordsRequest { by: Some(writer.into()), records });
        let kept = self.bounded(self.master.config.node_call, call).await?;
        if kept.writer != Some(writer) {
            return Err(NotKept::Superseded);
        }
        if kept.position != Some(last) {
            return Err(NotKept::NotTaken);
        }
        self.journal.acked(self.node, last.sequence, kept.journal_bytes, kept.backup_bytes);
        Ok(kept)
    }

    /// Gives the node a backup; the record that it leads on from.
    async fn put_backup(&self, writer: JournalWriter) -> Result<u64, NotKept> {
        let dump = self.master.kv.dump().await?;
        let made_ms = self.master.time.wall_ms();
        let position = dump.position();
        let catalog = *writer.catalog.as_bytes();
        let head = BackupHead { catalog, made_ms, position };
        let (tell, failure) = oneshot::channel();
        // A backup without its end is not taken.
        let pieces = backup::pieces(dump, head).scan(Some(tell), |tell, piece| {
            ready(match piece {
                Ok(data) => Some(data),
                Err(failure) => {
                    let _nobody = tell.take().map(|tell| tell.send(failure));
                    None
                }
            })
        });
        let by = std::iter::once(Some(writer.into())).chain(std::iter::repeat(None));
        let pieces = pieces.zip(stream::iter(by));
        let pieces = pieces.map(|(data, by)| PutBackupRequest { by, data });
        let mut client = self.client()?;
        let call = client.put_backup(pieces);
        let put = self.bounded(BACKUP_BOUND, call).await;
        let kept = match (put, failure.await) {
            (_, Ok(failure)) => return Err(failure.into()),
            (put, Err(_)) => put?,
        };
        let here = kept.position.filter(|_| kept.writer == Some(writer));
        let here = here.filter(|here| here.branch == position.branch).ok_or(NotKept::NotTaken)?;
        self.journal.acked(self.node, here.sequence, kept.journal_bytes, kept.backup_bytes);
        tracing::info!(target: "cairn", node = %self.node, bytes = kept.backup_bytes, "backup of the catalog taken");
        Ok(here.sequence)
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::ids::DiskIncarnation;

    use uuid::Uuid;

    use super::*;
    use crate::catalog::NodeRecord;

    fn id(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn directory(nodes: &[(u128, &str, NodeState)]) -> Directory {
        let view = |&(n, zone, state): &(u128, &str, NodeState)| {
            let record = NodeRecord {
                disks: [DiskIncarnation::from_uuid(Uuid::from_u128(n))].into(),
                address: format!("http://node-{n}:7100"),
                zone: Zone::new(zone).expect("a label"),
                membership: Membership::Member,
            };
            (id(n), NodeView { node: id(n), record, state, doubt: None, report: Arc::default() })
        };
        nodes.iter().map(view).collect()
    }

    #[test]
    fn the_journal_stays_where_it_is_and_spreads_over_zones_and_leaves_who_is_gone() {
        use NodeState::{Down, Up};
        let there = directory(&[(1, "a", Up), (2, "a", Up), (3, "b", Up), (4, "c", Down)]);
        let knows = |current: &[u128], hopeless: &[u128]| Known {
            current: current.iter().map(|&n| id(n)).collect(),
            keeping: BTreeSet::new(),
            hopeless: hopeless.iter().map(|&n| id(n)).collect(),
            avoided: BTreeSet::new(),
        };
        let none = knows(&[], &[]);
        assert_eq!(choose(&there, &none, 1), [id(1), id(3)], "two zones");
        assert_eq!(choose(&there, &none, 3), [id(1), id(3), id(2)], "not who is gone");
        assert_eq!(choose(&there, &knows(&[2, 3], &[]), 1), [id(2), id(3)], "it stays");
        let failing = knows(&[2, 3], &[3]);
        assert_eq!(choose(&there, &failing, 1), [id(2), id(1)], "who fails is replaced");
        assert_eq!(choose(&there, &failing, 2).last(), Some(&id(3)), "unless needed");
        let replaced = Known { avoided: [id(3)].into(), ..knows(&[1, 2], &[]) };
        assert_eq!(choose(&there, &replaced, 1), [id(1), id(2)], "nor does it come back at once");
        let two_fail = Known { avoided: [id(1)].into(), ..knows(&[2, 3], &[2, 3]) };
        assert_eq!(choose(&there, &two_fail, 1), [id(1), id(2)], "but before those that fail now");
    }

    #[test]
    fn a_node_that_is_drained_keeps_the_journal_until_enough_others_keep_up() {
        use NodeState::Up;
        let mut there = directory(&[(1, "a", Up), (2, "b", Up), (3, "c", Up)]);
        for view in there.values_mut().filter(|view| view.node == id(2)) {
            view.record.membership = Membership::Draining;
        }
        let all: BTreeSet<_> = [id(1), id(2), id(3)].into();
        let mut known = Known { current: all, keeping: [id(1)].into(), ..Known::default() };
        assert_eq!(choose(&there, &known, 2), [id(1), id(3), id(2)], "node 3 is not there yet");
        known.keeping.insert(id(3));
        assert_eq!(choose(&there, &known, 2), [id(1), id(3)]);
        assert_eq!(choose(&there, &known, 3), [id(1), id(3), id(2)], "there are not enough others");
    }
}
