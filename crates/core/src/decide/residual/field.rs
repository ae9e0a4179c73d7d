//! The attributes of `context`, as policies name them.

use std::borrow::Cow;

use super::Expression;
use super::evaluate::{DAY, Failed};
use super::value::{Constant, Entity, Net, Set, Value};
use crate::call::{Arguments, Call, SentParts, Target};
use crate::decide::deciding::Deciding;
use crate::entity::EntityId;

/// In milliseconds, as [`DAY`].
const HOUR: i64 = 3_600_000;

/// One attribute of the context, by its path below `context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Method,
    DelegationDepth,
    OnBehalfOf,
    UserIssuer,
    UserSubject,
    UserEmail,
    ApprovalRole,
    ApprovedBy,
    ApproverIssuer,
    ApproverSubject,
    ApproverEmail,
    ApprovedAt,
    ChainDepth,
    ChainFanOut,
    ChainCalls,
    ChainTokens,
    ChainSpend,
    ChainAge,
    ChainCycle,
    ChainAgents,
    Labels,
    Now,
    Weekday,
    Hour,
    SourceIp,
    Transaction,
    Identity,
    InstanceId,
    InstanceKind,
    InstanceName,
    InstanceNode,
    Args,
    Numbers,
    Limits,
    CallDigest,
    TokensEstimated,
    Streaming,
    PushUrl,
    PartsMediaTypes,
    PartsLargest,
    PartsBytes,
    Guarded,
}

impl Field {
    /// The field at a path below `context`.
    pub(crate) fn at(names: &[&str]) -> Option<Self> {
        Some(match names {
            ["method"] => Self::Method,
            ["delegation_depth"] => Self::DelegationDepth,
            ["on_behalf_of"] => Self::OnBehalfOf,
            ["on_behalf_of", "issuer"] => Self::UserIssuer,
            ["on_behalf_of", "subject"] => Self::UserSubject,
            ["on_behalf_of", "email"] => Self::UserEmail,
            ["approval", "role"] => Self::ApprovalRole,
            ["approval", "by"] => Self::ApprovedBy,
            ["approval", "by", "issuer"] => Self::ApproverIssuer,
            ["approval", "by", "subject"] => Self::ApproverSubject,
            ["approval", "by", "email"] => Self::ApproverEmail,
            ["approval", "at"] => Self::ApprovedAt,
            ["chain", "depth"] => Self::ChainDepth,
            ["chain", "fan_out"] => Self::ChainFanOut,
            ["chain", "calls"] => Self::ChainCalls,
            ["chain", "tokens"] => Self::ChainTokens,
            ["chain", "spend"] => Self::ChainSpend,
            ["chain", "age"] => Self::ChainAge,
            ["chain", "cycle"] => Self::ChainCycle,
            ["chain", "agents"] => Self::ChainAgents,
            ["labels"] => Self::Labels,
            ["now"] => Self::Now,
            ["weekday"] => Self::Weekday,
            ["hour"] => Self::Hour,
            ["source_ip"] => Self::SourceIp,
            ["transaction"] => Self::Transaction,
            ["identity"] => Self::Identity,
            ["instance", "id"] => Self::InstanceId,
            ["instance", "kind"] => Self::InstanceKind,
            ["instance", "name"] => Self::InstanceName,
            ["instance", "node"] => Self::InstanceNode,
            ["args"] => Self::Args,
            ["numbers"] => Self::Numbers,
            ["limits"] => Self::Limits,
            ["call_digest"] => Self::CallDigest,
            ["tokens_estimated"] => Self::TokensEstimated,
            ["streaming"] => Self::Streaming,
            ["push_notification_url"] => Self::PushUrl,
            ["parts", "media_types"] => Self::PartsMediaTypes,
            ["parts", "largest"] => Self::PartsLargest,
            ["parts", "bytes"] => Self::PartsBytes,
            ["guarded"] => Self::Guarded,
            _ => return None,
        })
    }

    pub(crate) fn compile(names: &[&str]) -> Option<Expression> {
        Self::at(names).map(Expression::Field)
    }

