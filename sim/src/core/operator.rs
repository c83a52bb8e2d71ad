//! The operator as a model: a bucket comes and goes under everybody, and what was deleted is brought back. These calls
//! reach the master once or never.

use std::rc::Rc;

use cairn_proto::v1::admin_server::Admin as _;
use cairn_proto::v1::master_server::Master as _;
use cairn_proto::{Reason, RemoteError, convert, v1};
use tonic::{Request, Status};

use super::gateway::content_of;
use super::tasks::Owner;
use super::world::World;
use crate::history::Told;
use crate::linear::object::When;

/// The bucket that comes and goes.
pub(super) const PASSING: &str = "passing";

/// The bucket comes to be, unless it is there, or not yet gone.
pub(super) fn make_bucket(world: &Rc<World>) {
    let Some(master) = world.master() else { return };
    let log = world.log.clone();
    world.tasks.spawn(Owner::Master, async move {
        let request = v1::MakeBucketRequest { bucket: PASSING.to_owned(), ..Default::default() };
        match master.calls().make_bucket(Request::new(request)).await {
            Ok(_) => log.fault("bucket made again", PASSING),
            Err(refused) => log.note("master", format_args!("no bucket: {}", refused.message())),
        }
    });
}

/// The bucket goes, with all `names` in it, or only when it is empty.
pub(super) fn remove_bucket<'a>(
    world: &Rc<World>,
    names: impl Iterator<Item = &'a str>,
    with_contents: bool,
) {
    let Some(master) = world.master() else { return };
    let begin = |name| world.history.begin_write(name, None, When::Anyway);
    let tickets: Vec<_> = names.map(begin).collect();
    let world_of_task = Rc::clone(world);
    world.tasks.spawn(Owner::Master, async move {
        let (world, bucket) = (world_of_task, PASSING.to_owned());
        let request = v1::RemoveBucketRequest { bucket, with_contents, caller: None };
        let answer = master.calls().remove_bucket(Request::new(request)).await;
        world.note("master", format_args!("bucket removed: {answer:?}"));
        let told = answer.map_or_else(refused, |_| Told::Acknowledged);
        for ticket in &tickets {
            world.history.told(ticket, told);
        }
    });
}

/// Any version that is condemned comes back.
pub(super) fn bring_back(world: &Rc<World>) {
    let Some(master) = world.master() else { return };
    let world_of_task = Rc::clone(world);
    world.tasks.spawn(Owner::Master, async move {
        let world = world_of_task;
        let request = Request::new(v1::ListCondemnedRequest::default());
        let Ok(page) = master.admin().list_condemned(request).await else { return };
        let mut versions = page.into_inner().versions;
        if versions.is_empty() {
            return;
        }
        let at = usize::try_from(world.chance.below(versions.len() as u64)).unwrap_or(0);
        let object = versions.swap_remove(at).object.unwrap_or_default();
        let Some(content) = content_of(&object.root) else { return };
        let name = format!("{}/{}", object.bucket, object.key);
        let ticket = world.history.begin_write(&name, Some(content), When::Absent);
        let version_id = object.version_id;
        let request = v1::UndeleteRequest { version_id, ..Default::default() };
        let told = match master.admin().undelete(Request::new(request)).await {
            Ok(_) => {
                world.log.fault("file brought back", format_args!("{content} of {name}"));
                Told::Acknowledged
            }
            Err(status) => refused(status),
        };
        world.history.told(&ticket, told);
    });
}

/// A node is to be emptied, or is let back. At most one at a time is emptied, so that there is room for all copies.
pub(super) fn drain_or_let_back(world: &Rc<World>) {
    let Some(master) = world.master() else { return };
    let any = usize::try_from(world.chance.below(world.nodes.len() as u64)).unwrap_or(0);
    let drained = world.drained.take();
    world.drained.set(if drained.is_none() { Some(any) } else { None });
    let node = world.nodes[drained.unwrap_or(any)].clone();
    let world_of_task = Rc::clone(world);
    world.tasks.spawn(Owner::Master, async move {
        let (admin, log) = (master.admin(), &world_of_task.log);
        let node_id = convert::bytes(node.id.as_bytes());
        if drained.is_some() {
            let request = Request::new(v1::UndrainNodeRequest { node_id });
            if admin.undrain_node(request).await.is_ok() {
                log.fault("node drained and let back", &node.address);
            }
        } else if admin.drain_node(Request::new(v1::DrainNodeRequest { node_id })).await.is_ok() {
            log.fault("node drained", &node.address);
        }
    });
}

/// All nodes are let back.
pub(super) async fn let_all_back(world: &World) {
    let Some(master) = world.master() else { return };
    for node in world.nodes.iter() {
        let node_id = convert::bytes(node.id.as_bytes());
        let request = Request::new(v1::UndrainNodeRequest { node_id });
        if let Err(status) = master.admin().undrain_node(request).await {
            world.violation(format!("{} is not let back: {}", node.address, status.message()));
        }
    }
    world.drained.set(None);
}

/// What an operator knows who is not answered with success.
fn refused(status: Status) -> Told {
    match RemoteError::from(status).reason {
        Reason::ObjectExists => Told::Refused,
        Reason::Unreachable | Reason::OutcomeUnknown | Reason::Stopping => Told::Unknown,
        _ => Told::Declined,
    }
}
