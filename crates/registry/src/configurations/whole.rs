//! A configuration in one document, for who asks a gateway what it decides by.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vidimus_core::resource::Object;
use vidimus_core::snapshot::{Beside, Forgotten, Snapshot};

use super::{KeepError, Restored, Unusable, object_of};

/// A configuration, whole. What is made of it decides as the one that it is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whole {
    /// As in records.
    snapshot: String,
    objects: Vec<WholeObject>,
    /// What of it stands in no object.
    beside: Beside,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WholeObject {
    document: Value,
    /// An agent or a service in quarantine, whatever its document says.
    quarantined: bool,
}

impl Whole {
    /// All of a configuration.
    ///
    /// # Errors
    /// When something of it was not read from a document.
    pub fn of(snapshot: &Snapshot) -> Result<Self, KeepError> {
        let preserved = snapshot.preserved()?;
        let mut objects = Vec::with_capacity(preserved.objects.len());
        for object in &preserved.objects {
            let document = serde_json::from_str(&object.text)?;
            objects.push(WholeObject { document, quarantined: object.quarantined });
        }
        Ok(Self { snapshot: snapshot.digest().to_owned(), objects, beside: preserved.beside })
    }

    /// What decides by it.
    ///
    /// # Errors
    /// When it is not as it was written, or this version cannot read it.
    pub fn restored(&self) -> Result<Restored, Unusable> {
        const FROM: &str = "the configuration of the gateway";
        let damaged = |reason: String| Unusable::Damaged { path: FROM.to_owned(), reason };
        let mut objects: Vec<Object> = Vec::with_capacity(self.objects.len());
        for WholeObject { document, quarantined } in &self.objects {
            let object = object_of(Path::new(FROM), document).map_err(damaged)?;
            objects.push(if *quarantined { object.quarantined() } else { object });
        }
        let restored = Snapshot::default().restored(objects, &self.beside);
        let snapshot = restored.map_err(|forgotten: Forgotten| damaged(forgotten.to_string()))?;
        let verified = snapshot.digest() == self.snapshot;
        Ok(Restored { snapshot: Arc::new(snapshot), verified })
    }
}
