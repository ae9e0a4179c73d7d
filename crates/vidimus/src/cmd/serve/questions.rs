//! What people are asked, as it is shown: at the admin address, and in what a webhook is told.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, UNIX_EPOCH};

use vidimus_core::approval::happened::Mark;
use vidimus_core::approval::pending::{Approvals, Pending};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{Shared, millis, rfc3339};
use vidimus_query::approvals::{Approval, Denied, Given, Made};

use crate::clock::SystemClock;

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> i64 {
    millis(SystemClock.now().wall).0
}

/// What tells questions from those in which something has happened since. It is the same after a restart.
pub(super) fn revision(approvals: &Approvals, now: i64) -> String {
    let mut all = DefaultHasher::new();
    for pending in approvals.all() {
        pending.question.approval.hash(&mut all);
        Mark::of(pending, now).hash(&mut all);
    }
    format!("{:016x}", all.finish())
}

/// RFC 3339 UTC.
pub(super) fn time(millis: i64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
}

/// All that an approver sees of one.
pub(super) fn described(shared: &Shared, pending: &Pending, now: i64) -> Approval {
    let question = &pending.question;
    let (arguments, shown) = shared.questions.shown(question);
    let given = pending.votes.iter().map(|vote| Given {
        by: vote.by.clone(),
        escalation: vote.escalation.clone(),
        role: vote.role.clone(),
        time: time(vote.at),
        why: vote.why.clone(),
    });
    let denied = pending.denied.as_ref().map(|denial| Denied {
        by: denial.by.clone(),
        time: time(denial.at),
        why: denial.why.clone(),
    });
    let made = pending.uses.iter().map(|made| Made {
        call: made.call.clone(),
        result: made.result.clone().unwrap_or_else(|| "unknown".to_owned()),
    });
    Approval {
        arguments: arguments.map(|text| text.to_string()),
        escalated: pending.escalated(now).into_iter().map(str::to_owned).collect(),
        changed: pending.changed.clone(),
        denied,
        given: given.collect(),
        // Where its caller tried again it is known here too.
        held_at: pending.held_at.clone().filter(|_| shown.is_none()),
        made: made.collect(),
        question: question.clone(),
        shown,
        state: pending.state_at(now).as_str().to_owned(),
        until: time(question.until),
    }
}
