//! Fields as they come on the wire (<https://protobuf.dev/programming-guides/encoding/>).

use prost::encoding::{WireType, decode_key, decode_varint};

use super::Fault;

/// One field, as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Field<'m> {
    pub number: u32,
    pub held: Held<'m>,
}

/// What is in it.
#[derive(Clone, Copy, Debug)]
pub enum Held<'m> {
    Varint(u64),
    Fixed32,
    Fixed64(u64),
    /// What says how long it is.
    Inside(&'m [u8]),
}

impl<'m> Field<'m> {
    /// The first field of what is left of a message.
    ///
    /// # Errors
    /// For what is none, and for a group.
    pub fn next(message: &mut &'m [u8]) -> Result<Self, Fault> {
        let unreadable = |error: prost::DecodeError| Fault::Unreadable(error.to_string());
        let cut = || Fault::Unreadable("it ends within a field".to_owned());
        let (number, kind) = decode_key(message).map_err(unreadable)?;
        let held = match kind {
            WireType::Varint => Held::Varint(decode_varint(message).map_err(unreadable)?),
            WireType::ThirtyTwoBit => {
                *message = message.split_at_checked(4).ok_or_else(cut)?.1;
                Held::Fixed32
            }
            WireType::SixtyFourBit => {
                let (bytes, rest) = message.split_first_chunk::<8>().ok_or_else(cut)?;
                *message = rest;
                Held::Fixed64(u64::from_le_bytes(*bytes))
            }
            WireType::LengthDelimited => {
                let length =
                    usize::try_from(decode_varint(message).map_err(unreadable)?).map_err(|_| cut())?;
                let (inside, rest) = message.split_at_checked(length).ok_or_else(cut)?;
                *message = rest;
                Held::Inside(inside)
            }
            WireType::StartGroup | WireType::EndGroup => {
                return Err(Fault::Unreadable("it has a group in it".to_owned()));
            }
        };
        Ok(Self { number, held })
    }

    /// What a field that says how long it is has in it.
    pub fn inside(&self) -> Option<&'m [u8]> {
        match self.held {
            Held::Inside(inside) => Some(inside),
            Held::Varint(_) | Held::Fixed32 | Held::Fixed64(_) => None,
        }
    }
}
