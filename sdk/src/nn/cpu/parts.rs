//! How a per-example gradient is put together: which parts are materialised, and which
//! are never formed.

use super::build::Step;
use crate::nn::graph::{Graph, Primitive};

/// A run of coordinates that come from one node, in the order of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) node: usize,
    /// First position in the order of the parts. Materialised parts come first, then rows
    /// and the biases of outer products, then their weights.
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) kind: PartKind,
    /// Where the pieces of the node's gradient are added, if they do not lie side by side:
    /// some tensors are frozen, or belong to an earlier part too.
    pub(crate) pieces: Vec<Piece>,
}

/// A tensor of a node's gradient, and where it belongs in the order of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) len: usize,
}

/// How the gradient of a part comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Written by the operation.
    Dense,
    /// Gradient of the outputs times the input: a linear layer applied once an example.
    /// The gradient of its bias is that of its outputs; `bias` is its first position.
    Outer { rows: usize, cols: usize, bias: Option<usize> },
    /// Rows of an embedding.
    Rows { dim: usize },
}

/// Whether the gradient `[rows, cols]` of a layer that is applied once an example costs less in
/// factors than formed, in multiply-adds of one value, by the kernels' own instructions: formed,
/// each value is written (1), squared under its gain (3) and scaled, rounded and added (4); in
/// factors it takes one multiply-add for the norm and half of one, of 16-bit integers, for the
/// sum, in blocks of 4 by 64, and each factor is rounded and put in its place one by one.
fn is_cheaper_in_factors(rows: usize, cols: usize) -> bool {
    const FORMED: usize = 8;
    const IN_FACTORS: usize = 2;
    const FACTOR: usize = 40;
    let blocks = rows.next_multiple_of(4) * cols.next_multiple_of(64);
    IN_FACTORS * blocks + FACTOR * (rows + cols) < FORMED * rows * cols
}

/// The parts of a gradient, and where they lie.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    pub(super) parts: Vec<Part>,
    /// Values of the materialised parts.
    pub(super) dense_len: usize,
    /// Values that come before the biases of outer products.
    pub(super) bias_start: usize,
    /// Values that come before the weights of outer products.
    pub(super) each_len: usize,
    /// The flat index of each position.
    pub(super) order: Vec<u32>,
}

pub(super) fn parts(graph: &Graph, steps: &[Step], materialised: bool) -> Arrangement {
    let mut places = Places::new(graph);
    places.materialised = materialised;
    let of_kind = |places: &Places<'_>, wanted: fn(PartKind) -> bool| -> Vec<usize> {
        let trained = (0..steps.len()).filter(|node| places.is_trained(*node));
        trained.filter(|node| wanted(places.kind(*node))).collect()
    };
    let dense = of_kind(&places, |kind| matches!(kind, PartKind::Dense));
    dense.into_iter().for_each(|node| places.add(node, steps));
    let dense_len = places.order.len();
    let rows = of_kind(&places, |kind| matches!(kind, PartKind::Rows { .. }));
    rows.into_iter().for_each(|node| places.add(node, steps));
    let bias_start = places.order.len();
    let outer = of_kind(&places, |kind| matches!(kind, PartKind::Outer { .. }));
    let biases: Vec<usize> = outer.iter().map(|node| places.add_bias(*node)).collect();
    let each_len = places.order.len();
    for (node, bias) in outer.into_iter().zip(biases) {
        places.add_weight(node, bias);
    }
    let Places { parts, order, .. } = places;
    Arrangement { parts, dense_len, bias_start, each_len, order }
}

struct Places<'a> {
    graph: &'a Graph,
    materialised: bool,
    /// First flat index of each trainable tensor.
    flat: Vec<usize>,
    /// Nodes that use each tensor.
    users: Vec<usize>,
    /// Where each tensor lies in the order of the parts.
    placed: Vec<Option<usize>>,
    parts: Vec<Part>,
    order: Vec<u32>,
}

impl<'a> Places<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut next = 0;
        let flat = graph.tensors.iter().map(|tensor| {
            let start = next;
            next += if tensor.trainable { tensor.len() } else { 0 };
            start
        });
        let flat = flat.collect();
        let mut users = vec![0; graph.tensors.len()];
        graph.nodes.iter().flat_map(|node| &node.tensors).for_each(|tensor| users[*tensor] += 1);
        let placed = vec![None; graph.tensors.len()];
        Self {
            graph,
            materialised: false,
            flat,
            users,
            placed,
            parts: Vec::new(),
            order: Vec::new(),
        }
    }

    fn is_trained(&self, node: usize) -> bool {
        self.graph.nodes[node].tensors.iter().any(|tensor| self.graph.tensors[*tensor].trainable)
    }

    fn kind(&self, node: usize) -> PartKind {
        let found = &self.graph.nodes[node];
        let trained = |tensor: &usize| self.graph.tensors[*tensor].trainable;
        let alone = found.tensors.iter().all(|t| self.users[*t] == 1 && trained(t));
        match found.op {
            _ if self.materialised => PartKind::Dense,
            Primitive::Linear { inputs, outputs, bias }
                if alone && found.shape.len() == 1 && is_cheaper_in_factors(outputs, inputs) =>
            {
                PartKind::Outer { rows: outputs, cols: inputs, bias: bias.then_some(0) }
            }
            Primitive::Embedding { dim, .. } if alone => PartKind::Rows { dim },
            _ => PartKind::Dense,
        }
    }

    /// Puts tensor `index` next in the order.
    fn place(&mut self, index: usize) -> usize {
        let (start, first) = (self.order.len(), self.flat[index] as u32);
        self.order.extend(first..first + self.graph.tensors[index].len() as u32);
        self.placed[index] = Some(start);
        start
    }

    /// Places the bias of an outer product, if it has one; where.
    fn add_bias(&mut self, node: usize) -> usize {
        let tensors = &self.graph.nodes[node].tensors;
        tensors.get(1).map_or(0, |index| self.place(*index))
    }

    /// Places the weight of an outer product, whose bias lies at `bias`.
    fn add_weight(&mut self, node: usize, bias: usize) {
        let start = self.place(self.graph.nodes[node].tensors[0]);
        let kind = match self.kind(node) {
            PartKind::Outer { rows, cols, bias: Some(_) } => {
                PartKind::Outer { rows, cols, bias: Some(bias) }
            }
            kind => kind,
        };
        let len = self.order.len() - start;
        self.parts.push(Part { node, start, len, kind, pieces: Vec::new() });
    }

    fn add(&mut self, node: usize, steps: &[Step]) {
        let (kind, start) = (self.kind(node), self.order.len());
        let tensors = &self.graph.nodes[node].tensors;
        let (mut flat, mut pieces, mut from) = (Vec::new(), Vec::new(), 0);
        let mut whole = true;
        for &index in tensors {
            let tensor = &self.graph.tensors[index];
            whole &= tensor.trainable && self.placed[index].is_none();
            if tensor.trainable {
                let to = *self.placed[index].get_or_insert_with(|| {
                    let (place, first) = (start + flat.len(), self.flat[index] as u32);
                    flat.extend(first..first + tensor.len() as u32);
                    place
                });
                pieces.push(Piece { from, to, len: tensor.len() });
            }
            from += tensor.len();
        }
        match steps[node].op.order() {
            Some(order) if whole => {
                self.order.extend(order.iter().map(|place| flat[*place as usize]));
            }
            _ => self.order.extend(flat),
        }
        let len = self.order.len() - start;
        let pieces = if whole { Vec::new() } else { pieces };
        self.parts.push(Part { node, start, len, kind, pieces });
    }
}
