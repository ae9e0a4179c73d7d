//! The list of acts that gateways agree on: each is added by who knows all before it, so what one may do only once is done once (ADR 38).

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, Script};
use vidimus_core::record::ActRecord;
use vidimus_core::standing::agreed::Agreement;

/// How far the list is; also the channel on which gateways hear of a new act.
pub const ACTS: &str = "{vidimus}:acts";
const LIST: &str = "{vidimus}:acts:list";

/// What to do where an act in the list is not one that this gateway can take over.
pub const BEGIN_ANEW: &str = "bring all gateways to one version; where no gateway did it, delete {vidimus}:acts and {vidimus}:acts:list in the store, which \
     begin anew with what gateways refuse and what is asked";

/// How many are read at once.
const PAGE: usize = 512;

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("acts_read.lua")));
static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("acts_append.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("acts_renew.lua")));
static SHORTEN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("acts_shorten.lua")));

/// An act of the list, with its number.
pub type Numbered = (u64, ActRecord<'static>);

/// How far the list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub era: String,
    /// The id of the last act; empty where there is none.
    pub last: String,
    /// The number of that.
    pub number: u64,
    /// Below this number acts may have been taken out.
    pub floor: u64,
}

/// The list from a number on, whole; `None` where there is no list.
pub async fn read(
    connection: &mut MultiplexedConnection,
    mut from: u64,
) -> RedisResult<Option<(Head, Vec<Numbered>)>> {
    let mut all = Vec::new();
    let mut begun: Option<String> = None;
    loop {
        let mut script = READ.prepare_invoke();
        script.key(ACTS).key(LIST).arg(from).arg(PAGE);
        let found: Vec<String> = script.invoke_async(connection).await?;
        let [era, last, number, floor, entries @ ..] = found.as_slice() else { return Ok(None) };
        let head = Head {
            era: era.clone(),
            last: last.clone(),
            number: number.parse().map_err(|_| foreign())?,
            floor: floor.parse().map_err(|_| foreign())?,
        };
        // It may begin anew between two pages: then it is read anew.
        if *begun.get_or_insert_with(|| head.era.clone()) != head.era {
            return Err(RedisError::from((
                ErrorKind::Client,
                "the list of acts began anew while it was read",
            )));
        }
        for entry in entries.chunks(2) {
            let [id, act] = entry else { return Err(foreign()) };
            let number: u64 =
                id.strip_suffix("-0").and_then(|number| number.parse().ok()).ok_or_else(foreign)?;
            all.push((number, serde_json::from_str(act).map_err(|error| unread(number, &error))?));
            from = number + 1;
        }
        if entries.len() < PAGE * 2 {
            return Ok(Some((head, all)));
        }
    }
}

/// Adds acts, all or none, which were checked against all that is `known`; the number of the first, or `None` where there is more than that.
pub async fn append(
    connection: &mut MultiplexedConnection,
    known: &Agreement,
    acts: &[ActRecord<'_>],
) -> RedisResult<Option<u64>> {
    let mut script = APPEND.prepare_invoke();
    script.key(ACTS).key(LIST).arg(&known.era).arg(&known.last);
    for act in acts {
        script.arg(json(act)?).arg(&*act.id);
    }
    let number: u64 = script.invoke_async(connection).await?;
    Ok((number > 0).then_some(number))
}

/// Has the list begin anew with `acts`, where it is still at `head`; whether it does.
pub async fn renew(
    connection: &mut MultiplexedConnection,
    head: Option<&Head>,
    era: &str,
    acts: &[ActRecord<'_>],
) -> RedisResult<bool> {
    let mut script = RENEW.prepare_invoke();
    script.key(ACTS).key(LIST);
    script.arg(head.map_or("", |head| &head.era)).arg(head.map_or("", |head| &head.last)).arg(era);
    for act in acts {
        script.arg(json(act)?).arg(&*act.id);
    }
    let renewed: u8 = script.invoke_async(connection).await?;
    Ok(renewed == 1)
}

/// Takes acts out of the list of an era; all below `floor` were looked at.
pub async fn shorten(
    connection: &mut MultiplexedConnection,
    era: &str,
    floor: u64,
    numbers: &[u64],
) -> RedisResult<()> {
    let mut script = SHORTEN.prepare_invoke();
    script.key(ACTS).key(LIST).arg(era).arg(floor);
    for number in numbers {
        script.arg(number);
    }
    script.invoke_async::<u8>(connection).await.map(drop)
}

fn json(act: &ActRecord<'_>) -> RedisResult<String> {
    serde_json::to_string(act).map_err(|_| foreign())
}

/// An act of the list is not understood: what it would refuse is not known, so nothing goes on without it.
fn unread(number: u64, error: &serde_json::Error) -> RedisError {
    let detail = format!("number {number} of {ACTS}: {error}; {BEGIN_ANEW}");
    RedisError::from((ErrorKind::Parse, "an act in the store is not understood", detail))
}

/// What is there is not what a gateway wrote, or not one of this version.
fn foreign() -> RedisError {
    RedisError::from((ErrorKind::Parse, "the list of acts in the store is not understood"))
}
