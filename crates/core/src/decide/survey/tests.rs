use cedar_policy::Policy;

use super::*;

/// What is left of a policy: whether it is sure to succeed, and whether it is satisfied wherever nobody has approved.
#[test]
fn what_is_known_of_a_condition() {
    let none = "!(context has approval)";
    for (clauses, certain, unless_approved) in [
        ("when { context.chain.cycle }".to_owned(), true, false),
        ("unless { context.chain.cycle }".to_owned(), true, false),
        ("when { context.args.hasTag(\"/a\") }".to_owned(), false, false),
        ("when { context.chain.depth + 1 > 2 }".to_owned(), false, false),
        ("when { true }".to_owned(), true, true),
        ("when { false }".to_owned(), true, false),
        ("unless { true }".to_owned(), true, false),
        ("unless { false }".to_owned(), true, true),
        (format!("when {{ {none} }}"), true, true),
        ("when { context has approval }".to_owned(), true, false),
        ("unless { context has approval }".to_owned(), true, true),
        ("unless { context has approval.role }".to_owned(), true, true),
        ("unless { context has approval && context.approval.role == \"r\" }".to_owned(), true, true),
        ("unless { context has approval && context.chain.cycle }".to_owned(), true, true),
        ("unless { context has approval || context.chain.cycle }".to_owned(), true, false),
        ("unless { context has approval || context has approval.by }".to_owned(), true, true),
        ("unless { context.chain.cycle && context has approval }".to_owned(), true, false),
        // Another thing that a context may have, and another thing that may have this.
        ("unless { context has source_ip }".to_owned(), true, false),
        ("unless { principal has approval }".to_owned(), true, false),
        (format!("when {{ {none} || context.chain.cycle }}"), true, true),
        (format!("when {{ {none} && context.chain.cycle }}"), true, false),
        (format!("when {{ {none} && {none} }}"), true, true),
        // All of its clauses.
        (format!("when {{ {none} }} unless {{ context.chain.cycle }}"), true, false),
        (format!("when {{ {none} }} unless {{ context has approval }}"), true, true),
        (format!("when {{ context.args.hasTag(\"/a\") }} unless {{ {none} }}"), false, false),
    ] {
        let text = format!("forbid (principal, action, resource) {clauses};");
        let found = Condition::left(&Policy::parse(None, &text).unwrap()).unwrap();
        assert_eq!((found.certain, found.unless_approved), (certain, unless_approved), "{text}");
    }
    let text = "forbid (principal, action, resource) when { context.chain.cycle } unless { context.method == \"x\" };";
    let found =
        Condition::left(&Policy::parse(Some(cedar_policy::PolicyId::new("a/p")), text).unwrap()).unwrap();
    assert_eq!((&*found.policy, &*found.when), ("a/p", "context.chain.cycle && !(context.method == \"x\")"));
    assert_eq!(found.reads, ["context.chain.cycle".into(), "context.method".into()]);
}