    /// The value on a call.
    ///
    /// # Errors
    /// An optional attribute that the call does not have.
    pub(crate) fn read<'a>(self, call: &Deciding<'a>) -> Result<Value<'a>, Failed> {
        let chain = call.chain();
        let user = || call.user().ok_or(Failed::Evaluation);
        let approval = || call.approval().ok_or(Failed::Evaluation);
        let instance = || call.instance().ok_or(Failed::Evaluation);
        let parts = || SentParts::of(&call.ask.content).ok_or(Failed::Evaluation);
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        Ok(match self {
            Self::Method => text(call.ask.method),
            Self::DelegationDepth | Self::ChainDepth => Value::Long(chain.depth()),
            Self::OnBehalfOf => Value::Entity(Entity::User(user()?)),
            Self::UserIssuer => text(&user()?.issuer),
            Self::UserSubject => text(&user()?.subject),
            Self::UserEmail => text(user()?.email.as_deref().ok_or(Failed::Evaluation)?),
            Self::ApprovalRole => text(&approval()?.role),
            Self::ApprovedBy => Value::Entity(Entity::User(&approval()?.by)),
            Self::ApproverIssuer => text(&approval()?.by.issuer),
            Self::ApproverSubject => text(&approval()?.by.subject),
            Self::ApproverEmail => text(approval()?.by.email.as_deref().ok_or(Failed::Evaluation)?),
            Self::ApprovedAt => Value::Datetime(approval()?.at.0),
            Self::ChainFanOut => Value::Long(call.so_far.fan_out),
            Self::ChainCalls => Value::Long(call.so_far.calls),
            Self::ChainTokens => Value::Long(call.chain_tokens()),
            Self::ChainSpend => Value::Long(call.chain_spend()),
            Self::ChainAge => Value::Duration(call.chain_age()),
            Self::ChainCycle => Value::Bool(cycle(call)),
            Self::ChainAgents => Value::Set(Set::Agents(&chain.actors)),
            Self::Labels => Value::Set(Set::Labels(&call.so_far.labels)),
            Self::Now => Value::Datetime(call.now.0),
            Self::Weekday => text(weekday(call)),
            Self::Hour => Value::Long(hour(call)),
            Self::SourceIp => Value::Ip(Net::single(call.source_ip.ok_or(Failed::Evaluation)?)),
            Self::Transaction => text(&chain.transaction),
            Self::Identity => text(call.identity()),
            Self::InstanceId => text(&instance()?.id),
            Self::InstanceKind => text(instance()?.kind.as_str()),
            Self::InstanceName => text(instance()?.name.as_deref().ok_or(Failed::Evaluation)?),
            Self::InstanceNode => text(instance()?.node.as_deref().ok_or(Failed::Evaluation)?),
            Self::Args => Value::Entity(Entity::Arguments),
            Self::Numbers => Value::Entity(Entity::Numbers),
            Self::Limits => Value::Entity(Entity::Limits),
            Self::CallDigest => text(call.step().ok_or(Failed::Evaluation)?),
            Self::TokensEstimated => Value::Long(call.ask.tokens_estimated),
            Self::Streaming => Value::Bool(call.ask.streaming),
            Self::PushUrl => text(call.ask.push_url.ok_or(Failed::Evaluation)?),
            Self::PartsMediaTypes => {
                Value::Set(Set::Values(parts()?.media_types.into_iter().map(Value::Text).collect()))
            }
            Self::PartsLargest => Value::Long(parts()?.largest),
            Self::PartsBytes => Value::Long(parts()?.bytes),
            Self::Guarded => {
                let names = call.ask.guarded.lifting().map(|name| Value::Text(Cow::Borrowed(name)));
                let recorded = match call.ask.arguments {
                    Arguments::Recorded(recorded) => recorded.passed_guards(),
                    Arguments::None | Arguments::Known(_) | Arguments::Unknown => Vec::new(),
                };
                let recorded = recorded.into_iter().map(|name| Value::Text(Cow::Owned(name)));
                Value::Set(Set::Values(names.chain(recorded).collect()))
            }
        })
    }
}

/// The day of the week of the call, in UTC.
pub(crate) fn weekday(call: &Call<'_>) -> &'static str {
    match call.now.0.div_euclid(DAY).rem_euclid(7) {
        // The epoch was a Thursday.
        0 => "thursday",
        1 => "friday",
        2 => "saturday",
        3 => "sunday",
        4 => "monday",
        5 => "tuesday",
        _ => "wednesday",
    }
}

/// The hour of the call, 0 to 23, in UTC.
pub(crate) fn hour(call: &Call<'_>) -> i64 {
    call.now.0.rem_euclid(DAY) / HOUR
}

/// Whether the caller acted in this chain before, or the agent that is called did, or is the caller itself.
pub(crate) fn cycle(call: &Call<'_>) -> bool {
    let caller = call.principal().entity();
    let acted = |who: &EntityId| call.chain().actors.contains(who);
    let called = match &call.ask.target {
        Target::Agent(agent) | Target::Skill { agent, .. } => Some(&agent.id),
        _ => None,
    };
    acted(caller) || called.is_some_and(|called| called == caller || acted(called))
}

/// A `has` test on the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// `context has on_behalf_of`
    User,
    /// `context has on_behalf_of.email`
    UserEmail,
    /// `context.on_behalf_of has email`: fails without a user.
    EmailOfUser,
    /// `context has source_ip`
    SourceIp,
    /// `context has push_notification_url`
    PushUrl,
    /// `context has parts`
    Parts,
    /// `context has approval`
    Approval,
    /// `context has approval.by.email`
    ApproverEmail,
    /// `context.approval.by has email`: fails without an approval.
    EmailOfApprover,
    /// `context has instance`
    Instance,
    /// `context has instance.name`
    InstanceName,
    /// `context has instance.node`
    InstanceNode,
    /// `context.instance has name`: fails without an instance.
    NameOfInstance,
    /// `context.instance has node`: fails without an instance.
    NodeOfInstance,
}

