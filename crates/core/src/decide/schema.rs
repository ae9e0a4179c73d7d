//! The Cedar schema, parsed once.

use std::sync::LazyLock;

use cedar_policy::{
    Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Schema, SchemaFragment, ValidationMode,
    ValidationResult, Validator,
};

/// The schema as policy authors read it.
pub const TEXT: &str = include_str!("schema.cedarschema");

/// The parsed schema, or why this build's schema is broken (a test holds that it is not).
static SCHEMA: LazyLock<Result<(Schema, Validator), String>> = LazyLock::new(|| {
    let (schema, _) = Schema::from_cedarschema_str(TEXT).map_err(|error| error.to_string())?;
    let validator = Validator::new(schema.clone());
    Ok((schema, validator))
});

/// The schema as programs read it: Cedar's JSON form of [`TEXT`].
///
/// # Errors
/// When this build's schema is broken (a test holds that it is not).
pub fn json() -> Result<serde_json::Value, String> {
    let (fragment, _) = SchemaFragment::from_cedarschema_str(TEXT).map_err(|error| error.to_string())?;
    fragment.to_json_value().map_err(|error| error.to_string())
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

/// Type-checks policies in strict mode.
pub(crate) fn validate(policies: &PolicySet) -> Result<ValidationResult, &'static str> {
    let (_, validator) = SCHEMA.as_ref().map_err(String::as_str)?;
    Ok(validator.validate(policies, ValidationMode::Strict))
}

macro_rules! types {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// The entity types of the schema that the gateway builds entities of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Type { $($name),+ }

        impl Type {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
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
    LlmProvider = "LLMProvider", McpServer = "MCPServer", Model = "Model", ModelSet = "ModelSet",
    Namespace = "Namespace", Numbers = "Numbers", Prompt = "Prompt", Resource = "Resource", Service = "Service",
    Skill = "Skill", Team = "Team", Tool = "Tool", ToolSet = "ToolSet", User = "User",
}

/// `Type::"id"`, or `None` when the schema of this build is broken.
pub(crate) fn uid(of: Type, id: impl AsRef<str>) -> Option<EntityUid> {
    Some(EntityUid::from_type_name_and_id(of.cedar()?.clone(), EntityId::new(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_parses_and_knows_every_type() {
        let names: Vec<String> = schema().unwrap().entity_types().map(ToString::to_string).collect();
        for of in Type::ALL.iter().filter(|t| **t != Type::Action) {
            assert!(names.iter().any(|n| n == of.as_str()), "{of:?}");
        }
        assert!(uid(Type::Action, "invokeTool").is_some());
    }
}
