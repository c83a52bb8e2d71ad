//! `cairn admin node`: nodes are emptied, let back and removed, one at a time.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::v1::{
    DrainNodeRequest, GetNodeLeftRequest, ListNodesRequest, NodeInfo, NodeLeft, RemoveNodeRequest,
    UndrainNodeRequest,
};
use serde::Serialize;

use super::args::{DrainNode, Node, OneNode};
use super::{Operator, id};
use crate::client::error::{ClientError, Kind};

/// Pause between two looks while a drain is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(operator: &Operator, what: &Node) -> Result<(), ClientError> {
    match what {
        Node::Drain(args) => drain(operator, args).await,
        Node::Undrain(args) => undrain(operator, args).await,
        Node::Left(args) => left(operator, args).await,
        Node::Remove(args) => remove(operator, args).await,
    }
}

#[derive(Serialize)]
struct Left {
    node: String,
    copies: u64,
    uploads: u64,
    more: bool,
    journal: bool,
    safe_to_remove: bool,
}

fn tell(operator: &Operator, node: &Bytes, left: &NodeLeft, json: bool) -> Result<(), ClientError> {
    let NodeLeft { copies, uploads, more, journal, safe_to_remove } = *left;
    let node = id(node);
    if json {
        return operator.output.json(&Left {
            node,
            copies,
            uploads,
            more,
            journal,
            safe_to_remove,
        });
    }
    operator.output.line(&format!("{node}: {}", in_words(left)))
}

fn in_words(left: &NodeLeft) -> String {
    let NodeLeft { copies, uploads, more, journal, safe_to_remove } = *left;
    if safe_to_remove {
        return "nothing is left there: it is safe to remove".to_owned();
    }
    let least = if more { "at least " } else { "" };
    let journal = if journal { ", and the journal of the metadata" } else { "" };
    let named = if copies == 1 { "copy" } else { "copies" };
    let open = if uploads == 1 { "upload" } else { "uploads" };
    format!("not safe to remove: {least}{copies} {named} and {uploads} open {open}{journal}")
}

async fn drain(operator: &Operator, args: &DrainNode) -> Result<(), ClientError> {
    let node_id = find(operator, &args.one.name).await?;
    let mut calls = operator.calls.clone();
    let call = calls.drain_node(DrainNodeRequest { node_id: node_id.clone() });
    let mut left = operator.answer("drain the node", call).await?.left.unwrap_or_default();
    while args.wait && !left.safe_to_remove {
        operator.clock.sleep(LOOK_AGAIN).await;
        left = left_on(operator, &node_id).await?;
    }
    tell(operator, &node_id, &left, args.one.json)
}

async fn undrain(operator: &Operator, args: &OneNode) -> Result<(), ClientError> {
    let node_id = find(operator, &args.name).await?;
    let mut calls = operator.calls.clone();
    let call = calls.undrain_node(UndrainNodeRequest { node_id: node_id.clone() });
    operator.answer("let the node back", call).await?;
    tell(operator, &node_id, &left_on(operator, &node_id).await?, args.json)
}

async fn left(operator: &Operator, args: &OneNode) -> Result<(), ClientError> {
    let node_id = find(operator, &args.name).await?;
    tell(operator, &node_id, &left_on(operator, &node_id).await?, args.json)
}

async fn left_on(operator: &Operator, node_id: &Bytes) -> Result<NodeLeft, ClientError> {
    let mut calls = operator.calls.clone();
    let call = calls.get_node_left(GetNodeLeftRequest { node_id: node_id.clone() });
    Ok(operator.answer("see what is left on the node", call).await?.left.unwrap_or_default())
}

async fn remove(operator: &Operator, args: &OneNode) -> Result<(), ClientError> {
    let node_id = find(operator, &args.name).await?;
    let mut calls = operator.calls.clone();
    let call = calls.remove_node(RemoveNodeRequest { node_id: node_id.clone() });
    operator.answer("remove the node", call).await?;
    if args.json {
        return Ok(());
    }
    operator.output.line(&format!("{}: removed; its disks may be deleted", id(&node_id)))
}

/// The node of this name: its id, the beginning of its id, or its address.
async fn find(operator: &Operator, name: &str) -> Result<Bytes, ClientError> {
    let mut calls = operator.calls.clone();
    let nodes = operator.answer("list nodes", calls.list_nodes(ListNodesRequest {})).await?.nodes;
    named(&nodes, name)
}

fn named(nodes: &[NodeInfo], name: &str) -> Result<Bytes, ClientError> {
    let is = |info: &&NodeInfo| {
        let address = info.address.split_once("://").map_or(info.address.as_str(), |(_, at)| at);
        info.address == name || address == name || id(&info.node_id).starts_with(name)
    };
    let found: Vec<_> = nodes.iter().filter(is).collect();
    match found[..] {
        [one] => Ok(one.node_id.clone()),
        [] => Err(ClientError::new(Kind::NotFound, "find the node", format!("there is no {name}"))
            .advise("see the nodes: cairn admin nodes")),
        _ => Err(ClientError::usage("find the node", format!("{name} is more than one node"))
            .advise("use the whole id, or the address: cairn admin nodes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(first: u8, address: &str) -> NodeInfo {
        let node_id = Bytes::copy_from_slice(&[first; 16]);
        NodeInfo { node_id, address: address.to_owned(), ..NodeInfo::default() }
    }

    #[test]
    fn what_is_left_is_told_in_the_right_number() {
        let told = |copies, uploads, more| {
            in_words(&NodeLeft { copies, uploads, more, ..NodeLeft::default() })
        };
        assert_eq!(told(1, 1, false), "not safe to remove: 1 copy and 1 open upload");
        assert_eq!(told(2, 0, true), "not safe to remove: at least 2 copies and 0 open uploads");
    }

    #[test]
    fn a_node_is_named_by_its_address_or_by_the_beginning_of_its_id_when_that_is_enough() {
        let nodes = [node(0x1a, "http://n1:7100"), node(0x1b, "http://n2:7100")];
        for name in ["n2:7100", "http://n2:7100", "1b", "1b1b1b1b-1b1b-1b1b-1b1b-1b1b1b1b1b1b"] {
            assert_eq!(named(&nodes, name).expect("it is one"), nodes[1].node_id, "{name}");
        }
        for name in ["1", "", "n2", "7100", "ff"] {
            assert!(named(&nodes, name).is_err(), "{name}");
        }
    }
}
