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

pub(crate) mod time {
    use jiff::Timestamp;
    use jiff::civil::DateTime;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parsed(&text).map_err(D::Error::custom)).transpose()
    }

    fn parsed(text: &str) -> Result<Timestamp, String> {
        text.parse().map_err(|_| match text.parse::<DateTime>() {
            // It does not say by whose clocks.
            Ok(local) => format!("a time zone is missing: write {local}Z, or the time of a place with how far that is ahead of UTC ({local}+01:00)"),
            Err(_) => "not a time: write RFC 3339 with a time zone, 2026-11-27T09:00:00Z or 2026-11-27T10:00:00+01:00".to_owned(),
        })
    }
}
