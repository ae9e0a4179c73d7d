//! How the source is: whether what is live is known to be all there is, and since when it is not.

use jiff::Timestamp;

/// How the source is. It says nothing of calls: what is live stays so, however long the source is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// Since when it has been so: connected, or not for this reason.
    pub since: Timestamp,
    /// Why what happens in the cluster is not heard of; `None` where it is. Of several kinds that are not heard of, the first.
    pub reason: Option<String>,
    /// When it was last known that what is live is all there is: whatever happened in the cluster until then has been heard. `None` before everything was
    /// listed for the first time. While there is no reason it is at most half a minute ago.
    pub synced: Option<Timestamp>,
    /// Whether some of what is live was kept on disk, since the cluster has not been heard whole since the start.
    pub is_kept: bool,
}

impl SourceState {
    pub(crate) fn unread() -> Self {
        let reason = Some("the cluster has not been read since the start".to_owned());
        Self { since: Timestamp::now(), reason, synced: None, is_kept: false }
    }

    /// As it is now, from what is known of each watch.
    pub(crate) fn next(&self, watches: &[Watched], now: Timestamp) -> Self {
        let unlisted = || {
            watches
                .iter()
                .find(|one| one.heard.is_none())
                .map(|one| format!("{} has not been listed yet", one.name))
        };
        let lost = watches.iter().find_map(|one| one.lost.as_ref().map(|why| format!("{}: {why}", one.name)));
        let is_kept = watches.iter().any(|one| one.is_kept);
        let reason = lost.or_else(unlisted).map(|reason| match is_kept {
            true => format!("what was kept on disk is in force, since the cluster has not been heard since the start ({reason})"),
            false => reason,
        });
        let is_same = self.reason.is_none() == reason.is_none();
        let all: Option<Vec<Timestamp>> = watches.iter().map(|one| one.heard).collect();
        Self {
            since: if is_same { self.since } else { now },
            synced: all.and_then(|all| all.into_iter().min()),
            reason,
            is_kept,
        }
    }
}

/// What is known of one watch.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// For messages: `agents.vidimus.dev`.
    pub(crate) name: String,
    /// When the API server was last heard on it; `None` before the first list.
    pub(crate) heard: Option<Timestamp>,
    /// Why it is not heard now.
    pub(crate) lost: Option<String>,
    /// What is live of it was kept on disk; `heard` is then when that was last known to be all.
    pub(crate) is_kept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn watched(heard: Option<i64>, lost: Option<&str>) -> Watched {
        Watched {
            name: "agents".to_owned(),
            heard: heard.map(at),
            lost: lost.map(str::to_owned),
            is_kept: false,
        }
    }

    #[test]
    fn all_is_known_only_as_of_the_watch_that_was_heard_least() {
        let begun = SourceState { since: at(1), ..SourceState::unread() };
        for (watches, since, reason, synced) in [
            (
                vec![watched(None, None), watched(Some(3), None)],
                1,
                Some("agents has not been listed yet"),
                None,
            ),
            (vec![watched(None, Some("403")), watched(Some(3), None)], 1, Some("agents: 403"), None),
            (vec![watched(Some(4), None), watched(Some(3), None)], 9, None, Some(3)),
            (vec![watched(Some(4), None), watched(Some(3), Some("gone"))], 1, Some("agents: gone"), Some(3)),
        ] {
            let next = begun.next(&watches, at(9));
            assert_eq!(
                next,
                SourceState {
                    since: at(since),
                    reason: reason.map(str::to_owned),
                    synced: synced.map(at),
                    is_kept: false
                }
            );
        }
        // Another reason is the same loss.
        let lost = begun.next(&[watched(Some(4), Some("a"))], at(9));
        assert_eq!(lost.next(&[watched(Some(4), Some("b"))], at(12)).since, at(1));
        assert_eq!(lost.next(&[watched(Some(12), None)], at(12)).since, at(12));
    }

    #[test]
    fn what_was_kept_is_told_and_is_as_old_as_it_was() {
        let kept = Watched { is_kept: true, ..watched(Some(3), Some("refused")) };
        let next = SourceState::unread().next(&[watched(Some(9), None), kept], at(9));
        assert!(next.is_kept);
        assert_eq!(next.synced, Some(at(3)));
        let reason = next.reason.unwrap();
        assert!(reason.contains("kept on disk") && reason.contains("agents: refused"), "{reason}");
    }
}
