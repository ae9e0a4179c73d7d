//! What tools were when they were first seen, where their server's record has them held to that (ADR 91). The fold is the same in whatever order the
//! acts come: of two sights of one tool, as of gateways that shared nothing yet, the earlier one stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Placed, Standing, Unfit};
use crate::act::{Act, LONGEST_PINNED, MOST_PINNED, Pinned, Subject};
use crate::record::ActRecord;
use crate::resource::integrity::MAX_PINS;

/// The most tools that are pinned at first sight, of all servers. Nothing un-sees one, so who registers server after server may not take the room of others.
const MOST_TOOLS: usize = 65_536;

/// What a tool is held to since it was first seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// The digest of its definition: `sha256:` and hex.
    pub digest: Arc<str>,
    /// The act by which it is so.
    pub placed: Arc<Placed>,
}

/// The tools of one server, by their names.
pub type Pins = BTreeMap<String, Pin>;

impl Standing {
    /// What a tool is held to since it was first seen; `None` where nobody saw it yet. `server` is `MCPServer/namespace/name`.
    pub fn pin(&self, server: &Subject, tool: &str) -> Option<&Pin> {
        self.pinned.get(server)?.get(tool)
    }

    /// What the tools of a server are held to since they were first seen.
    pub fn pins_of(&self, server: &Subject) -> impl Iterator<Item = (&str, &Pin)> {
        self.pinned.get(server).into_iter().flat_map(|pins| pins.iter().map(|(tool, pin)| (&**tool, pin)))
    }

    /// Whether there is room to pin so many more tools of a server: 512 of each, and of the servers of one namespace no more than are left for all others.
    pub fn has_room_for(&self, server: &Subject, more: usize) -> bool {
        let own = self.pinned.get(server).map_or(0, |known| known.len()).saturating_add(more);
        if own > MAX_PINS {
            return false;
        }
        let (mut here, mut all) = (more, more);
        for (other, known) in &self.pinned {
            all = all.saturating_add(known.len());
            if namespace_of(other) == namespace_of(server) {
                here = here.saturating_add(known.len());
            }
        }
        here <= MOST_TOOLS.saturating_sub(all)
    }

    /// That all of these may be pinned: none of them is, and there is room.
    pub(super) fn check_pinned(&self, Pinned { server, tools }: &Pinned) -> Result<(), Unfit> {
        let known = self.pinned.get(server);
        if let Some(tool) = tools.keys().find(|tool| known.is_some_and(|known| known.contains_key(*tool))) {
            return Err(Unfit::Pinned { server: server.clone(), tool: tool.clone() });
        }
        let is_long = tools.len() > MOST_PINNED || tools.keys().any(|tool| tool.len() > LONGEST_PINNED);
        if is_long || !self.has_room_for(server, tools.len()) {
            return Err(Unfit::ManyPinned { server: server.clone() });
        }
        Ok(())
    }

    /// Takes over that tools were seen.
    pub(super) fn note_pinned(&mut self, record: &ActRecord<'_>, Pinned { server, tools }: &Pinned) {
        let placed = Arc::new(Placed::by(record));
        let known = Arc::make_mut(self.pinned.entry(server.clone()).or_default());
        for (tool, digest) in tools {
            let is_earlier = known
                .get(tool)
                .is_none_or(|other| (&placed.time, &placed.id) < (&other.placed.time, &other.placed.id));
            if is_earlier {
                known.insert(tool.clone(), Pin { digest: digest.as_str().into(), placed: placed.clone() });
            }
        }
    }

    /// The acts of the pins that stand.
    pub fn pins(&self) -> impl Iterator<Item = ActRecord<'static>> + '_ {
        self.pinned.iter().flat_map(|(server, pins)| {
            let mut acts: BTreeMap<&str, (&Arc<Placed>, Pinned)> = BTreeMap::new();
            for (tool, pin) in &**pins {
                let act = || (&pin.placed, Pinned { server: server.clone(), tools: BTreeMap::new() });
                let (_, pinned) = acts.entry(&pin.placed.id).or_insert_with(act);
                pinned.tools.insert(tool.clone(), pin.digest.to_string());
            }
            acts.into_values().map(|(placed, pinned)| super::agreed::record(placed, Act::Pin(pinned)))
        })
    }

    /// Whether a tool is held to what this act says of it.
    pub(super) fn needs_pinned(&self, id: &str, Pinned { server, tools }: &Pinned) -> bool {
        tools.keys().any(|tool| self.pin(server, tool).is_some_and(|pin| pin.placed.id == id))
    }
}

