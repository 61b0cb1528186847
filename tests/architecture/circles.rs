//! Circles of files: each a strongly connected part of the graph of imports (Tarjan).

use std::collections::{BTreeMap, BTreeSet};

/// A graph: each node with the nodes that it points to.
pub(crate) type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The parts of at least two nodes in which each node is reached from each other.
pub(crate) fn circles<'a>(graph: &Graph<'a>) -> Vec<BTreeSet<&'a str>> {
    let mut search = Search { graph, next: 0, marks: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for node in graph.keys() {
        if !search.marks.contains_key(node) {
            search.visit(node);
        }
    }
    search.found
}

/// A depth-first search.
struct Search<'g, 'a> {
    graph: &'g Graph<'a>,
    next: usize,
    /// Each node with its place in the order of visits, and the first place that is reached from it.
    marks: BTreeMap<&'a str, (usize, usize)>,
    stack: Vec<&'a str>,
    found: Vec<BTreeSet<&'a str>>,
}

impl<'a> Search<'_, 'a> {
    fn visit(&mut self, node: &'a str) {
        let place = self.next;
        self.next += 1;
        self.marks.insert(node, (place, place));
        self.stack.push(node);
        let mut low = place;
        for below in self.graph.get(node).into_iter().flatten() {
            if !self.marks.contains_key(below) {
                self.visit(below);
                low = low.min(self.marks[below].1);
            } else if self.stack.contains(below) {
                low = low.min(self.marks[below].0);
            }
        }
        self.marks.insert(node, (place, low));
        if low == place {
            let start = self.stack.iter().position(|open| *open == node).unwrap();
            let part: BTreeSet<&str> = self.stack.split_off(start).into_iter().collect();
            if part.len() > 1 {
                self.found.push(part);
            }
        }
    }
}

#[test]
fn a_circle_is_found_whole_and_what_only_leads_to_it_is_none() {
    let graph = Graph::from([
        ("a", BTreeSet::from(["b"])),
        ("b", BTreeSet::from(["c"])),
        ("c", BTreeSet::from(["d", "b"])),
        ("d", BTreeSet::from(["e", "c"])),
        ("e", BTreeSet::new()),
    ]);
    assert_eq!(circles(&graph), [BTreeSet::from(["b", "c", "d"])]);
}
