//! Where in AWS Bedrock is, and how its models are named there.

use std::sync::Arc;

use super::super::problem::{At, Fault, Problems};
use super::{LlmProviderSpec, ProviderType};

/// The longest name of a region, in bytes. The longest that there is has 14.
const LONGEST: usize = 32;

pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "maxLength": LONGEST, "pattern": "^[a-z][a-z0-9-]*[a-z0-9]$"})
}

/// It stands in an address, and in what is signed.
pub(super) fn is_region(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.len() >= 2
        && !name.ends_with('-')
}

/// Where Bedrock answers for its models in a region (AWS, "Amazon Bedrock endpoints and quotas").
pub(super) fn address(region: &str) -> String {
    let of_china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://bedrock-runtime.{region}.amazonaws.com{of_china}")
}

/// Whether a name may be that of a model, an inference profile or another that is called as one: an id, or an ARN (Bedrock's `modelId`).
pub fn is_model(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:/".contains(&b))
        && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

impl LlmProviderSpec {
    /// `None` where that is wrong, and no region where there is none to have.
    pub(super) fn check_region(&self, at: At<'_>, problems: &mut Problems) -> Option<Option<Arc<str>>> {
        let fault = match (&self.region, self.type_) {
            (None, ProviderType::Bedrock) => {
                Fault::new("a provider of type bedrock needs one", "add region: eu-central-1, or where it is")
            }
            (Some(region), ProviderType::Bedrock) if is_region(region) => {
                return Some(Some(region.as_str().into()));
            }
            (Some(_), ProviderType::Bedrock) => {
                Fault::new("not the name of a region of AWS", "write it as AWS does, as in eu-central-1")
            }
            (Some(_), _) => Fault::new("only a provider of type bedrock has one", "leave it out"),
            (None, _) => return Some(None),
        };
        problems.report(at, self.region.as_deref().unwrap_or_default(), fault);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_stands_in_an_address() {
        for (name, is) in [
            ("eu-central-1", true),
            ("us-gov-west-1", true),
            ("cn-north-1", true),
            ("", false),
            ("e", false),
            ("EU-central-1", false),
            ("eu-central-1.evil.example", false),
            ("eu-central-1/", false),
            ("eu-", false),
            ("-eu", false),
            ("e\u{fc}", false),
            ("a12345678901234567890123456789012", false),
        ] {
            assert_eq!(is_region(name), is, "{name}");
        }
        assert_eq!(address("eu-central-1"), "https://bedrock-runtime.eu-central-1.amazonaws.com");
        assert_eq!(address("cn-north-1"), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn a_model_is_an_id_or_an_arn() {
        for (name, is) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", true),
            ("eu.amazon.nova-lite-v1:0", true),
            ("arn:aws:bedrock:eu-central-1:111122223333:application-inference-profile/a1b2", true),
            ("", false),
            (":x", false),
            ("a b", false),
            ("a%3A0", false),
            ("a/../b", false),
            ("a//b", false),
            ("a/", false),
            ("a?b", false),
        ] {
            assert_eq!(is_model(name), is, "{name}");
        }
    }
}
