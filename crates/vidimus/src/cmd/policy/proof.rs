//! What a solver found of two sets of policies, for people.

use vidimus_query::check::counted;
use vidimus_query::diff::EdgeState;
use vidimus_query::prove::{Compared, Counterexample, Ground, Proof, TypeProof};

use crate::output;

/// Prints the types of requests that are not decided by the same policies, with what tells the two sets apart.
pub(super) fn print(proof: &Proof) {
    let told: Vec<&TypeProof> = proof.types.iter().filter(|one| one.by != Ground::SamePolicies).collect();
    if !told.is_empty() {
        let headers = ["PRINCIPAL", "ACTION", "RESOURCE", "POLICIES ARE", "HOW IT IS KNOWN"];
        let mut table = output::table(&headers, &[0, 1, 2, 3], output::width());
        for one in &told {
            let how = match (&one.of, &one.why) {
                (Some(of), _) => format!("{}, of {of}", one.by.as_str()),
                (None, Some(why)) => format!("{}: {why}", one.by.as_str()),
                (None, None) => one.by.as_str().to_owned(),
            };
            let row = [&*one.principal, &one.action, &one.resource, one.outcome.as_str(), &how];
            table.add_row(row.map(|text| output::cell(&output::printable(text))));
        }
        output::line(table.to_string().trim_end());
    }
    for one in &told {
        one.counterexamples.iter().for_each(|found| counterexample(&one.action, found));
    }
    for note in &proof.notes {
        output::line(&format!("note  {note}"));
    }
    let count = |fits: &dyn Fn(&TypeProof) -> bool| proof.types.iter().filter(|one| fits(one)).count();
    let same = count(&|one| one.by == Ground::SamePolicies);
    let equivalent = count(&|one| one.outcome == Compared::Equivalent && one.by == Ground::Proven);
    let open = count(&|one| one.by == Ground::Enumeration);
    let different = proof.types.len() - same - equivalent - open;
    let summary = format!(
        "{}: {same} decided by the same policies, {equivalent} proven equivalent, {different} proven different, {open} not proven",
        counted(proof.types.len(), "request type")
    );
    output::line(&output::verdict(&summary, different == 0 && open == 0));
    if proof.settled > 0 {
        let settled = counted(proof.settled, "difference");
        output::line(&format!("{settled} of enumeration proven to be none"));
    }
}

fn counterexample(action: &str, found: &Counterexample) {
    let (principal, resource) = (output::printable(&found.principal), output::printable(&found.resource));
    output::line(&format!("example  {principal} {action} {resource}"));
    for (name, value) in &found.facts {
        output::line(&format!("  {} = {}", output::printable(name), output::printable(value)));
    }
    for (label, state) in [("old", &found.old), ("new", &found.new)] {
        output::line(&format!("  {label}  {}", said(state)));
    }
}

fn said(state: &EdgeState) -> String {
    match state.policies.is_empty() {
        true => format!("{}, which no policy permits", state.outcome),
        false => format!("{} by {}", state.outcome, output::printable(&state.policies.join(", "))),
    }
}
