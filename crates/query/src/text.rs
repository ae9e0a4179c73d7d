//! What is written as text in questions.

pub(crate) mod entity {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use vidimus_core::entity::EntityId;

    pub(crate) fn serialize<S: Serializer>(id: &EntityId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntityId, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::explain::entity(&text).map_err(D::Error::custom)
    }
}

pub(crate) mod user {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use vidimus_core::caller::User;

    pub(crate) fn serialize<S: Serializer>(user: &Option<User>, serializer: S) -> Result<S::Ok, S::Error> {
        user.as_ref().map(User::id).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<User>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| crate::explain::user(&text).map_err(D::Error::custom)).transpose()
    }
}
