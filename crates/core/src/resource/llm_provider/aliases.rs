//! Other names of a provider's models.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Model;
use crate::resource::field::name;
use crate::resource::problem::{At, Fault, Problems};

/// Each alias with the listed model that it stands for, however many aliases lead to it. One that is no name, is the name of a model, or
/// leads to no model or to itself is a problem.
pub(super) fn check(
    specs: &BTreeMap<String, String>,
    models: &[Model],
    at: At<'_>,
    problems: &mut Problems,
) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut checked = BTreeMap::new();
    for (alias, stands_for) in specs {
        let at = at.key(alias);
        if problems.take(at, alias, name::check_model(alias)).is_none() {
            continue;
        }
        if models.iter().any(|model| *model.name == **alias) {
            let fault = Fault::new(
                "a model has this name",
                "give the alias another name: a model is meant by its own",
            );
            problems.report(at, alias, fault);
            continue;
        }
        if let Some(model) = problems.take(at, stands_for, model_of(specs, models, alias)) {
            checked.insert(alias.as_str().into(), model);
        }
    }
    checked
}

/// The listed model that an alias leads to.
fn model_of(specs: &BTreeMap<String, String>, models: &[Model], alias: &str) -> Result<Arc<str>, Fault> {
    let mut name = alias;
    // Without a loop no way is longer than there are aliases.
    for _ in 0..=specs.len() {
        if let Some(model) = models.iter().find(|model| *model.name == *name) {
            return Ok(model.name.clone());
        }
        let Some(next) = specs.get(name) else {
            return Err(Fault::new(
                "stands for no model",
                "name one that is listed under models, or another alias",
            ));
        };
        name = next;
    }
    Err(Fault::new("an alias that leads back to itself", "have each alias end at a model that is listed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_ends_at_a_model_however_long_the_way_is() {
        let model = |name: &str| Model { name: name.into(), sets: Default::default(), price: None };
        let models = [model("small"), model("large")];
        let specs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(alias, name)| ((*alias).to_owned(), (*name).to_owned())).collect()
        };
        for (pairs, alias, expected) in [
            (&[("fast", "small")][..], "fast", Some("small")),
            (&[("fast", "cheap"), ("cheap", "small")], "fast", Some("small")),
            (&[("a", "b"), ("b", "c"), ("c", "large")], "a", Some("large")),
            (&[("fast", "tiny")], "fast", None),
            (&[("fast", "fast")], "fast", None),
            (&[("a", "b"), ("b", "a")], "a", None),
            (&[("a", "b"), ("b", "c"), ("c", "b")], "a", None),
        ] {
            let found = model_of(&specs(pairs), &models, alias);
            assert_eq!(found.ok().as_deref(), expected, "{pairs:?}");
        }
    }
}
