//! The graph of an overlay, and what can be said of its shape.

use std::collections::VecDeque;

use skep_protocol::drt::random::Random;

use crate::overlay::Place;

/// The graph of who is online: each edge once in each direction.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Where the neighbours of each node begin.
    starts: Vec<u32>,
    neighbours: Vec<Place>,
    up: Vec<bool>,
}

impl Graph {
    /// The graph of nodes, each with its neighbours, or nothing if it is offline.
    #[must_use]
    pub fn new(count: usize, neighbours: impl Fn(Place) -> Option<Vec<Place>>) -> Self {
        let lists: Vec<Option<Vec<Place>>> = (0..count as Place).map(neighbours).collect();
        let up: Vec<bool> = lists.iter().map(Option::is_some).collect();
        let mut degrees = vec![0_u32; count + 1];
        let edges = || {
            let nodes = lists.iter().enumerate();
            let nodes = nodes.filter_map(|(place, list)| Some((place as Place, list.as_deref()?)));
            nodes.flat_map(|(place, list)| list.iter().map(move |other| (place, *other)))
        };
        let kept = |other: Place| up.get(other as usize).copied().unwrap_or_default();
        for (one, other) in edges().filter(|(one, other)| one != other && kept(*other)) {
            degrees[one as usize] += 1;
            degrees[other as usize] += 1;
        }
        let mut starts = Vec::with_capacity(count + 1);
        let mut sum = 0;
        for degree in &degrees {
            starts.push(sum);
            sum += degree;
        }
        let mut next = starts.clone();
        let mut all = vec![0; sum as usize];
        for (one, other) in edges().filter(|(one, other)| one != other && kept(*other)) {
            for (from, to) in [(one, other), (other, one)] {
                all[next[from as usize] as usize] = to;
                next[from as usize] += 1;
            }
        }
        // Most edges were told by both ends.
        let mut graph = Self { starts: Vec::with_capacity(count + 1), neighbours: Vec::new(), up };
        for window in starts.windows(2) {
            graph.starts.push(graph.neighbours.len() as u32);
            let list = &mut all[window[0] as usize..window[1] as usize];
            list.sort_unstable();
            let mut last = None;
            graph
                .neighbours
                .extend(list.iter().copied().filter(|other| last.replace(*other) != Some(*other)));
        }
        graph.starts.push(graph.neighbours.len() as u32);
        graph
    }

