//! That what is read at once is what reflection reads, whatever it is: for the tests, and for the fuzz target.

use prost_reflect::DynamicMessage;
use serde_json::Value;

use super::{Rpc, Type, Unknown, reflected, to_json, to_wire};

/// A tenant that is left out.
pub(super) const OWN: &str = "n/b";

impl Rpc {
    /// That both say the same of these bytes, as a request and as an answer. Whether they were read at once as these.
    pub fn check_wire(&self, message: &[u8]) -> [bool; 2] {
        [&self.input, &self.output].map(|of| of.check_wire(message))
    }

    /// The same of a text.
    pub fn check_json(&self, json: &str) -> [bool; 2] {
        [&self.input, &self.output].map(|of| of.check_json(json))
    }
}

impl Type {
    fn check_wire(&self, message: &[u8]) -> bool {
        let ways = [(Unknown::Refused, None), (Unknown::Refused, Some(OWN)), (Unknown::LeftOut, None)];
        let at_once = ways.map(|(unknown, own)| {
            let Some(at_once) =
                self.place.and_then(|place| to_json::of((&self.table, place), message, unknown, own))
            else {
                return false;
            };
            let said = reflected::json_of(&self.of, message, unknown, own);
            let value = |text: &str| serde_json::from_str::<Value>(text).ok();
            // Reflection has the maps that cards have in any order.
            let has_maps = self.of.name() == "AgentCard";
            let is_same = said
                .as_ref()
                .is_ok_and(|said| *said == at_once || has_maps && value(said) == value(&at_once));
            assert!(is_same, "{} {message:x?} {unknown:?}:\n{at_once}\n{said:?}", self.of.full_name());
            true
        });
        at_once.contains(&true)
    }

    fn check_json(&self, json: &str) -> bool {
        let at_once = [Unknown::Refused, Unknown::LeftOut].map(|unknown| {
            let Some(at_once) = self.place.and_then(|place| to_wire::of((&self.table, place), json, unknown))
            else {
                return false;
            };
            let said = reflected::of_json(&self.of, json, unknown);
            let read = |bytes: &[u8]| DynamicMessage::decode(self.of.clone(), bytes).ok();
            let is_same =
                said.as_ref().is_ok_and(|said| read(said).is_some() && read(said) == read(&at_once));
            assert!(is_same, "{} {json} {unknown:?}:\n{at_once:x?}\n{said:x?}", self.of.full_name());
            true
        });
        at_once.contains(&true)
    }
}