/// That of `MCPServer/namespace/name`.
fn namespace_of(server: &Subject) -> Option<&str> {
    let Subject::Object(server) = server else { return None };
    server.id.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::BY_ITSELF;
    use crate::record::{ActKind, VERSION};

    const SERVER: &str = "MCPServer/a/s";

    fn server() -> Subject {
        SERVER.parse().expect("a server")
    }

    fn seen(id: &str, time: &str, tools: &[(&str, &str)]) -> ActRecord<'static> {
        let tools = tools.iter().map(|(tool, digest)| ((*tool).to_owned(), (*digest).to_owned())).collect();
        ActRecord {
            act: Act::Pin(Pinned { server: server(), tools }),
            actor: BY_ITSELF.into(),
            id: id.to_owned().into(),
            kind: ActKind,
            note: false,
            shared: None,
            time: time.to_owned().into(),
            version: VERSION,
            why: "first seen".into(),
        }
    }

    const EARLY: &str = "2026-11-28T23:00:00.000000Z";
    const LATE: &str = "2026-11-28T23:00:01.000000Z";

    fn digests(standing: &Standing) -> Vec<(&str, &str)> {
        standing.pins_of(&server()).map(|(tool, pin)| (tool, &*pin.digest)).collect()
    }

    #[test]
    fn what_was_seen_first_stands_in_whatever_order_it_is_heard() {
        let one = seen("1", EARLY, &[("pay", "a"), ("get", "a")]);
        let other = seen("2", LATE, &[("pay", "b"), ("new", "b")]);
        for acts in [[&one, &other], [&other, &one]] {
            let mut standing = Standing::default();
            acts.into_iter().for_each(|act| standing.apply(act));
            assert_eq!(digests(&standing), [("get", "a"), ("new", "b"), ("pay", "a")]);
            assert!(!standing.is_decided_by(&one.act));
            // Who takes over what stands stands where this one does.
            let mut again = Standing::default();
            standing.pins().for_each(|act| again.apply(&act));
            assert_eq!(digests(&again), digests(&standing));
            assert!(standing.needs(&one, 0) && standing.needs(&other, 0));
        }
    }

    #[test]
    fn a_tool_is_first_seen_once_and_of_a_server_no_more_than_there_is_room_for() {
        let mut standing = Standing::default();
        let one = seen("1", EARLY, &[("pay", "a")]);
        assert_eq!(standing.check(&one), Ok(()));
        standing.apply(&one);
        let again = standing.check(&seen("2", LATE, &[("new", "b"), ("pay", "b")]));
        assert_eq!(again, Err(Unfit::Pinned { server: server(), tool: "pay".to_owned() }));
        for number in 1..MAX_PINS {
            standing.apply(&seen("3", LATE, &[(format!("t{number}").as_str(), "a")]));
        }
        let full: Result<(), Unfit> = Err(Unfit::ManyPinned { server: server() });
        assert_eq!(standing.check(&seen("4", LATE, &[("one-more", "a")])), full);
        let other = "MCPServer/a/other".parse().expect("a server");
        assert!(!standing.has_room_for(&server(), 1) && standing.has_room_for(&other, MAX_PINS));
        let long = "x".repeat(LONGEST_PINNED + 1);
        assert_eq!(Standing::default().check(&seen("5", LATE, &[(long.as_str(), "a")])), full);
    }

    /// Attack: who registers one server after another, each with as many tools as may be, so that nobody else's are pinned any more.
    #[test]
    fn no_namespace_takes_more_room_than_it_leaves_to_all_others() {
        let mut standing = Standing::default();
        let placed = Arc::new(Placed::by(&seen("1", EARLY, &[])));
        let tools = (0..MAX_PINS)
            .map(|number| (number.to_string(), Pin { digest: "a".into(), placed: placed.clone() }));
        let pins: Arc<Pins> = Arc::new(tools.collect());
        let mut number = 0;
        let server = |namespace: &str, number: usize| -> Subject {
            format!("MCPServer/{namespace}/s{number}").parse().expect("a server")
        };
        while standing.has_room_for(&server("a", number), MAX_PINS) {
            standing.pinned.insert(server("a", number), pins.clone());
            number += 1;
        }
        assert_eq!(number * MAX_PINS, MOST_TOOLS / 2);
        assert!(standing.has_room_for(&server("b", 0), MAX_PINS));
        assert!(!standing.has_room_for(&server("a", number), 1));
    }

    /// Attack: a store that lost its list, or another one, after which a tool would be seen for the first time again.
    #[test]
    fn it_is_kept_where_the_list_of_all_begins_anew() {
        let mut standing = Standing::default();
        let one = seen("1", EARLY, &[("pay", "a")]);
        standing.apply(&one);
        assert!(standing.told_again(0).iter().any(|act| act.act == one.act));
        let agreed = super::super::agreed::Agreed { era: "e".to_owned(), lifted: Vec::new(), more: false };
        standing.apply(&ActRecord { act: Act::Agree(agreed), ..seen("2", LATE, &[]) });
        assert_eq!(digests(&standing), [("pay", "a")]);
        assert!(standing.unshared.iter().any(|act| act.act == one.act), "it is told to the others");
        let kept = serde_json::to_string(&standing).unwrap();
        assert!(kept.contains(r#""pinned":{"MCPServer/a/s":{"pay":{"digest":"a""#), "{kept}");
        assert_eq!(serde_json::from_str::<Standing>(&kept).unwrap(), standing);
    }
}