    /// All nodes that are online.
    pub fn nodes(&self) -> impl Iterator<Item = Place> + '_ {
        self.up.iter().enumerate().filter(|(_, up)| **up).map(|(place, _)| place as Place)
    }

    /// The neighbours of a node, by number.
    #[must_use]
    pub fn neighbours(&self, place: Place) -> &[Place] {
        let bound = |place: usize| self.starts.get(place).map_or(0, |start| *start as usize);
        self.neighbours.get(bound(place as usize)..bound(place as usize + 1)).unwrap_or_default()
    }

    /// How many edges there are.
    #[must_use]
    pub const fn edges(&self) -> usize {
        self.neighbours.len() / 2
    }

    /// How many neighbours each node has that is online.
    #[must_use]
    pub fn degrees(&self) -> Vec<usize> {
        self.nodes().map(|place| self.neighbours(place).len()).collect()
    }

    /// The sizes of the parts that reach each other, the largest first.
    #[must_use]
    pub fn components(&self) -> Vec<usize> {
        let mut seen: Vec<bool> = self.up.iter().map(|up| !up).collect();
        let mut sizes = Vec::new();
        for start in self.nodes() {
            if std::mem::replace(&mut seen[start as usize], true) {
                continue;
            }
            let (mut size, mut open) = (0, vec![start]);
            while let Some(place) = open.pop() {
                size += 1;
                for other in self.neighbours(place) {
                    if !std::mem::replace(&mut seen[*other as usize], true) {
                        open.push(*other);
                    }
                }
            }
            sizes.push(size);
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    /// Whether all reach each other.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.components().len() <= 1
    }

    /// How many nodes are so many hops from one: from 0 on.
    #[must_use]
    pub fn rings(&self, start: Place) -> Vec<usize> {
        let mut seen = vec![false; self.up.len()];
        seen[start as usize] = true;
        let (mut rings, mut ring) = (Vec::new(), vec![start]);
        while !ring.is_empty() {
            rings.push(ring.len());
            let mut next = Vec::new();
            for other in ring.iter().flat_map(|place| self.neighbours(*place)) {
                if !std::mem::replace(&mut seen[*other as usize], true) {
                    next.push(*other);
                }
            }
            ring = next;
        }
        rings
    }

    /// Which share of the pairs of a node's neighbours are neighbours themselves, on average over nodes.
    #[must_use]
    pub fn clustering(&self, samples: usize, random: &mut Random) -> Option<f64> {
        let nodes =
            random.choose(self.nodes().filter(|it| self.neighbours(*it).len() > 1).collect(), samples);
        let of = |place: &Place| {
            let near = self.neighbours(*place);
            let closed: usize = near.iter().map(|one| common(near, self.neighbours(*one))).sum();
            closed as f64 / (near.len() * (near.len() - 1)) as f64
        };
        (!nodes.is_empty()).then(|| nodes.iter().map(of).sum::<f64>() / nodes.len() as f64)
    }

    /// How many paths lead from one node to another that have no node in common, `most` at most.
    #[must_use]
    pub fn disjoint_paths(&self, from: Place, to: Place, most: usize) -> usize {
        let mut paths =
            Paths { graph: self, next: vec![None; self.up.len()], previous: vec![None; self.up.len()] };
        let direct = usize::from(self.neighbours(from).binary_search(&to).is_ok());
        let mut found = direct;
        while found < most && paths.augment(from, to) {
            found += 1;
        }
        found
    }
}

/// How many numbers two sorted lists have in common.
fn common(one: &[Place], other: &[Place]) -> usize {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    short.iter().filter(|place| long.binary_search(place).is_ok()).count()
}

/// Paths that have no inner node in common: for each node on one, its next and previous.
struct Paths<'g> {
    graph: &'g Graph,
    next: Vec<Option<Place>>,
    previous: Vec<Option<Place>>,
}

/// A node is entered from outside, or backwards along a path through it.
type Side = (Place, bool);

