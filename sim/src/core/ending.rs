//! The end of a run: faults are over, the sweep does what is left, and everything is checked.

use std::rc::Rc;
use std::time::Duration;

use cairn_core::copies::{CopyFinding, CopyReport};
use cairn_kv::simulated::Odds;
use cairn_proto::v1;
use cairn_proto::v1::admin_server::Admin as _;
use cairn_proto::v1::master_server::Master as _;
use futures_util::StreamExt;
use tonic::Request;

use super::play::{CHUNK, HOLD, Play, REPAIR_RATE};
use super::tasks::Owner;
use super::{operator, reader, truth};
use crate::invariants::{self, Inventories, Inventory};

/// Longer than any wait of the master, and than any jump of the wall.
const LONG: Duration = Duration::from_secs(3 * 60 * 60);
/// Sweeps until nothing is left, at most.
const SWEEPS: usize = 24;

/// Rounds of the census after which all that can be repaired is.
const ROUNDS: u32 = 2;

/// Ends all faults, lets everybody finish, and sweeps until nothing is left to do.
pub(super) async fn come_to_rest(play: &Play) {
    let world = &play.world;
    world.be_calm(true);
    world.store.set_odds(Odds::default());
    world.forget_late_ones();
    world.jump_to(0);
    for node in world.nodes.iter() {
        node.start();
        node.cut_off(false);
    }
    if world.chance.below(2) == 0 || world.master().is_none() || world.has_jumped() {
        world.crash_master();
        world.start_master().await;
    }
    // Nobody is doubted any more.
    play.beat_all().await;
    play.pass_time(HOLD).await;
    play.beat_all().await;
    operator::let_all_back(world).await;
    if !play.run_to_rest().await {
        world.violation(format!("{} tasks never end", world.tasks.len()));
    }
    play.audit().await;
    if let Err(why) = repair(play).await {
        world.violation(why);
    }
    for _ in 0..SWEEPS {
        play.pass_time(LONG).await;
        play.beat_all().await;
        // What was left for the sake of nodes that were doubted.
        play.repair();
        play.run_to_rest().await;
        // A read lease that is held across a long time ends in the first pass, so the second one counts.
        match sweep(play).await {
            Ok(report) if is_quiet(&report) && nothing_is_left(play).await => return,
            Ok(_) => {}
            Err(error) => world.violation(format!("the sweep fails without faults: {error}")),
        }
    }
    world.violation("the sweep does not come to an end".to_owned());
}

/// Every copy is read, and what is missing or damaged is told; then all of it is made anew. That takes no longer than the
/// rate allows, and the time for which the scheduler lets a task sleep too long:
///
/// `(copies + rounds) × (chunk / rate + tick)`
async fn repair(play: &Play) -> Result<(), String> {
    let world = &play.world;
    scrub(play).await?;
    let missing = |short: invariants::Catalog| -> usize {
        short.values().map(|named| named.wanted.saturating_sub(named.good.len())).sum()
    };
    // Copies that lie too close together are made anew elsewhere, too: in the worst case one of each chunk.
    let close = truth::catalog(world).await?.len();
    let copies = missing(truth::short(world).await?) + close;
    let began = world.clock.monotonic();
    for _ in 0..ROUNDS {
        play.beat_all().await;
        play.repair();
        play.run_to_rest().await;
    }
    let took = world.clock.monotonic() - began;
    let each = Duration::from_secs(1) * u32::try_from(CHUNK).unwrap_or(u32::MAX)
        / u32::try_from(REPAIR_RATE).unwrap_or(1)
        + Play::TICK;
    let bound = each * (u32::try_from(copies).unwrap_or(u32::MAX) + ROUNDS);
    if took > bound {
        return Err(format!("{copies} copies were made anew in {took:?}, and not in {bound:?}"));
    }
    match truth::short(world).await? {
        left if left.is_empty() => Ok(()),
        left => Err(format!("not repaired within {bound:?}: {left:?}")),
    }
}

/// Tells of every named copy that is not there or not whole.
async fn scrub(play: &Play) -> Result<(), String> {
    let world = &play.world;
    let Some(master) = world.master() else { return Ok(()) };
    for (chunk, named) in truth::catalog(world).await? {
        for id in named.good {
            let Some(node) = truth::node(world, id) else { continue };
            if node.has_good(chunk, named.length) {
                continue;
            }
            if node.holds(chunk).is_none() && node.has_erased(chunk) {
                world.violation(format!(
                    "{chunk} was erased on {}, where it is named",
                    node.address
                ));
            }
            let report = CopyReport { chunk, node: id, finding: CopyFinding::Missing };
            let request =
                v1::ReportCopiesRequest { reports: vec![report.into()], ..Default::default() };
            let told = master.calls().report_copies(Request::new(request)).await;
            told.map_err(|status| status.message().to_owned())?;
        }
    }
    Ok(())
}

