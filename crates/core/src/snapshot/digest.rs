//! The digest of a configuration.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::resource::{Meta, Object, Origin, Policy};

/// `sha256:` and hex over the objects' own digests, sorted; where an object came from does not count.
///
/// An object is digested in its `Debug` form: it lists every field, in order, and all its maps are sorted. The form may change
/// with a version of Vidimus; a digest says "the same configuration in the same version". `held` are the policies of which only
/// the forbids are in force.
pub(crate) fn digest<'a>(objects: &[Object], held: impl Iterator<Item = &'a Arc<Policy>>) -> String {
    let objects = objects.iter().map(text);
    let held = held.map(|policy| format!("held {}", text(&Object::Policy(policy.clone()))));
    let mut each: Vec<[u8; 32]> = objects.chain(held).map(|text| Sha256::digest(text).into()).collect();
    each.sort_unstable();
    let mut whole = Sha256::new();
    for one in &each {
        whole.update(one);
    }
    let mut text = "sha256:".to_owned();
    for byte in whole.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn text(object: &Object) -> String {
    fn without_origin<T: Clone + std::fmt::Debug>(value: &T, meta: impl Fn(&mut T) -> &mut Meta) -> String {
        let mut value = value.clone();
        meta(&mut value).origin = Origin::default();
        format!("{value:?}")
    }
    match object {
        Object::Agent(agent) => format!("Agent {}", without_origin(&**agent, |o| &mut o.meta)),
        Object::McpServer(server) => format!("MCPServer {}", without_origin(&**server, |o| &mut o.meta)),
        Object::LlmProvider(provider) => {
            format!("LLMProvider {}", without_origin(&**provider, |o| &mut o.meta))
        }
        Object::Service(service) => {
            format!("ServiceIdentity {}", without_origin(&**service, |o| &mut o.meta))
        }
        Object::Policy(policy) => format!("Policy {}", without_origin(&**policy, |o| &mut o.meta)),
    }
}
