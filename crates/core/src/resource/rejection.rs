//! What was left out, or deserves a look, and why.

use std::fmt;

use serde::{Serialize, Serializer};

use super::reference::{ObjectRef, Origin};

/// One fault of one object or source. The object is left out; everything else stays live. Warnings have the same form; what they
/// are about is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Where the object, or the source, is.
    pub origin: Origin,
    /// What it is about.
    pub object: Subject,
    /// Path of the field in the object: `spec.identities[1].oidc.issuer`. Empty for the object itself.
    pub field: String,
    /// The value found, shortened to 120 characters; never the value of a secret.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: String,
}

/// What a rejection is about. Its text form is `Kind namespace/name`, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An object.
    Object(ObjectRef),
    /// A document of which not even kind, namespace and name are good: these, as far as they can be read.
    Document(String),
    /// No object: a file, a directory or a cluster that cannot be read.
    Source,
}

impl Subject {
    /// The object, when it is known.
    pub const fn reference(&self) -> Option<&ObjectRef> {
        match self {
            Self::Object(reference) => Some(reference),
            Self::Document(_) | Self::Source => None,
        }
    }

    /// Whether it is about this object, in whatever version.
    pub fn is(&self, object: &ObjectRef) -> bool {
        self.reference().is_some_and(|reference| reference.is_same_object(object))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(reference) => write!(f, "{reference}"),
            Self::Document(text) => f.write_str(text),
            Self::Source => Ok(()),
        }
    }
}

/// As JSON, `source` and `line` say where and `object` says what, as text; `reference` is the object in parts, where it is known.
impl Serialize for Rejection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            source: &'a str,
            line: u32,
            object: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            reference: Option<&'a ObjectRef>,
            field: &'a str,
            value: &'a str,
            reason: &'a str,
            fix: &'a str,
        }
        let row = Row {
            source: &self.origin.source(),
            line: self.origin.line(),
            object: self.object.to_string(),
            reference: self.object.reference(),
            field: &self.field,
            value: &self.value,
            reason: &self.reason,
            fix: &self.fix,
        };
        row.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Kind;

    #[test]
    fn as_json_it_has_the_object_as_text_and_in_parts() {
        let object =
            ObjectRef { kind: Kind::Policy, namespace: "a".into(), name: "x".into(), generation: Some(3) };
        let rejection = |object| Rejection {
            origin: Origin::file("d/a.yaml", 7),
            object,
            field: "spec.cedar".to_owned(),
            value: "v".to_owned(),
            reason: "r".to_owned(),
            fix: "f".to_owned(),
        };
        let text = serde_json::to_string(&rejection(Subject::Object(object))).unwrap();
        let expected = r#"{"source":"d/a.yaml","line":7,"object":"Policy a/x","reference":{"kind":"Policy","namespace":"a","name":"x","generation":3},"field":"spec.cedar","value":"v","reason":"r","fix":"f"}"#;
        assert_eq!(text, expected);
        let text = serde_json::to_string(&rejection(Subject::Source)).unwrap();
        assert!(text.contains(r#""object":"","field""#), "{text}");
    }
}
