//! What is done with each disk when a node starts: a pure rule.

use std::collections::BTreeMap;

use cairn_core::ids::{DiskIncarnation, NodeId};

use super::DiskSetError;
use super::path::DiskPath;
use super::record::Record;

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// There is no folder.
    Nothing,
    /// It cannot be read, and why.
    Unreadable(String),
    /// A folder without a store.
    Blank,
    /// A store.
    Store {
        disk: DiskIncarnation,
        /// The node that the folder says it belongs to.
        owner: Option<NodeId>,
    },
}

/// What is known when a node starts.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) node: NodeId,
    /// The record, where there is one already.
    pub(super) record: Option<&'a Record>,
    /// The store in the node's data folder itself, where there is one.
    pub(super) in_data_folder: Option<DiskIncarnation>,
    /// What is in the folders that are configured.
    pub(super) found: &'a BTreeMap<DiskPath, Found>,
}

/// What is done with a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It is one of the node's: its store is opened.
    Open(DiskIncarnation),
    /// It becomes one of the node's: a new one, unless it is a disk already.
    Add(Option<DiskIncarnation>),
    /// It is one of the node's, and not there.
    LeaveOut(DiskIncarnation, String),
}

/// What is done when a node starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: BTreeMap<DiskPath, Step>,
    /// Disks that the node has no more.
    pub(super) dropped: Record,
}

/// The rule.
pub(super) fn plan(known: &Known<'_>) -> Result<Plan, DiskSetError> {
    let stores = stores(known.found)?;
    if let Some(disk) = known.in_data_folder
        && known.record.is_none()
        && !stores.contains_key(&disk)
    {
        return Err(DiskSetError::DataFolder(disk));
    }
    let nothing = Record::new();
    let record = known.record.unwrap_or(&nothing);
    let dropped: Record = record
        .iter()
        .filter(|(path, disk)| !known.found.contains_key(path) && !stores.contains_key(disk))
        .map(|(path, disk)| (path.clone(), *disk))
        .collect();
    if !record.is_empty() && dropped.len() == record.len() {
        let paths = record.keys().map(DiskPath::to_path_buf).collect();
        return Err(DiskSetError::NoneKnown(paths));
    }
    let mut steps = BTreeMap::new();
    for (path, found) in known.found {
        let step = match record.get(path) {
            Some(disk) => step_of_known(path, *disk, found)?,
            None => step_of_new(known, record, path, found)?,
        };
        steps.insert(path.clone(), step);
    }
    Ok(Plan { steps, dropped })
}

/// The disks that were found, each with its path.
fn stores(
    found: &BTreeMap<DiskPath, Found>,
) -> Result<BTreeMap<DiskIncarnation, &DiskPath>, DiskSetError> {
    let mut stores = BTreeMap::new();
    for (path, found) in found {
        let Found::Store { disk, .. } = found else { continue };
        if let Some(one) = stores.insert(*disk, path) {
            let (one, other) = (one.to_path_buf(), path.to_path_buf());
            return Err(DiskSetError::SameDisk { disk: *disk, one, other });
        }
    }
    Ok(stores)
}

/// A path that the record has. Whatever is there, it is not made a new disk.
fn step_of_known(
    path: &DiskPath,
    recorded: DiskIncarnation,
    found: &Found,
) -> Result<Step, DiskSetError> {
    let left_out = |why: &str| Ok(Step::LeaveOut(recorded, why.to_owned()));
    match found {
        Found::Store { disk, .. } if *disk == recorded => Ok(Step::Open(recorded)),
        Found::Store { disk, .. } => {
            let path = path.to_path_buf();
            Err(DiskSetError::OtherDisk { path, recorded, found: *disk })
        }
        Found::Nothing => left_out("there is no such folder"),
        Found::Blank => left_out("its folder holds no store: is the disk mounted?"),
        Found::Unreadable(why) => left_out(why),
    }
}

