//! The end of a run: faults are over, the sweep does what is left, and everything is checked.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use cairn_kv::simulated::Odds;
use cairn_proto::v1;
use cairn_proto::v1::admin_server::Admin as _;
use futures_util::StreamExt;
use tonic::Request;

use super::play::Play;
use super::reader;
use super::tasks::Owner;
use crate::invariants::{self, Catalog, Inventories, Inventory};
use crate::operator::named;

/// Longer than any wait of the master, and than any jump of the wall.
const LONG: Duration = Duration::from_secs(3 * 60 * 60);
/// Sweeps until nothing is left, at most.
const SWEEPS: usize = 24;

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
    play.beat_all().await;
    if !play.run_to_rest().await {
        world.violation(format!("{} tasks never end", world.tasks.len()));
    }
    play.audit().await;
    for _ in 0..SWEEPS {
        play.pass_time(LONG).await;
        play.beat_all().await;
        // A read lease that is held across a long time ends in the first pass, so the second one counts.
        match sweep(play).await {
            Ok(report) if is_quiet(&report) && nothing_is_left(play).await => return,
            Ok(_) => {}
            Err(error) => world.violation(format!("the sweep fails without faults: {error}")),
        }
    }
    world.violation("the sweep does not come to an end".to_owned());
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
    match chunks(play).await {
        Ok((catalog, short)) => {
            for violation in invariants::copies_agree(&catalog, &inventories(play), &short) {
                world.violation(violation);
            }
        }
        Err(error) => world.violation(format!("chunks cannot be listed: {error}")),
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

/// All chunks that the catalog names, and those that it calls short.
async fn chunks(play: &Play) -> Result<(Catalog, BTreeSet<cairn_core::ids::ChunkId>), String> {
    let master = play.world.master().ok_or("there is no master")?;
    let (mut catalog, mut short) = (Catalog::new(), BTreeSet::new());
    let mut after = None;
    loop {
        let request = Request::new(v1::ListChunksRequest { after, limit: 0 });
        let page = master
            .admin()
            .list_chunks(request)
            .await
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        for chunk in page.chunks {
            let (id, named) = named(chunk).map_err(|error| error.to_string())?;
            catalog.insert(id, named);
        }
        after = page.next_after;
        if after.is_none() {
            break;
        }
    }
    let request = Request::new(v1::ListShortChunksRequest::default());
    let page = master
        .admin()
        .list_short_chunks(request)
        .await
        .map_err(|status| status.message().to_owned())?;
    for chunk in page.into_inner().chunks {
        short.insert(named(chunk).map_err(|error| error.to_string())?.0);
    }
    Ok((catalog, short))
}

fn inventories(play: &Play) -> Inventories {
    let nodes = play.world.nodes.iter();
    nodes
        .map(|node| {
            (node.id, Inventory { address: node.address.clone(), chunks: node.inventory() })
        })
        .collect()
}
