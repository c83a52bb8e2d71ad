//! Deleting from several targets: what went, and what did not.

use std::future::Future;

use cairn_core::ids::NodeId;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use crate::replica::CopyError;
use crate::rule::DeleteRule;

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
    strategy: &dyn DeleteRule,
    delete: impl Fn(NodeId) -> F,
) -> Deletion
where
    F: Future<Output = Result<(), CopyError>>,
{
    let at_once = strategy.at_once(targets.len()).max(1);
    let (mut deletion, mut waiting) = (Deletion::default(), targets.iter());
    let mut running = FuturesOrdered::new();
    loop {
        let goes_on = deletion.failures.is_empty() || !strategy.stops();
        let room = if goes_on { at_once - running.len() } else { 0 };
        running.extend(waiting.by_ref().take(room).map(|&node| {
            let deleted = delete(node);
            async move { (node, deleted.await) }
        }));
        match running.next().await {
            Some((node, deleted)) => deletion.take(node, deleted),
            None => break,
        }
    }
    deletion.not_asked = waiting.copied().collect();
    deletion
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::Barrier;

    use super::*;
    use crate::double::node;
    use cairn_core::strategy::DeleteStrategy;

    fn answer(n: NodeId) -> Result<(), CopyError> {
        if n == node(2) { Err(CopyError::Unreachable("away".into())) } else { Ok(()) }
    }

    #[tokio::test]
    async fn one_after_another_stops_at_the_first_failure_and_names_who_was_not_asked() {
        let asked = RefCell::new(Vec::new());
        let nodes = [1, 2, 3].map(node);
        let deletion = delete(&nodes, &DeleteStrategy::Sequential, |n| {
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
        let deletion = delete(&nodes, &DeleteStrategy::Parallel, async |n| {
            together.wait().await;
            answer(n)
        })
        .await;
        assert_eq!(deletion.gone, [3, 1].map(node));
        assert_eq!(deletion.undone().collect::<Vec<_>>(), [node(2)]);
    }

    #[tokio::test]
    async fn what_was_not_done_is_done_by_asking_again_whoever_is_left() {
        for strategy in [DeleteStrategy::Sequential, DeleteStrategy::Parallel] {
            let first = delete(&[1, 2, 3].map(node), &strategy, async |n| answer(n)).await;
            let left: Vec<_> = first.undone().collect();
            assert!(left.contains(&node(2)) && !left.contains(&node(1)), "{strategy}: {left:?}");
            let again = delete(&left, &strategy, async |_| Ok(())).await;
            assert!(again.is_done(), "{strategy}");
            assert_eq!(again.gone, left, "{strategy}");
        }
    }

    #[tokio::test]
    async fn where_there_is_nobody_to_delete_from_it_is_done() {
        for strategy in [DeleteStrategy::Sequential, DeleteStrategy::Parallel] {
            let deletion = delete(&[], &strategy, async |n| answer(n)).await;
            assert!(deletion.is_done() && deletion.gone.is_empty(), "{strategy}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_counts_as_deleted() {
        for strategy in [DeleteStrategy::Sequential, DeleteStrategy::Parallel] {
            let missing = |_| std::future::ready(Err(CopyError::Missing));
            let deletion = delete(&[node(1), node(2)], &strategy, missing).await;
            assert!(deletion.is_done());
            assert_eq!(deletion.gone, [1, 2].map(node));
        }
    }

    #[derive(Debug)]
    struct TwoUntilOneFails;

    impl DeleteRule for TwoUntilOneFails {
        fn at_once(&self, _: usize) -> usize {
            2
        }

        fn stops(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_rule_of_ones_own_asks_as_many_at_a_time_and_stops_when_it_says() {
        let nodes = [1, 2, 3, 4].map(node);
        let deletion = delete(&nodes, &TwoUntilOneFails, async |n| answer(n)).await;
        assert_eq!(deletion.gone, [1, 3].map(node), "the third was asked when the first was done");
        assert_eq!(deletion.undone().collect::<Vec<_>>(), [2, 4].map(node));
        assert_eq!(deletion.not_asked, [node(4)]);
    }
}
