//! Suggested policies as objects.

use std::fmt::Write as _;

use vidimus_core::resource::API_VERSION;

use super::SuggestedPolicy;

/// One YAML document for each.
pub fn yaml(policies: &[SuggestedPolicy]) -> String {
    let mut text = String::new();
    for (number, policy) in policies.iter().enumerate() {
        let SuggestedPolicy { namespace, name, description, cedar, .. } = policy;
        if number > 0 {
            text.push_str("---\n");
        }
        // Writing to a string does not fail. A text of JSON is one of YAML.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let _ = writeln!(text, "apiVersion: {API_VERSION}\nkind: Policy");
        let _ = writeln!(text, "metadata: {{name: {}, namespace: {}}}", quoted(name), quoted(namespace));
        let _ = writeln!(text, "spec:\n  description: {}\n  cedar: |", quoted(description));
        for line in cedar.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