impl Presence {
    /// `context.<base> has <attrs>`.
    pub(crate) fn compile(base: &[&str], attrs: &[&str]) -> Option<Expression> {
        let known = |value: bool| Some(Expression::Constant(Constant::Bool(value)));
        match (base, attrs) {
            ([], ["on_behalf_of", rest @ ..]) => match rest {
                [] | ["issuer" | "subject"] => Some(Expression::Has(Self::User)),
                ["email"] => Some(Expression::Has(Self::UserEmail)),
                _ => None,
            },
            ([], ["source_ip"]) => Some(Expression::Has(Self::SourceIp)),
            ([], ["push_notification_url"]) => Some(Expression::Has(Self::PushUrl)),
            ([], ["parts"] | ["parts", "media_types" | "largest" | "bytes"]) => {
                Some(Expression::Has(Self::Parts))
            }
            ([], ["approval", rest @ ..]) => match rest {
                [] | ["role" | "at" | "by"] | ["by", "issuer" | "subject"] => {
                    Some(Expression::Has(Self::Approval))
                }
                ["by", "email"] => Some(Expression::Has(Self::ApproverEmail)),
                _ => None,
            },
            ([], ["instance", rest @ ..]) => match rest {
                [] | ["id" | "kind"] => Some(Expression::Has(Self::Instance)),
                ["name"] => Some(Expression::Has(Self::InstanceName)),
                ["node"] => Some(Expression::Has(Self::InstanceNode)),
                _ => None,
            },
            (["instance"], ["name"]) => Some(Expression::Has(Self::NameOfInstance)),
            (["instance"], ["node"]) => Some(Expression::Has(Self::NodeOfInstance)),
            (["approval", "by"], ["email"]) => Some(Expression::Has(Self::EmailOfApprover)),
            (["on_behalf_of"], ["email"]) => Some(Expression::Has(Self::EmailOfUser)),
            // What every context of the action's type has; Cedar's schema has no other optional attribute.
            ([], names) => Field::at(names).and_then(|field| match field {
                Field::Args | Field::Numbers | Field::CallDigest => None,
                Field::TokensEstimated | Field::Streaming => None,
                _ => known(true),
            }),
            _ => None,
        }
    }

    pub(crate) fn read(self, call: &Call<'_>) -> Result<bool, Failed> {
        let email = || call.user().map(|user| user.email.is_some());
        let of_approver = || call.approval().map(|approval| approval.by.email.is_some());
        let name = || call.instance().map(|instance| instance.name.is_some());
        let node = || call.instance().map(|instance| instance.node.is_some());
        match self {
            Self::User => Ok(call.user().is_some()),
            Self::UserEmail => Ok(email().unwrap_or(false)),
            Self::EmailOfUser => email().ok_or(Failed::Evaluation),
            Self::SourceIp => Ok(call.source_ip.is_some()),
            Self::PushUrl => Ok(call.ask.push_url.is_some()),
            Self::Parts => Ok(SentParts::of(&call.ask.content).is_some()),
            Self::Approval => Ok(call.approval().is_some()),
            Self::ApproverEmail => Ok(of_approver().unwrap_or(false)),
            Self::EmailOfApprover => of_approver().ok_or(Failed::Evaluation),
            Self::Instance => Ok(call.instance().is_some()),
            Self::InstanceName => Ok(name().unwrap_or(false)),
            Self::InstanceNode => Ok(node().unwrap_or(false)),
            Self::NameOfInstance => name().ok_or(Failed::Evaluation),
            Self::NodeOfInstance => node().ok_or(Failed::Evaluation),
        }
    }
}
