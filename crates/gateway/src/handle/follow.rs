//! A stream that is to tell of several things tells of those that its caller may follow, as a listing has those entries that its caller may use.

use std::sync::Arc;

use vidimus_core::call::Call;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use crate::followed::Followed;
use crate::protocol::Parsed;
use crate::protocol::mcp::listen::{RESOURCES, TASKS};
use crate::protocol::members::{Replaced, quoted};

const NONE: &str = "none of the resources and tasks that this names may be followed in one stream";
const NEXT: &str = "Listen to one of them by itself: its refusal says why. What a policy holds, changes, counts or keeps is followed by a stream of its own.";

/// Leaves in the message what its caller may follow; where that is nothing, it has a fault.
pub(super) fn permitted(
    world: &Snapshot,
    (call, message): (&Call<'_>, Option<&Json<'_>>),
    parsed: &mut Parsed<'_>,
) -> Arc<[Followed]> {
    let all = std::mem::take(&mut parsed.followed);
    if all.is_empty() {
        return Arc::default();
    }
    let destination = call.ask.target.destination();
    let is_permitted = |one: &Followed| one.is_permitted(world, &destination, call);
    let followed: Arc<[Followed]> = all.into_iter().filter(is_permitted).collect();
    if followed.is_empty() {
        parsed.fault = Some(Box::new(Refusal::new(Code::NoPermit, NONE).with_next(NEXT)));
        return followed;
    }
    for (path, is_of_tasks) in [(RESOURCES, false), (TASKS, true)] {
        let list = message.and_then(|message| path.iter().try_fold(message, |json, name| json.get(name)));
        if list.is_some() {
            let of_list = |one: &&Followed| matches!(one, Followed::Task { .. }) == is_of_tasks;
            let names: Vec<String> = followed.iter().filter(of_list).map(|one| quoted(one.name())).collect();
            parsed.replaced.push(Replaced { path, with: format!("[{}]", names.join(",")) });
        }
    }
    followed
}
