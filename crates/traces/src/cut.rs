//! A span of which there is too much: its ids, times and names are kept, and of the rest what there is room for. A prompt that is longer than a
//! span may be is no reason to have a hole in the tree.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::kept::{MOST_ATTRIBUTES, MOST_BYTES, MOST_EVENTS};
use crate::names;
use crate::sent::{self, MOST_BESIDE, MOST_PARTS};

/// What stands behind a text that was cut takes so many bytes at most.
const MARK: usize = 32;

/// Takes from a span what is more than is kept, so that `parts` are left at most: the attributes, events and links behind the last that may be
/// there, then those with most in them, then the ends of the longest values. How many attributes are not whole any more is added to what the span
/// says of those that were dropped, as is the number of events and links. The same span is always cut in the same way.
pub(crate) fn cut(span: &mut Span, parts: usize) {
    let dropped = drop_behind(&mut span.events, MOST_EVENTS);
    span.dropped_events_count = span.dropped_events_count.saturating_add(dropped);
    let dropped = drop_behind(&mut span.links, MOST_EVENTS);
    span.dropped_links_count = span.dropped_links_count.saturating_add(dropped);
    for (attributes, count) in lists(span) {
        *count = count.saturating_add(drop_behind(attributes, MOST_ATTRIBUTES));
    }
    let mut over = sent::span(span).parts.saturating_sub(parts);
    // What the span says itself goes last.
    for (attributes, count) in lists(span).rev() {
        let freed = drop_heaviest(attributes, over, count);
        over = over.saturating_sub(freed);
    }
    let over = span.encoded_len().saturating_sub(MOST_BYTES);
    if over > 0 {
        shorten(span, over);
    }
}

/// Takes from what is said of a resource what is more than is kept with each of its spans: half of what may be kept is left then, and
/// `service.name` is among it. Whether there was more.
pub fn cut_resource(attributes: &mut Vec<KeyValue>) -> bool {
    if !sent::is_too_much(attributes.len(), sent::attributes(attributes)) {
        return false;
    }
    attributes.sort_by_key(|one| !names::SERVICE.is(one));
    drop_behind(attributes, MOST_ATTRIBUTES);
    let over = sent::attributes(attributes).parts.saturating_sub(MOST_PARTS / 2);
    drop_heaviest(attributes, over, &mut 0);
    let over = sent::attributes(attributes).bytes.saturating_sub(MOST_BESIDE / 2);
    if over > 0 {
        let longest = longest(lengths(attributes), over);
        cut_texts(attributes, longest);
    }
    true
}

/// The attributes of a span, of its events and of its links, with how many of them were dropped.
fn lists(span: &mut Span) -> impl DoubleEndedIterator<Item = (&mut Vec<KeyValue>, &mut u32)> {
    let own = std::iter::once((&mut span.attributes, &mut span.dropped_attributes_count));
    let events = span.events.iter_mut().map(|it| (&mut it.attributes, &mut it.dropped_attributes_count));
    let links = span.links.iter_mut().map(|it| (&mut it.attributes, &mut it.dropped_attributes_count));
    own.chain(events).chain(links)
}

/// Drops what is behind so many; how many these were.
fn drop_behind<T>(all: &mut Vec<T>, most: usize) -> u32 {
    let behind = all.len().saturating_sub(most);
    all.truncate(most);
    u32::try_from(behind).unwrap_or(u32::MAX)
}

/// Drops the attributes with most parts until there are so many less, or no attributes; how many less there are.
fn drop_heaviest(all: &mut Vec<KeyValue>, over: usize, count: &mut u32) -> usize {
    let mut freed = 0;
    while freed < over {
        let heaviest = all.iter().map(|one| sent::attribute(one).parts).enumerate();
        // Of several the first.
        let Some((at, parts)) = heaviest.max_by_key(|(at, parts)| (*parts, std::cmp::Reverse(*at))) else {
            break;
        };
        all.remove(at);
        *count = count.saturating_add(1);
        freed += parts;
    }
    freed
}

