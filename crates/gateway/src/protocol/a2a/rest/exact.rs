//! Numbers on their way through the schema of 0.3, in which each is a double: those that a double only comes near to go round it.

use uuid::Uuid;
use vidimus_core::json::{inexact_number, numbers};

use crate::protocol::a2a::grpc::schema::Fault;
use crate::protocol::members::place;

/// Numbers that were taken out of a text.
#[derive(Debug)]
struct Exact<'a> {
    numbers: Vec<&'a str>,
    /// What stands for one begins so; its place in the list follows. Nobody knows it before, so that no text has it.
    mark: String,
}

/// What the schema makes of a JSON text, with each number as it is written there.
///
/// # Errors
/// Those of the schema.
pub fn through(json: &str, schema: impl Fn(&str) -> Result<String, Fault>) -> Result<String, Fault> {
    // Also where it is read a second time: it shows that no number stands where the schema wants a text.
    let said = schema(json)?;
    let Some((exact, marked)) = Exact::taken_out(json) else { return Ok(said) };
    let said = schema(&marked)?;
    exact.put_back(&said).ok_or_else(|| Fault::Unreadable("its numbers are not where they were".to_owned()))
}

impl<'a> Exact<'a> {
    /// A text with a mark in place of each number that would become another one; `None` where there is none.
    fn taken_out(json: &'a str) -> Option<(Self, String)> {
        let mut exact = Self { numbers: Vec::new(), mark: format!("\"{}-", Uuid::new_v4().simple()) };
        let (mut marked, mut end) = (String::new(), 0);
        for number in numbers(json.as_bytes()).filter(|number| !is_double(number)) {
            let at = place(json, number)?;
            marked.push_str(json.get(end..at.start)?);
            marked.push_str(&exact.mark);
            marked.push_str(&exact.numbers.len().to_string());
            marked.push('"');
            exact.numbers.push(number);
            end = at.end;
        }
        marked.push_str(json.get(end..)?);
        (!exact.numbers.is_empty()).then_some((exact, marked))
    }

    /// A text with the numbers in place of their marks, as far as these are still there.
    fn put_back(&self, json: &str) -> Option<String> {
        let mut pieces = json.split(&*self.mark);
        let mut out = pieces.next()?.to_owned();
        for piece in pieces {
            let (which, behind) = piece.split_once('"')?;
            out.push_str(self.numbers.get(which.parse::<usize>().ok()?)?);
            out.push_str(behind);
        }
        Some(out)
    }
}

/// Whether a double is the number that is written.
fn is_double(number: &str) -> bool {
    /// Up to here every whole number is one.
    const MOST: u64 = 1 << 53;
    match (number.parse::<i64>(), number.parse::<u64>()) {
        (Ok(whole), _) => whole.unsigned_abs() <= MOST,
        (Err(_), Ok(_)) => false,
        (Err(_), Err(_)) => inexact_number(number.as_bytes()).is_none(),
    }
}
