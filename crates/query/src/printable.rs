//! Text of others, as it may be shown.

use std::borrow::Cow;

/// Text that somebody else chose, as it may be shown to a person, on a terminal or on a page: control characters, and those that
/// change how what stands beside them is shown or are not seen themselves, are written out. A caller chooses the name of the tool it
/// asks for, and must not thereby write to an auditor's screen.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(misleading) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len() + 16), |mut safe, c| {
        if !misleading(c) {
            safe.push(c);
        } else if matches!(c, '\n' | '\r' | '\t') {
            safe.extend(c.escape_default());
        } else {
            safe.extend(c.escape_unicode());
        }
        safe
    }))
}

/// Control characters, line and paragraph separators, and format characters (Unicode general category Cf) with the fillers and
/// variation selectors that are not seen either, and signs that are blank (Braille, Khitan, notes).
fn misleading(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{16fe4}' | '\u{1d159}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}
