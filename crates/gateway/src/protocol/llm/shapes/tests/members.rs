//! That nothing of a request is left out: whatever stands in it stands in what goes on, or it is refused.

use super::requests::conversation;
use super::*;

/// The pointers to every value of a document.
fn pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                pointers(value, format!("{at}/{name}"), out);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
    out.push(at);
}

/// Attack: a member that one reader drops and another heeds. One more is put into every object, and every text and number is another one.
#[test]
fn what_stands_in_a_request_goes_on_or_is_refused() {
    const TEXT: &str = "a-mark-of-its-own";
    const NUMBER: u64 = 7_654_321;
    let mut looked = 0;
    for client in SHAPES {
        let whole = conversation(client);
        let mut all = Vec::new();
        pointers(&whole, String::new(), &mut all);
        for to in PROVIDERS.into_iter().filter(|to| *to != client) {
            for at in &all {
                let mut changed = whole.clone();
                let mark = match changed.pointer_mut(at).expect("there") {
                    Value::Object(members) => {
                        members.insert("unheard_of".to_owned(), TEXT.into());
                        TEXT.to_owned()
                    }
                    Value::Array(items) => {
                        items.push(TEXT.into());
                        TEXT.to_owned()
                    }
                    value @ Value::String(_) => {
                        *value = TEXT.into();
                        TEXT.to_owned()
                    }
                    value @ Value::Number(_) => {
                        *value = NUMBER.into();
                        NUMBER.to_string()
                    }
                    _ => continue,
                };
                looked += 1;
                // The name of the model is what was decided, and not what the request says.
                if at == "/model" {
                    continue;
                }
                if let Ok((_, body)) = gone(client, &provider_of(to), &changed) {
                    assert!(body.to_string().contains(&mark), "{client:?} to {to:?} lost {at}: {body}");
                }
            }
        }
    }
    assert!(looked > 200, "{looked}");
}

/// Every member of what is asked at the top is taken out of the request in turn: what is left goes on, so the refusals above are of the member.
#[test]
fn each_member_can_be_left_out() {
    for client in SHAPES {
        let whole = conversation(client);
        for name in whole.as_object().expect("an object").keys() {
            let mut less = whole.clone();
            less.as_object_mut().expect("an object").remove(name);
            for to in PROVIDERS.into_iter().filter(|to| *to != client) {
                assert!(gone(client, &provider_of(to), &less).is_ok(), "{client:?} to {to:?} without {name}");
            }
        }
    }
}
