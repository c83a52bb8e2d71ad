//! Deleting from several targets: what went, and what did not.

use std::future::Future;

use cairn_core::ids::NodeId;
use cairn_core::strategy::DeleteStrategy;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::replica::CopyError;

/// How a delete turned out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deletion {
    /// Targets that hold nothing of it any more, in the order given.
    pub gone: Vec<NodeId>,
    /// Targets that may still hold it, and why.
    pub failures: Vec<(NodeId, CopyError)>,
    /// Targets that were not asked, because an earlier one failed.
    pub not_asked: Vec<NodeId>,
}

impl Deletion {
    /// Nothing is left anywhere.
    pub fn is_done(&self) -> bool {
        self.failures.is_empty() && self.not_asked.is_empty()
    }

    /// Whom to ask again: deleting twice does no harm.
    pub fn undone(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.failures.iter().map(|(node, _)| *node).chain(self.not_asked.iter().copied())
    }

    fn take(&mut self, node: NodeId, deleted: Result<(), CopyError>) {
        match deleted {
            // What is not there is gone: that makes it right to repeat a delete.
            Ok(()) | Err(CopyError::Missing) => self.gone.push(node),
            Err(error) => self.failures.push((node, error)),
        }
    }
}

/// Calls `delete` for each of `targets`, as `strategy` says. A target that has nothing counts as deleted.
pub async fn delete<F>(
    targets: &[NodeId],
    strategy: DeleteStrategy,
    delete: impl Fn(NodeId) -> F,
) -> Deletion
where
    F: Future<Output = Result<(), CopyError>>,
{
    let mut deletion = Deletion::default();
    match strategy {
        DeleteStrategy::Sequential => {
            for (asked, node) in targets.iter().enumerate() {
                deletion.take(*node, delete(*node).await);
                if !deletion.failures.is_empty() {
                    deletion.not_asked = targets[asked + 1..].to_vec();
                    break;
                }
            }
        }
        DeleteStrategy::Parallel => {
            let delete = |node: &NodeId| {
                let (node, deleted) = (*node, delete(*node));
                async move { (node, deleted.await) }
            };
            let mut running: FuturesOrdered<_> = targets.iter().map(delete).collect();
            while let Some((node, deleted)) = running.next().await {
                deletion.take(node, deleted);
            }
        }
    }
    deletion
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::Barrier;

    use super::*;
    use crate::double::node;

    fn answer(n: NodeId) -> Result<(), CopyError> {
        if n == node(2) { Err(CopyError::Unreachable("away".into())) } else { Ok(()) }
    }

    #[tokio::test]
    async fn one_after_another_stops_at_the_first_failure_and_names_who_was_not_asked() {
        let asked = RefCell::new(Vec::new());
        let nodes = [1, 2, 3].map(node);
        let deletion = delete(&nodes, DeleteStrategy::Sequential, |n| {
            asked.borrow_mut().push(n);
            std::future::ready(answer(n))
        })
        .await;
        assert_eq!(asked.into_inner(), [1, 2].map(node));
        assert_eq!(deletion.gone, [node(1)]);
        assert_eq!(deletion.failures, [(node(2), CopyError::Unreachable("away".into()))]);
        assert_eq!(deletion.undone().collect::<Vec<_>>(), [2, 3].map(node));
        assert!(!deletion.is_done());
    }

    #[tokio::test]
    async fn all_at_once_asks_everybody_whoever_fails_and_keeps_the_order() {
        let nodes = [3, 2, 1].map(node);
        let together = Barrier::new(nodes.len());
        let deletion = delete(&nodes, DeleteStrategy::Parallel, async |n| {
            together.wait().await;
            answer(n)
        })
        .await;
        assert_eq!(deletion.gone, [3, 1].map(node));
        assert_eq!(deletion.undone().collect::<Vec<_>>(), [node(2)]);
    }

    #[tokio::test]
    async fn what_is_not_there_counts_as_deleted() {
        for strategy in [DeleteStrategy::Sequential, DeleteStrategy::Parallel] {
            let missing = |_| std::future::ready(Err(CopyError::Missing));
            let deletion = delete(&[node(1), node(2)], strategy, missing).await;
            assert!(deletion.is_done());
            assert_eq!(deletion.gone, [1, 2].map(node));
        }
    }
}
