//! What shells and `man` are told of the commands.

use super::run;

#[test]
fn every_command_is_completed_and_has_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("man1").display().to_string();
    let ran = run(&["man", "--out", &out]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for page in [
        "vidimus",
        "vidimus-serve",
        "vidimus-audit-search",
        "vidimus-policy-explain",
        "vidimus-identity-token",
    ] {
        let text = std::fs::read_to_string(format!("{out}/{page}.1"))
            .unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH ") && text.contains(".SH OPTIONS"), "{page}: {text}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{shell}");
        for word in ["oldest-first", "explain", "trust-bundle"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
        assert_eq!(run(&["completion", shell]).out, ran.out, "{shell}: as kubectl and others call it");
    }
    assert_eq!(run(&["completions", "tcsh"]).code, Some(2));
}