/// Cuts the longest values so that all together have so many bytes less, as far as they have so many.
fn shorten(span: &mut Span, over: usize) {
    let found = lists(span).flat_map(|(attributes, _)| lengths(attributes)).collect();
    let longest = longest(found, over);
    for (attributes, count) in lists(span) {
        *count = count.saturating_add(cut_texts(attributes, longest));
    }
}

/// How long the texts of attributes are.
fn lengths(attributes: &mut [KeyValue]) -> Vec<usize> {
    let mut lengths = Vec::new();
    attributes.iter_mut().for_each(|one| each_text(one, &mut |text| lengths.push(text.len())));
    lengths
}

/// Cuts texts to so many bytes; in how many of the attributes some were longer.
fn cut_texts(attributes: &mut [KeyValue], longest: usize) -> u32 {
    let mut count = 0_u32;
    for attribute in attributes {
        let mut is_cut = false;
        each_text(attribute, &mut |text| is_cut |= text.cut(longest));
        count = count.saturating_add(u32::from(is_cut));
    }
    count
}

/// How long a value may be, where values of these lengths are to have so many bytes less together.
fn longest(mut lengths: Vec<usize>, over: usize) -> usize {
    lengths.sort_unstable();
    let mut room = lengths.iter().sum::<usize>().saturating_sub(over);
    let mut left = lengths.len();
    for length in lengths {
        let share = room / left.max(1);
        if length > share {
            return share;
        }
        (room, left) = (room - length, left - 1);
    }
    usize::MAX
}

/// A value that is as long as its sender likes.
enum Text<'v> {
    Text(&'v mut String),
    Bytes(&'v mut Vec<u8>),
}

impl Text<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Cuts it to so many bytes; whether it was longer. A text says how long it was.
    fn cut(self, longest: usize) -> bool {
        let length = self.len();
        if length <= longest {
            return false;
        }
        match self {
            Self::Text(text) => {
                text.truncate(text.floor_char_boundary(longest.saturating_sub(MARK)));
                if longest >= MARK {
                    let mark = format!("… [{length} bytes]");
                    text.push_str(&mark);
                }
            }
            Self::Bytes(bytes) => bytes.truncate(longest),
        }
        true
    }
}

