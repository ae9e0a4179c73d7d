//! What the tools of an MCP server are, as its record has it: the digest of each tool's definition, pinned (ADR 76).

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::field::name;
use super::plan::is_digest;
use super::problem::{At, Fault, Problems};

/// Most tools of one server that can be pinned.
pub const MAX_PINS: usize = 512;

/// The tools of a server, as they were when somebody looked at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Tool → the digest of its definition: `sha256:` and hex of its entry in `tools/list`, in canonical JSON (RFC 8785; ADR 41).
    pub pins: BTreeMap<Arc<str>, Arc<str>>,
    /// What becomes of a tool that is not among them.
    pub unpinned: Unpinned,
    /// What arguments are held to.
    pub arguments: HeldArguments,
    /// What results are held to.
    pub results: HeldTo,
}

/// What becomes of a tool that is not pinned in the record of its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unpinned {
    /// It is not called, and not listed.
    #[default]
    Refused,
    /// It is pinned as what it is when it is first seen in a listing: from then on it is called while it is that (ADR 91).
    FirstSight,
}

impl Integrity {
    /// Whether calls of a tool are made while it is something known, or once that is.
    pub fn holds(&self, tool: &str) -> bool {
        self.unpinned == Unpinned::FirstSight || self.pins.contains_key(tool)
    }

    /// Whether a tool is held to what it was when it was first seen.
    pub fn is_at_first_sight(&self, tool: &str) -> bool {
        self.unpinned == Unpinned::FirstSight && !self.pins.contains_key(tool)
    }
}

/// What the arguments of a pinned tool are held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeldArguments {
    /// The schema of the pinned definition. A tool whose schema cannot be held to is not called.
    #[default]
    Schema,
    /// The same, and each object has no members but those that the schema names.
    Closed,
    /// Nothing.
    Nothing,
}

/// What the results of a pinned tool are held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeldTo {
    /// The schema of the pinned definition. A tool whose schema cannot be held to is not called.
    #[default]
    Schema,
    /// Nothing.
    Nothing,
}

/// The tools of a server, as they were when somebody looked at them. A tool that is not pinned, or is not what was pinned, is not called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.pins) || (has(self.unpinned) && self.unpinned == 'firstSight')",
    "message": "write pins, as vidimus pin prints them, or unpinned: firstSight",
}]))]
pub struct IntegritySpec {
    /// Each tool with the digest of its definition, as `vidimus pin` prints it. An empty mapping lets no tool be called, unless others are pinned at first
    /// sight (unpinned), when it may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pins_schema")]
    pub pins: Option<BTreeMap<String, String>>,
    /// What becomes of a tool that is not among the pins: it is refused (also when this is left out), or pinned as what it is when a listing first has it
    /// (firstSight), and refused from then on while it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpinned: Option<Unpinned>,
    /// What the arguments of a call are held to: the schema of the tool (schema, when it is left out), the members that it names too (closed), or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<HeldArguments>,
    /// What structured results are held to: the output schema of the tool, where it has one (schema, when it is left out), or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<HeldTo>,
}

fn pins_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "object", "maxProperties": MAX_PINS,
        "additionalProperties": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    })
}

impl IntegritySpec {
    pub(super) fn check(&self, at: At<'_>, problems: &mut Problems) -> Integrity {
        let unpinned = self.unpinned.unwrap_or_default();
        let at = at.key("pins");
        if self.pins.is_none() && unpinned == Unpinned::Refused {
            let fault = Fault::new(
                "nothing says what the tools are",
                "write the pins that `vidimus pin` prints, or unpinned: firstSight",
            );
            problems.report(at, "", fault);
        }
        let pins = self.pins.iter().flatten();
        for (tool, digest) in pins.clone() {
            let at = at.key(tool);
            problems.take(at, tool, name::check_tool(tool));
            if !is_digest(digest) {
                let fault = Fault::new(
                    "not the digest of a definition",
                    "write sha256: and 64 digits in lower case, as `vidimus pin` prints it",
                );
                problems.report(at, digest, fault);
            }
        }
        Integrity {
            pins: pins.map(|(tool, pin)| (tool.as_str().into(), pin.as_str().into())).collect(),
            unpinned,
            arguments: self.arguments.unwrap_or_default(),
            results: self.results.unwrap_or_default(),
        }
    }
}
