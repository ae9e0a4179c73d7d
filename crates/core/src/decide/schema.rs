//! The Cedar schema, parsed once.

use std::sync::LazyLock;

use cedar_policy::{
    ActionConstraint, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Schema, SchemaFragment,
    ValidationMode, ValidationResult, Validator,
};

/// The schema as policy authors read it.
pub const TEXT: &str = include_str!("schema.cedarschema");

/// What of [`TEXT`] comes from here on is about what people do, not about calls.
const OF_PEOPLE: &str = "// ---- people --";

/// The parsed schema, or why this build's schema is broken (a test holds that it is not).
static SCHEMA: LazyLock<Result<(Schema, Validator), String>> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(TEXT).map_err(|error| error.to_string())?;
    let validator = Validator::new(schema.clone());
    Ok((schema, validator))
});

/// The part of the schema that is about calls. What leaves the action open is checked by it, so that it need not fit people too.
static OF_CALLS: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    let text = TEXT.split(OF_PEOPLE).next().unwrap_or_default();
    let (schema, _) = Schema::from_cedarschema_str(text).map_err(|error| error.to_string())?;
    Ok(Validator::new(schema))
});

/// The schema as programs read it: Cedar's JSON form of [`TEXT`].
///
/// # Errors
/// When this build's schema is broken (a test holds that it is not).
pub fn json() -> Result<serde_json::Value, String> {
    let (fragment, _) = SchemaFragment::from_cedarschema_str(TEXT).map_err(|error| error.to_string())?;
    fragment.to_json_value().map_err(|error| error.to_string())
}

/// The entity types that have an attribute, by name.
pub(crate) fn types_with(attribute: &str) -> Result<Vec<String>, String> {
    let json = json()?;
    let types = json.get("").and_then(|all| all.get("entityTypes"));
    let types = types.and_then(serde_json::Value::as_object).into_iter().flatten();
    let has = |of: &serde_json::Value| of.pointer(&format!("/shape/attributes/{attribute}")).is_some();
    Ok(types.filter(|(_, of)| has(of)).map(|(name, _)| name.clone()).collect())
}

pub(crate) fn schema() -> Result<&'static Schema, &'static str> {
    SCHEMA.as_ref().map(|(schema, _)| schema).map_err(String::as_str)
}

/// The actions with their groups, which Cedar's own evaluator needs for `action in Action::"mcp"`.
pub(crate) fn actions() -> Result<Vec<Entity>, String> {
    static ACTIONS: LazyLock<Result<Vec<Entity>, String>> = LazyLock::new(|| {
        let entities = schema()?.action_entities().map_err(|error| error.to_string())?;
        Ok(entities.iter().cloned().collect())
    });
    ACTIONS.clone()
}

/// Type-checks policies in strict mode: those whose scope leaves the action open are about calls alone.
pub(crate) fn validate(policies: &PolicySet) -> Result<[ValidationResult; 2], &'static str> {
    let (_, validator) = SCHEMA.as_ref().map_err(String::as_str)?;
    let of_calls = OF_CALLS.as_ref().map_err(String::as_str)?;
    let (mut open, mut named) = (PolicySet::new(), PolicySet::new());
    for policy in policies.policies() {
        let is_open = matches!(policy.action_constraint(), ActionConstraint::Any);
        let added = if is_open { &mut open } else { &mut named }.add(policy.clone());
        added.map_err(|_| "a policy could not be taken from among others")?;
    }
    Ok([of_calls.validate(&open, ValidationMode::Strict), validator.validate(&named, ValidationMode::Strict)])
}

macro_rules! types {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// The entity types of the schema that the gateway builds entities of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Type { $($name),+ }

        impl Type {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The parsed name; parsing is too slow to repeat for each entity.
            fn cedar(self) -> Option<&'static EntityTypeName> {
                match self {
                    $(Self::$name => {
                        static NAME: LazyLock<Option<EntityTypeName>> = LazyLock::new(|| $text.parse().ok());
                        NAME.as_ref()
                    })+
                }
            }
        }
    };
}

types! {
    Action = "Action", Agent = "Agent", AgentClass = "AgentClass", Arguments = "Arguments", Group = "Group",
    Identity = "Identity", Instance = "Instance", Limits = "Limits", LlmProvider = "LLMProvider", McpServer = "MCPServer", Model = "Model", ModelSet = "ModelSet",
    Namespace = "Namespace", Numbers = "Numbers", Prompt = "Prompt", Registration = "Registration", Resource = "Resource", Service = "Service",
    Skill = "Skill", Team = "Team", Tool = "Tool", ToolSet = "ToolSet", Transaction = "Transaction", User = "User",
    UserGroup = "UserGroup", View = "View",
}

/// `Type::"id"`, or `None` when the schema of this build is broken.
pub(crate) fn uid(of: Type, id: impl AsRef<str>) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(of.cedar()?.clone(), EntityId::new(id)))
}

/// The name of a type, parsed: one for all who have it, where it is one of these types.
pub(crate) fn type_name(text: &str) -> Option<EntityTypeName> {
    Type::of(text).and_then(Type::cedar).cloned().or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_its_name_and_the_name_is_parsed_once() {
        for of in Type::ALL {
            assert_eq!(Type::of(of.as_str()), Some(*of));
            assert_eq!(type_name(of.as_str()), of.as_str().parse().ok());
        }
        assert_eq!((Type::of("Other"), type_name("Other")), (None, "Other".parse().ok()));
        assert_eq!(type_name("no name"), None);
    }

    #[test]
    fn the_schema_parses_and_knows_every_type() {
        let names: Vec<String> = schema().unwrap().entity_types().map(ToString::to_string).collect();
        for of in Type::ALL.iter().filter(|t| **t != Type::Action) {
            assert!(names.iter().any(|n| n == of.as_str()), "{of:?}");
        }
        assert!(uid(Type::Action, "invokeTool").is_some());
    }

    #[test]
    fn which_types_have_an_attribute_is_known() {
        assert_eq!(types_with("trust_score").unwrap(), ["Agent"]);
        assert_eq!(types_with("server").unwrap(), ["Prompt", "Resource", "Tool"]);
        assert!(types_with("nothing").unwrap().is_empty());
    }
}