/// Each text of an attribute, also those in lists. How deep these are was looked at where they were read.
fn each_text(attribute: &mut KeyValue, of: &mut dyn FnMut(Text<'_>)) {
    if let Some(value) = &mut attribute.value {
        each_text_of(value, of);
    }
}

fn each_text_of(value: &mut AnyValue, of: &mut dyn FnMut(Text<'_>)) {
    match &mut value.value {
        Some(Value::StringValue(text)) => of(Text::Text(text)),
        Some(Value::BytesValue(bytes)) => of(Text::Bytes(bytes)),
        Some(Value::ArrayValue(all)) => all.values.iter_mut().for_each(|one| each_text_of(one, of)),
        Some(Value::KvlistValue(all)) => all.values.iter_mut().for_each(|one| each_text(one, of)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::ArrayValue;
    use opentelemetry_proto::tonic::trace::v1::span::Event;

    use super::*;
    use crate::names;
    use crate::sent::MOST_PARTS;

    fn text(attribute: &KeyValue) -> &str {
        match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_longest_values_are_cut_and_what_is_short_stays() {
        let prompt = "é".repeat(60_000);
        let answer = "x".repeat(30_000);
        let mut span = Span {
            name: "chat".to_owned(),
            attributes: vec![
                names::text("gen_ai.input.messages", prompt.clone()),
                names::text("gen_ai.output.messages", answer),
                names::text("gen_ai.request.model", "gpt-5"),
                names::number("gen_ai.usage.input_tokens", 7),
            ],
            ..Span::default()
        };
        let before = span.clone();
        cut(&mut span, MOST_PARTS);
        assert!(
            span.encoded_len() <= MOST_BYTES && span.encoded_len() > MOST_BYTES - 64,
            "{}",
            span.encoded_len()
        );
        assert_eq!(span.dropped_attributes_count, 1);
        assert!(text(&span.attributes[0]).ends_with("é… [120000 bytes]"));
        assert_eq!(span.attributes[1..], before.attributes[1..]);
        let mut again = before;
        cut(&mut again, MOST_PARTS);
        assert_eq!(span, again);
        // Several of one length share what there is.
        let mut span = Span {
            attributes: vec![names::text("a", "x".repeat(50_000)), names::text("b", "x".repeat(50_000))],
            events: vec![Event {
                attributes: vec![names::text("c", "x".repeat(50_000))],
                ..Event::default()
            }],
            ..Span::default()
        };
        cut(&mut span, MOST_PARTS);
        assert!(
            span.encoded_len() <= MOST_BYTES && span.encoded_len() > MOST_BYTES - 128,
            "{}",
            span.encoded_len()
        );
        assert_eq!((span.dropped_attributes_count, span.events[0].dropped_attributes_count), (2, 1));
        assert_eq!(text(&span.attributes[0]), text(&span.attributes[1]));
    }

    #[test]
    fn what_is_too_many_goes_and_is_counted() {
        let mut span = Span {
            attributes: vec![names::number("x", 1); 130],
            events: vec![Event { attributes: vec![names::number("x", 1); 129], ..Event::default() }; 129],
            dropped_attributes_count: 3,
            ..Span::default()
        };
        cut(&mut span, MOST_PARTS);
        assert!(sent::span(&span).parts <= MOST_PARTS);
        assert_eq!((span.events.len(), span.dropped_events_count), (MOST_EVENTS, 1));
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (MOST_ATTRIBUTES, 3 + 2));
        let list = ArrayValue { values: vec![AnyValue::default(); 3_000] };
        let value = Some(AnyValue { value: Some(Value::ArrayValue(list)) });
        let nested = KeyValue { key: "nested".to_owned(), value, ..KeyValue::default() };
        let mut span = Span { attributes: vec![names::text("a", "b"), nested], ..Span::default() };
        cut(&mut span, MOST_PARTS);
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (1, 1));
        assert_eq!(text(&span.attributes[0]), "b");
    }

    #[test]
    fn many_short_values_are_cut_to_nothing_where_nothing_else_helps() {
        let list = ArrayValue {
            values: (0..1_900)
                .map(|_| AnyValue { value: Some(Value::StringValue("x".repeat(40))) })
                .collect(),
        };
        let value = Some(AnyValue { value: Some(Value::ArrayValue(list)) });
        let attributes = vec![KeyValue { key: "all".to_owned(), value, ..KeyValue::default() }];
        let mut span = Span { attributes, ..Span::default() };
        assert!(span.encoded_len() > MOST_BYTES);
        cut(&mut span, MOST_PARTS);
        assert!(span.encoded_len() <= MOST_BYTES);
        assert_eq!(span.dropped_attributes_count, 1);
    }

    #[test]
    fn of_a_resource_whose_it_is_stays() {
        let name = || names::text("service.name", "planner");
        let mut few = vec![names::number("x", 1), name()];
        assert!(!cut_resource(&mut few));
        assert_eq!(few, [names::number("x", 1), name()], "as it was");
        let list = ArrayValue { values: vec![AnyValue::default(); 3_000] };
        let value = Some(AnyValue { value: Some(Value::ArrayValue(list)) });
        let nested = KeyValue { key: "nested".to_owned(), value, ..KeyValue::default() };
        let arguments = names::text("process.command_args", "x".repeat(100_000));
        let many = vec![names::number("x", 1); 200];
        for (more, left) in [(many, MOST_ATTRIBUTES), (vec![nested], 1), (vec![arguments], 2)] {
            let mut all = [more, vec![name()]].concat();
            assert!(cut_resource(&mut all));
            assert_eq!((all.len(), &all[0]), (left, &name()));
            assert!(!cut_resource(&mut all), "what is left is kept");
        }
    }

    #[test]
    fn how_long_a_value_may_be() {
        for (lengths, over, most) in [
            (vec![10, 20, 100], 30, 70),
            (vec![10, 100, 100], 60, 75 - 5),
            (vec![10, 10], 30, 0),
            (vec![10], 0, usize::MAX),
            (Vec::new(), 5, usize::MAX),
        ] {
            assert_eq!(longest(lengths.clone(), over), most, "{lengths:?} {over}");
        }
    }
}