impl Paths<'_> {
    /// Finds one more path, turning others aside for it. The edge between the two ends is not used.
    fn augment(&mut self, from: Place, to: Place) -> bool {
        let index = |(place, inner): Side| place as usize * 2 + usize::from(inner);
        let mut came: Vec<Option<Side>> = vec![None; self.next.len() * 2];
        let mut queue = VecDeque::from([(from, true)]);
        let mut seen = vec![false; came.len()];
        seen[index((from, true))] = true;
        while let Some((place, inner)) = queue.pop_front() {
            // (place, false): it was reached, but may only be left backwards if it is on a path.
            // (place, true): it may be left along any edge.
            let mut steps: Vec<Side> = Vec::new();
            if inner {
                let used = self.next[place as usize];
                let others = self.graph.neighbours(place).iter().copied();
                let others =
                    others.filter(|it| *it != from && Some(*it) != used && !(place == from && *it == to));
                let starts_here = |it: Place| place == from && self.previous[it as usize] == Some(from);
                steps.extend(others.filter(|it| !starts_here(*it)).map(|it| (it, false)));
                if place != from && self.next[place as usize].is_some() {
                    steps.push((place, false));
                }
            } else if let Some(before) = self.previous[place as usize] {
                if before != from {
                    steps.push((before, true));
                }
            } else {
                steps.push((place, true));
            }
            for step in steps {
                if step.0 == to {
                    came[index((to, false))] = Some((place, inner));
                    self.turn(from, to, &came);
                    return true;
                }
                if !std::mem::replace(&mut seen[index(step)], true) {
                    came[index(step)] = Some((place, inner));
                    queue.push_back(step);
                }
            }
        }
        false
    }

    /// Takes the way that was found.
    fn turn(&mut self, from: Place, to: Place, came: &[Option<Side>]) {
        let index = |(place, inner): Side| place as usize * 2 + usize::from(inner);
        let mut way = vec![(to, false)];
        while let Some(before) = way.last().and_then(|last| came[index(*last)]) {
            way.push(before);
        }
        way.reverse();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for step in way.windows(2) {
            let ((one, leaves), (other, enters)) = (step[0], step[1]);
            match (leaves, enters) {
                (true, false) if one != other => added.push((one, other)),
                (false, true) if one != other => removed.push((other, one)),
                _ => {}
            }
        }
        for (one, other) in removed {
            self.next[one as usize] = None;
            self.previous[other as usize] = None;
        }
        for (one, other) in added {
            if one != from {
                self.next[one as usize] = Some(other);
            }
            if other != to {
                self.previous[other as usize] = Some(one);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(lists: &[&[Place]]) -> Graph {
        Graph::new(lists.len(), |place| Some(lists[place as usize].to_vec()))
    }

    #[test]
    fn a_ring_of_six_has_the_shape_of_one() {
        let ring = graph(&[&[1], &[2], &[3], &[4], &[5], &[0]]);
        assert_eq!((ring.edges(), ring.degrees()), (6, vec![2; 6]));
        assert_eq!(ring.rings(0), [1, 2, 2, 1]);
        assert!(ring.is_whole());
        assert_eq!(ring.clustering(10, &mut Random::from_seed(1)), Some(0.0));
        assert_eq!(ring.disjoint_paths(0, 3, 9), 2);
        assert_eq!(ring.disjoint_paths(0, 1, 9), 2);
    }

    #[test]
    fn parts_and_triangles_are_seen_and_who_is_offline_is_not() {
        let lists: [&[Place]; 6] = [&[1, 2], &[2], &[], &[4], &[], &[0]];
        let parts = Graph::new(6, |place| (place != 5).then(|| lists[place as usize].to_vec()));
        assert_eq!(parts.components(), [3, 2]);
        assert_eq!(parts.clustering(10, &mut Random::from_seed(1)), Some(1.0));
        assert_eq!(parts.nodes().count(), 5);
    }

    /// As many paths as the smallest set of nodes whose loss parts the two, counted by trying all sets.
    #[test]
    fn disjoint_paths_are_as_many_as_the_nodes_that_have_to_go_to_part_two() {
        let mut random = Random::from_seed(9);
        for _ in 0..200 {
            let count = 8_usize;
            let mut lists = vec![Vec::new(); count];
            for _ in 0..6 + random.below(10) {
                let (one, other) = (random.below(count), random.below(count));
                lists[one].push(other as Place);
            }
            let whole = Graph::new(count, |place| Some(lists[place as usize].clone()));
            if whole.neighbours(0).contains(&7) {
                continue;
            }
            let parts = |gone: u32| {
                let rest = Graph::new(count, |place| {
                    (gone >> place & 1 == 0).then(|| lists[place as usize].clone())
                });
                let mut seen = vec![0];
                let mut next = 0;
                while next < seen.len() {
                    let more: Vec<Place> = rest.neighbours(seen[next]).to_vec();
                    more.into_iter().for_each(|it| {
                        if !seen.contains(&it) {
                            seen.push(it)
                        }
                    });
                    next += 1;
                }
                !seen.contains(&7)
            };
            let sets = (0..1_u32 << 6).map(|set| set << 1).filter(|set| parts(*set));
            let least = sets.map(u32::count_ones).min().unwrap();
            assert_eq!(whole.disjoint_paths(0, 7, 9), least as usize, "{lists:?}");
        }
    }
}
