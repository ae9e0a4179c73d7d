//! What is below what.

use std::collections::HashMap;

use super::Node;

/// A call or a span, with what it is found by.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) node: Node,
    pub(super) trace: u128,
    pub(super) span: u64,
    /// 0 where it says none.
    pub(super) parent: u64,
    /// The call on account of which the gateway itself made this one. They share a span.
    pub(super) account: Option<String>,
}

/// All of them, each behind what it is below, the earliest first. What is below nothing that is here stands at the root.
pub(super) fn nodes(mut items: Vec<Item>) -> Vec<Node> {
    items.sort_by_key(|item| (item.node.begins_us, item.node.claims.is_some(), item.span));
    let parents = parents(&items);
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (at, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => below.entry(*parent).or_default().push(at),
            None => roots.push(at),
        }
    }
    let mut items: Vec<Option<Item>> = items.into_iter().map(Some).collect();
    let mut nodes = Vec::with_capacity(items.len());
    put(roots, &below, &mut items, &mut nodes);
    // What is left is below itself: senders may say so.
    for at in 0..items.len() {
        if items.get(at).is_some_and(Option::is_some) {
            let from = nodes.len();
            put(vec![at], &below, &mut items, &mut nodes);
            if let Some(first) = nodes.get_mut(from) {
                first.parent_missing = true;
            }
        }
    }
    nodes
}

/// Puts these, each with what is below it.
fn put(
    roots: Vec<usize>,
    below: &HashMap<usize, Vec<usize>>,
    items: &mut [Option<Item>],
    nodes: &mut Vec<Node>,
) {
    let mut waiting: Vec<(usize, usize)> = roots.into_iter().rev().map(|at| (at, 0)).collect();
    while let Some((at, depth)) = waiting.pop() {
        let Some(item) = items.get_mut(at).and_then(Option::take) else { continue };
        let parent_missing = depth == 0 && item.parent != 0;
        nodes.push(Node { depth, parent_missing, ..item.node });
        let under = below.get(&at).into_iter().flatten().rev();
        waiting.extend(under.map(|at| (*at, depth + 1)));
    }
}

/// Where each one's parent is among them.
fn parents(items: &[Item]) -> Vec<Option<usize>> {
    let mut by_ids: HashMap<(u128, u64), Vec<usize>> = HashMap::new();
    let mut by_call: HashMap<&str, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if item.account.is_none() {
            by_ids.entry((item.trace, item.span)).or_default().push(at);
        }
        by_call.extend(item.node.call.as_ref().map(|call| (call.id.as_str(), at)));
    }
    let parent = |(at, item): (usize, &Item)| {
        if let Some(account) = &item.account {
            return by_call.get(account.as_str()).copied();
        }
        let candidates = by_ids.get(&(item.trace, item.parent))?;
        let best = |candidate: &&usize| {
            let found = items.get(**candidate);
            // Several may have the id: whose own it is comes first, then what is on record.
            found.map(|found| {
                let is_own = found.node.claims.is_some() && found.node.principal == item.node.principal;
                (!is_own, found.node.claims.is_some())
            })
        };
        candidates.iter().filter(|candidate| **candidate != at).min_by_key(best).copied()
    };
    items.iter().enumerate().map(parent).collect()
}
