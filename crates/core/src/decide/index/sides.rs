//! The index asked about one side of an edge, where the other is not one thing; and about what a policy insists on.

use std::sync::Arc;

use cedar_policy::{Entities, EntityUid};

use super::{Constant, Holding, Index, Key, KeyId, Side, Test};
use crate::call::Action;
use crate::decide::statement::Statement;

impl Key {
    pub(crate) const fn side(&self) -> Side {
        self.side
    }

    /// Whether it insists on what a caller calls the resource.
    pub(crate) fn is_of_name(&self) -> bool {
        self.side == Side::Resource
            && self.constant.test == Test::Equals
            && matches!(&*self.constant.name, "name" | "uri")
    }

    /// The type and the id of what it insists on, and whether on that itself and not on something in it.
    pub(crate) fn named(&self) -> Option<(&str, &str, bool)> {
        let itself = match self.constant.test {
            Test::Itself => true,
            Test::Member => false,
            Test::Equals | Test::Contains => return None,
        };
        Some((&self.constant.name, &self.constant.value, itself))
    }

    /// What holds wherever it holds, by how objects become entities: what is something is in it; who bears a name of a namespace bears
    /// it without as well, and is in that namespace; and the team of an object is what it is in. With `entities`, also what holds of
    /// what it names.
    pub(crate) fn with_what_follows(&self, entities: &Entities) -> Vec<Self> {
        let Constant { test, name, value } = &*self.constant;
        let member = |of: &str, id: &str| Self::member(self.side, of, id);
        let mut all = vec![self.clone()];
        match (test, &**name) {
            (Test::Itself, of) => all.push(member(of, value)),
            (Test::Member, of @ ("AgentClass" | "Group" | "ModelSet" | "Team" | "ToolSet")) => {
                if let Some((namespace, name)) = value.split_once('/') {
                    all.extend([member("Namespace", namespace), member(of, name)]);
                }
            }
            (Test::Equals, "team") => all.push(member("Team", value)),
            _ => {}
        }
        if let Some((of, id, itself)) = self.named()
            && let Ok(of) = of.parse()
        {
            let uid = EntityUid::from_type_name_and_id(of, cedar_policy::EntityId::new(id));
            // Of what is in something, only what that is in is known.
            let holding = Self::holding(self.side, &uid, entities);
            all.extend(holding.into_iter().filter(|key| itself || key.constant.test == Test::Member));
        }
        all
    }
}

impl Holding {
    /// What holds of an edge, by what holds of its sides.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().copied()
    }
}

impl Index {
    /// Of these constants, those that some policy insists on.
    pub(crate) fn holding_by<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Holding {
        Holding(keys.into_iter().filter_map(|key| self.number(key)).collect())
    }

    /// The number of a constant; `None` where no policy insists on it.
    pub(crate) fn number(&self, key: &Key) -> Option<KeyId> {
        self.keys.get(key).map(|known| known.id)
    }

    /// The constants of the index that hold of one side.
    pub(crate) fn holding_of(&self, side: Side, of: &EntityUid, entities: &Entities) -> Holding {
        self.holding_by(&Key::holding(side, of, entities))
    }

    pub(crate) fn holds(&self, key: &Key, holding: &Holding) -> bool {
        self.number(key).is_some_and(|id| holding.0.contains(&id))
    }

    /// Whether a statement's constants hold, as far as `counts` says that they matter.
    pub(crate) fn fits(
        &self,
        statement: &Statement,
        holding: &Holding,
        counts: impl Fn(&Key) -> bool,
    ) -> bool {
        let keys = statement.scope.iter().chain(&statement.conditions);
        keys.filter(|key| counts(key)).all(|key| self.holds(key, holding))
    }

    /// The statements on an action.
    pub(crate) fn on(&self, action: Action) -> impl Iterator<Item = &Arc<Statement>> {
        self.statements().filter(move |statement| statement.actions.contain(action))
    }
}
