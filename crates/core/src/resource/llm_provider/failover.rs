//! Which other providers may answer in a provider's place.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::Meta;
use crate::resource::field::name;
use crate::resource::problem::{At, Fault, Problems};

/// The greatest weight.
const HEAVIEST: u16 = 1000;
/// How many others there may be.
const MOST: usize = 4;

/// How calls of a provider are divided, and who answers where one does not. What another provider's record says of failover is nothing to this
/// one: there is one step, and so no loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The provider's own share of the calls.
    pub weight: u16,
    /// The others, in the order in which they are tried where their shares do not say.
    pub to: Vec<Alternative>,
}

/// Another provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// `namespace/name`.
    pub provider: Arc<str>,
    /// Its share of the calls; 0 where it answers only in place of others.
    pub weight: u16,
}

/// Which other providers may answer in a provider's place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailoverSpec {
    /// The provider's own share of the calls, beside those of the others. 1 when it is left out.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u16,
    /// The others. Each is asked for the model that it has by the same name, as a model or as an alias; one that has none is not tried.
    #[schemars(length(min = 1, max = 4))]
    pub to: Vec<AlternativeSpec>,
}

/// Another provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlternativeSpec {
    /// The name of another LLMProvider of the same namespace.
    #[schemars(schema_with = "name::plain_schema")]
    pub provider: String,
    /// Its share of the calls. 0 when it is left out: it answers only where others do not.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

impl FailoverSpec {
    /// Whether the others are registered is found out in each call: a record may come later than the one that names it.
    pub(super) fn check(self, meta: &Meta, at: At<'_>, problems: &mut Problems) -> Failover {
        check_weight(self.weight, at, problems);
        let list = at.key("to");
        if self.to.is_empty() || self.to.len() > MOST {
            let fault =
                Fault::new("not between one and four providers", "name those that may answer in its place");
            problems.report(list, "", fault);
        }
        let mut to: Vec<Alternative> = Vec::new();
        for (index, spec) in self.to.into_iter().enumerate() {
            let at = list.index(index);
            check_weight(spec.weight, at, problems);
            let named = at.key("provider");
            if problems.take(named, &spec.provider, name::check_plain(&spec.provider)).is_none() {
                continue;
            }
            let provider: Arc<str> = format!("{}/{}", meta.namespace, spec.provider).into();
            if *provider == *meta.key() {
                let fault =
                    Fault::new("the provider itself", "name another one; its own share is the weight beside");
                problems.report(named, &spec.provider, fault);
            } else if to.iter().any(|other| other.provider == provider) {
                problems.report(named, &spec.provider, Fault::new("named twice", "name every provider once"));
            } else {
                to.push(Alternative { provider, weight: spec.weight });
            }
        }
        Failover { weight: self.weight, to }
    }
}

fn check_weight(weight: u16, at: At<'_>, problems: &mut Problems) {
    if weight > HEAVIEST {
        let fault = Fault::new("too heavy", "write a weight of at most 1000");
        problems.report(at.key("weight"), &weight.to_string(), fault);
    }
}
