//! The smallest batch that makes one table of another.

use lintel_model::nft::{Chain, Edit, Element, Set, Table, Transaction};

/// What to send; `None` when the tables are equal.
pub(super) fn transaction(
    desired: Option<&Table>,
    observed: Option<&Table>,
) -> Option<Transaction> {
    match (desired, observed) {
        (None, None) => None,
        (None, Some(_)) => Some(Transaction::DeleteTable),
        (Some(desired), None) => Some(Transaction::ReplaceTable(desired.clone())),
        (Some(desired), Some(observed)) if desired == observed => None,
        (Some(desired), Some(observed)) => {
            // A chain's hook and a set's type cannot be changed where they stand; so much
            // change comes only with another version of the box.
            if reshaped(desired, observed) {
                return Some(Transaction::ReplaceTable(desired.clone()));
            }
            let edits = edits(desired, observed);
            if edits.is_empty() {
                // Equal but for the order of the lists.
                None
            } else {
                Some(Transaction::Edit(edits))
            }
        }
    }
}

fn reshaped(desired: &Table, observed: &Table) -> bool {
    let chain = |new: &Chain| chain_of(observed, &new.name).is_some_and(|old| old.base != new.base);
    let set = |new: &Set| {
        set_of(observed, &new.name)
            .is_some_and(|old| without_elements(old) != without_elements(new))
    };
    desired.chains.iter().any(chain) || desired.sets.iter().any(set)
}

/// Made first what others refer to, removed last what others referred to.
fn edits(desired: &Table, observed: &Table) -> Vec<Edit> {
    let mut edits = Vec::new();
    for chain in &desired.chains {
        if chain_of(observed, &chain.name).is_none() {
            edits.push(Edit::AddChain {
                name: chain.name.clone(),
                base: chain.base,
            });
        }
    }
    for set in &desired.sets {
        match set_of(observed, &set.name) {
            None => edits.push(Edit::AddSet(set.clone())),
            Some(old) => elements(set, old, &mut edits),
        }
    }
    for chain in &desired.chains {
        let rules = chain_of(observed, &chain.name).map_or(&[][..], |old| &old.rules);
        if rules != chain.rules {
            edits.push(Edit::ReplaceRules {
                chain: chain.name.clone(),
                rules: chain.rules.clone(),
            });
        }
    }
    let mut leftovers = Vec::new();
    for chain in &observed.chains {
        if chain_of(desired, &chain.name).is_none() {
            // Emptied first: leftovers may jump to each other.
            edits.push(Edit::ReplaceRules {
                chain: chain.name.clone(),
                rules: Vec::new(),
            });
            leftovers.push(Edit::DeleteChain {
                name: chain.name.clone(),
            });
        }
    }
    // Maps may point to chains that go.
    for set in &observed.sets {
        if set_of(desired, &set.name).is_none() {
            edits.push(Edit::DeleteSet {
                name: set.name.clone(),
            });
        }
    }
    edits.extend(leftovers);
    edits
}

fn elements(new: &Set, old: &Set, edits: &mut Vec<Edit>) {
    let missing = |from: &Set, other: &Set| -> Vec<Element> {
        let mut elements = from.elements.iter();
        elements
            .by_ref()
            .filter(|element| !other.elements.contains(element))
            .cloned()
            .collect()
    };
    let gone = missing(old, new);
    if !gone.is_empty() {
        edits.push(Edit::DeleteElements {
            set: without_elements(new),
            elements: gone,
        });
    }
    let added = missing(new, old);
    if !added.is_empty() {
        edits.push(Edit::AddElements {
            set: without_elements(new),
            elements: added,
        });
    }
}

fn without_elements(set: &Set) -> Set {
    Set {
        elements: Vec::new(),
        ..set.clone()
    }
}

fn chain_of<'a>(table: &'a Table, name: &str) -> Option<&'a Chain> {
    table.chains.iter().find(|chain| chain.name == name)
}

fn set_of<'a>(table: &'a Table, name: &str) -> Option<&'a Set> {
    table.sets.iter().find(|set| set.name == name)
}