/// A path that the record does not have. A disk that is there already must be known to be the node's.
fn step_of_new(
    known: &Known<'_>,
    record: &Record,
    path: &DiskPath,
    found: &Found,
) -> Result<Step, DiskSetError> {
    let (disk, owner) = match found {
        Found::Nothing | Found::Blank => return Ok(Step::Add(None)),
        Found::Unreadable(why) => {
            return Err(DiskSetError::Unreadable { path: path.to_path_buf(), why: why.clone() });
        }
        Found::Store { disk, owner } => (*disk, *owner),
    };
    let recorded = record.iter().find(|(_, recorded)| **recorded == disk).map(|(path, _)| path);
    if let Some(recorded) = recorded
        && known.found.contains_key(recorded)
    {
        let (recorded, found) = (recorded.to_path_buf(), path.to_path_buf());
        return Err(DiskSetError::WrongPlace { disk, recorded, found });
    }
    let is_ours = recorded.is_some() || known.in_data_folder == Some(disk);
    match owner {
        _ if is_ours => Ok(Step::Add(Some(disk))),
        Some(owner) if owner == known.node => Ok(Step::Add(Some(disk))),
        Some(owner) => Err(DiskSetError::OtherNode { path: path.to_path_buf(), owner }),
        None => Err(DiskSetError::NoOwner { path: path.to_path_buf() }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn disk(n: u8) -> DiskIncarnation {
        DiskIncarnation::from_slice(&[n; 16]).expect("16 bytes")
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_slice(&[n; 16]).expect("16 bytes")
    }

    fn path(name: &str) -> DiskPath {
        DiskPath::new(&Path::new("/mnt").join(name)).expect("a path")
    }

    /// A disk of node 1.
    fn ours(n: u8) -> Found {
        Found::Store { disk: disk(n), owner: Some(node(1)) }
    }

    fn record(disks: &[(&str, u8)]) -> Record {
        disks.iter().map(|(name, n)| (path(name), disk(*n))).collect()
    }

    /// What node 1 does.
    fn start(
        disks: Option<&[(&str, u8)]>,
        found: &[(&str, Found)],
        in_data_folder: Option<u8>,
    ) -> Result<Plan, DiskSetError> {
        let record = disks.map(record);
        let found = found.iter().map(|(name, found)| (path(name), found.clone())).collect();
        plan(&Known {
            node: node(1),
            record: record.as_ref(),
            in_data_folder: in_data_folder.map(disk),
            found: &found,
        })
    }

    fn steps(plan: Result<Plan, DiskSetError>) -> Vec<Step> {
        plan.expect("a plan").steps.into_values().collect()
    }

    #[test]
    fn empty_folders_become_disks_and_are_the_nodes_from_then_on() {
        let first = start(None, &[("a", Found::Blank), ("b", Found::Nothing)], None);
        assert_eq!(steps(first), [Step::Add(None), Step::Add(None)]);
        let later = start(Some(&[("a", 1), ("b", 2)]), &[("a", ours(1)), ("b", ours(2))], None);
        assert_eq!(steps(later), [Step::Open(disk(1)), Step::Open(disk(2))]);
        let added = start(Some(&[("a", 1)]), &[("a", ours(1)), ("b", Found::Blank)], None);
        assert_eq!(steps(added), [Step::Open(disk(1)), Step::Add(None)]);
    }

    #[test]
    fn a_disk_of_the_node_that_is_not_there_is_left_out_and_never_made_anew() {
        let dead = Found::Unreadable("input/output error".to_owned());
        for gone in [Found::Nothing, Found::Blank, dead] {
            let plan = start(Some(&[("a", 1), ("b", 2)]), &[("a", gone), ("b", ours(2))], None);
            let steps = steps(plan);
            assert!(matches!(steps[0], Step::LeaveOut(left, _) if left == disk(1)), "{steps:?}");
            assert_eq!(steps[1], Step::Open(disk(2)));
        }
    }

    #[test]
    fn a_path_that_is_configured_no_more_is_dropped_but_not_all_of_them() {
        let plan = start(Some(&[("a", 1), ("b", 2)]), &[("b", ours(2))], None).expect("a plan");
        assert_eq!(plan.dropped, record(&[("a", 1)]));
        let plan = start(Some(&[("a", 1)]), &[("b", Found::Blank)], None);
        assert!(matches!(plan, Err(DiskSetError::NoneKnown(_))), "{plan:?}");
        let plan = start(Some(&[("a", 1)]), &[("a", Found::Blank), ("b", Found::Blank)], None);
        assert!(plan.is_ok(), "the dead disk is named, and may be dropped next time: {plan:?}");
    }

    #[test]
    fn a_disk_in_another_place_is_the_same_disk() {
        let plan = start(Some(&[("a", 1)]), &[("b", ours(1))], None).expect("a plan");
        assert_eq!(plan.steps[&path("b")], Step::Add(Some(disk(1))));
        assert_eq!(plan.dropped, Record::new());
    }

    #[test]
    fn disks_that_changed_places_are_refused() {
        let known = [("a", 1), ("b", 2)];
        let swapped = start(Some(&known), &[("a", ours(2)), ("b", ours(1))], None);
        assert!(matches!(swapped, Err(DiskSetError::OtherDisk { .. })), "{swapped:?}");
        let other = start(Some(&known), &[("a", ours(3)), ("b", ours(2))], None);
        assert!(matches!(other, Err(DiskSetError::OtherDisk { .. })), "{other:?}");
        let moved = [("a", Found::Blank), ("b", ours(2)), ("c", ours(1))];
        let moved = start(Some(&known), &moved, None);
        assert!(matches!(moved, Err(DiskSetError::WrongPlace { .. })), "{moved:?}");
    }

    #[test]
    fn two_ways_to_one_disk_are_refused() {
        for known in [None, Some(&[("a", 1)][..])] {
            let twice = start(known, &[("a", ours(1)), ("b", ours(1))], None);
            assert!(matches!(twice, Err(DiskSetError::SameDisk { .. })), "{twice:?}");
        }
    }

    #[test]
    fn a_disk_that_is_not_known_to_be_the_nodes_is_refused() {
        let foreign = Found::Store { disk: disk(7), owner: Some(node(2)) };
        let refused = start(Some(&[("a", 1)]), &[("a", ours(1)), ("b", foreign)], None);
        assert!(matches!(refused, Err(DiskSetError::OtherNode { .. })), "{refused:?}");
        let unsigned = Found::Store { disk: disk(7), owner: None };
        let refused = start(None, &[("b", unsigned)], None);
        assert!(matches!(refused, Err(DiskSetError::NoOwner { .. })), "{refused:?}");
        let dead = Found::Unreadable("input/output error".to_owned());
        let refused = start(None, &[("b", dead)], None);
        assert!(matches!(refused, Err(DiskSetError::Unreadable { .. })), "{refused:?}");
    }

    #[test]
    fn without_a_record_the_owners_are_believed() {
        let plan = start(None, &[("a", ours(1)), ("b", ours(2))], None);
        assert_eq!(steps(plan), [Step::Add(Some(disk(1))), Step::Add(Some(disk(2)))]);
    }

    #[test]
    fn a_node_of_one_folder_can_have_more_and_does_not_forget_the_first() {
        let unsigned = Found::Store { disk: disk(1), owner: None };
        let both = [("data", unsigned), ("b", Found::Blank)];
        let plan = start(None, &both, Some(1)).expect("a plan");
        assert_eq!(plan.steps[&path("data")], Step::Add(Some(disk(1))));
        let forgotten = start(None, &[("b", Found::Blank)], Some(1));
        assert!(matches!(forgotten, Err(DiskSetError::DataFolder(_))), "{forgotten:?}");
        let dropped = start(Some(&[("data", 1), ("b", 2)]), &[("b", ours(2))], Some(1));
        assert_eq!(dropped.expect("on purpose").dropped, record(&[("data", 1)]));
    }
}
