//! How a call is decided: an index finds the policies that can matter on its edge, partial evaluation settles what does not
//! depend on the context, and what is left is evaluated per call. Each step is held to plain Cedar by a property test.

pub(crate) mod edge;
pub mod edges;
pub(crate) mod entities;
pub(crate) mod facts;
pub(crate) mod index;
pub(crate) mod plain;
pub mod reference;
pub(crate) mod residual;
pub mod schema;
pub(crate) mod statement;
pub(crate) mod tree;

use std::sync::Arc;

use self::edge::Edge;
use self::edges::Edges;
use self::index::Index;
use self::statement::Statement;
use crate::call::Call;
use crate::decision::Decision;
use crate::snapshot::registered::Registered;

/// All policies, ready to decide.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    index: Index,
    edges: Edges,
}

impl Policies {
    pub(crate) fn new(statements: Vec<Arc<Statement>>) -> Self {
        Self { index: Index::new(statements), edges: Edges::default() }
    }

    pub(crate) fn decide(&self, registered: &Registered, call: &Call<'_>) -> Decision {
        self.edge(registered, call).decide(call)
    }

    pub(crate) fn could_allow(&self, registered: &Registered, call: &Call<'_>) -> bool {
        self.edge(registered, call).could_allow(call)
    }

    pub(crate) fn statements(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.index.statements()
    }

    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    fn edge(&self, registered: &Registered, call: &Call<'_>) -> Arc<Edge> {
        self.edges.of(call, || Edge::compile(&self.index, registered, call))
    }
}
