//! Why nobody answered a call of a model in place of its own provider, although that names others (`spec.failover`): said where the call fails.

use std::borrow::Cow;

use vidimus_core::decision::PassedOver;
use vidimus_core::refusal::{Code, Refusal};

/// The refusal of a call that may have gone elsewhere, with those that were not asked. What policies keep from the caller is counted, and not named:
/// the record of the decision has the names.
pub(super) fn told(refusal: Refusal, passed_over: &[PassedOver], unasked: &[String]) -> Refusal {
    // After these another one is asked, if there is one.
    let is_passed_on = matches!(
        refusal.code,
        Code::UpstreamUnreachable
            | Code::CredentialUnavailable
            | Code::CredentialRefused
            | Code::NoEquivalent
    );
    if !is_passed_on || passed_over.is_empty() && unasked.is_empty() {
        return refusal;
    }
    let mut others: Vec<Cow<'_, str>> = unasked.iter().map(Into::into).collect();
    let is_told = |one: &&PassedOver| one.is_told();
    others.extend(
        passed_over.iter().filter(is_told).map(|one| format!("{} ({})", one.provider, one.why).into()),
    );
    match passed_over.iter().filter(|one| !one.is_told()).count() {
        0 => {}
        1 => others.push("one that policies keep from you".into()),
        several => others.push(format!("{several} that policies keep from you").into()),
    }
    let message = format!("{}; not asked in its place: {}", refusal.message, others.join(", "));
    Refusal { message: message.into(), ..refusal }
}

#[cfg(test)]
mod tests {
    use vidimus_core::decision::Why;

    use super::*;

    #[test]
    fn what_policies_keep_from_the_caller_is_not_named() {
        let one = |provider: &str, why| PassedOver { provider: provider.into(), why };
        let all = [
            one("t/other", Why::NoModel("m".into())),
            one("t/secret", Why::Decided(Code::NoPermit)),
            one("t/hidden", Why::Unseen("m".into())),
        ];
        let refused = |code| Refusal::new(code, "no");
        let told_of = |count: usize, unasked: &[String]| {
            told(refused(Code::UpstreamUnreachable), all.get(..count).unwrap_or_default(), unasked)
                .message
                .into_owned()
        };
        assert_eq!(told_of(0, &[]), "no");
        let unasked = ["t/third (\"seed\" has no equivalent)".to_owned()];
        assert_eq!(told_of(0, &unasked), "no; not asked in its place: t/third (\"seed\" has no equivalent)");
        let other = "t/other (it has no model or alias \"m\")";
        assert_eq!(told_of(1, &[]), format!("no; not asked in its place: {other}"));
        assert_eq!(
            told_of(2, &[]),
            format!("no; not asked in its place: {other}, one that policies keep from you")
        );
        assert_eq!(
            told_of(3, &[]),
            format!("no; not asked in its place: {other}, 2 that policies keep from you")
        );
        // After what may have been carried out nobody else is asked.
        assert_eq!(told(refused(Code::UpstreamInterrupted), &all, &unasked).message, "no");
    }
}