async fn sweep(play: &Play) -> Result<v1::SweepResponse, tonic::Status> {
    let Some(master) = play.world.master() else {
        return Err(tonic::Status::unavailable("there is no master"));
    };
    let admin = master.admin();
    admin.sweep(Request::new(v1::SweepRequest {})).await.map(tonic::Response::into_inner)
}

fn is_quiet(report: &v1::SweepResponse) -> bool {
    *report == v1::SweepResponse::default()
}

async fn nothing_is_left(play: &Play) -> bool {
    let audit = cairn_chunk_master::audit(&play.world.store.open()).await;
    audit.is_ok_and(|audit| audit.open_uploads + audit.condemned + audit.purging == 0)
}

/// Checks all that must hold at rest.
pub(super) async fn check(play: &Play) {
    let world = &play.world;
    play.audit().await;
    for key in world.history.keys() {
        world
            .tasks
            .spawn(Owner::Checker, reader::get(Rc::clone(world), "reader".to_owned(), key, true));
        play.run_to_rest().await;
    }
    if let Err(error) = copies(play).await {
        world.violation(format!("chunks cannot be listed: {error}"));
    }
    match fsck(play).await {
        Ok(differences) => {
            differences.into_iter().for_each(|found| world.violation(format!("fsck: {found}")));
        }
        Err(error) => world.violation(format!("fsck: {error}")),
    }
    match usage(play).await {
        Ok(accounts) => {
            for violation in invariants::nothing_is_held_back(&accounts) {
                world.violation(violation);
            }
        }
        Err(error) => world.violation(format!("accounts cannot be read: {error}")),
    }
}

/// Every chunk has all its copies, and nobody has another.
async fn copies(play: &Play) -> Result<(), String> {
    let world = &play.world;
    let (catalog, short) = (truth::catalog(world).await?, truth::short(world).await?);
    for (chunk, named) in &short {
        let (good, wanted) = (named.good.len(), named.wanted);
        world.violation(format!("chunk {chunk} has {good} of {wanted} copies at the end"));
    }
    for (chunk, named) in &catalog {
        let there = named.good.len() + named.bad.len();
        if there > named.wanted {
            world.violation(format!("chunk {chunk} has {there} copies, not {}", named.wanted));
        }
    }
    let short = short.into_keys().collect();
    for violation in invariants::copies_agree(&catalog, &inventories(play), &short) {
        world.violation(violation);
    }
    Ok(())
}

/// What fsck calls a difference at rest, but for copies that a disk has lost: those are checked by who is short.
async fn fsck(play: &Play) -> Result<Vec<String>, tonic::Status> {
    let Some(master) = play.world.master() else { return Ok(Vec::new()) };
    let request = Request::new(v1::FsckRequest { repair: false });
    let mut steps = master.admin().fsck(request).await?.into_inner();
    let (mut told, mut done) = (Vec::new(), false);
    while let Some(step) = steps.next().await {
        let step = step?;
        let lost = [v1::FsckKind::MissingCopy, v1::FsckKind::ReplacedDisk];
        let wrong = step.differences.iter().filter(|found| !lost.contains(&found.kind()));
        told.extend(wrong.map(|found| format!("{:?}: {}", found.kind(), found.what)));
        told.extend(
            step.unchecked
                .iter()
                .map(|found| format!("not checked: {}: {}", found.what, found.why)),
        );
        done |= step.done;
    }
    if !done {
        told.push("it ended before all was compared".to_owned());
    }
    Ok(told)
}

async fn usage(play: &Play) -> Result<Vec<v1::Account>, tonic::Status> {
    let Some(master) = play.world.master() else { return Ok(Vec::new()) };
    let request = Request::new(v1::GetUsageRequest::default());
    Ok(master.admin().get_usage(request).await?.into_inner().accounts)
}

fn inventories(play: &Play) -> Inventories {
    let nodes = play.world.nodes.iter();
    nodes
        .map(|node| {
            (node.id, Inventory { address: node.address.clone(), chunks: node.inventory() })
        })
        .collect()
}
