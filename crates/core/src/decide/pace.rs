//! How often what a policy says may change by the time alone, without anything else changing.

use cedar_policy::pst::{Clause, Expr, Template};

use super::chain_reads::passes_whole;
use super::tree;
use crate::caller::UnixMillis;

/// When a policy that looks at the time by itself is looked at again. Its window is not meant, of which the times are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// At each full minute: it looks at the clock, or at the age of the chain.
    Minute,
    /// At each full hour (UTC): it looks at the hour or the day of the week, and at nothing that changes more often.
    Hour,
}

impl Pace {
    /// Of a policy; `None` where it does not look at the time. Careful: more often where in doubt.
    pub(crate) fn of_policy(body: &Template) -> Option<Self> {
        let mut pace = None;
        for clause in body.clauses() {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            tree::walk(condition, &mut |expr| pace = Self::quicker(pace, Self::of_expression(expr)));
        }
        pace
    }

    fn of_expression(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::GetAttr { attr, .. } => Self::of_attribute(attr),
            Expr::HasAttr { attrs, .. } => attrs.iter().filter_map(|attr| Self::of_attribute(attr)).min(),
            _ => passes_whole(expr).then_some(Self::Minute),
        }
    }

    /// By its name alone: no other attribute of the schema has one of these.
    fn of_attribute(name: &str) -> Option<Self> {
        match name {
            "now" | "age" => Some(Self::Minute),
            "hour" | "weekday" => Some(Self::Hour),
            _ => None,
        }
    }

    /// That of both together.
    pub(crate) fn quicker(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).min()
    }

    /// The first time after this one at which it is looked at again.
    pub(crate) fn next(self, UnixMillis(after): UnixMillis) -> Option<UnixMillis> {
        let every = match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        };
        after.checked_add(every - after.rem_euclid(every)).map(UnixMillis)
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    #[test]
    fn what_looks_at_the_time_is_known() {
        use Pace::{Hour, Minute};
        for (condition, pace) in [
            ("context.chain.depth > 1 && principal.team == \"now\"", None),
            ("context.hour < 9", Some(Hour)),
            ("[\"sunday\"].contains(context.weekday) || context.hour >= 18", Some(Hour)),
            ("context.hour < 9 && context.now < datetime(\"2026-12-01\")", Some(Minute)),
            ("context.now.toTime() < duration(\"16h30m\")", Some(Minute)),
            ("false && context.now < datetime(\"2026-12-01\")", Some(Minute)),
            ("context.chain.age > duration(\"1h\")", Some(Minute)),
            ("(if context.chain.cycle then context else context).hour > 1", Some(Minute)),
            ("context == context", Some(Minute)),
        ] {
            let text = format!("forbid (principal, action, resource) unless {{ {condition} }};");
            let pst = Policy::parse(None, text).unwrap().to_pst().unwrap();
            assert_eq!(Pace::of_policy(pst.body()), pace, "{condition}");
        }
    }

    #[test]
    fn full_minutes_and_hours_come_after_the_present() {
        const HOUR: i64 = 3_600_000;
        for (pace, after, next) in [
            (Pace::Minute, 0, 60_000),
            (Pace::Minute, 59_999, 60_000),
            (Pace::Minute, 60_000, 120_000),
            (Pace::Minute, -1, 0),
            (Pace::Hour, 1, HOUR),
            (Pace::Hour, HOUR, 2 * HOUR),
        ] {
            assert_eq!(pace.next(UnixMillis(after)), Some(UnixMillis(next)), "{pace:?} {after}");
        }
        assert_eq!(Pace::Minute.next(UnixMillis(i64::MAX)), None);
    }
}
