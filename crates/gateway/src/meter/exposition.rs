//! In which of Prometheus' text formats the metrics are told.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0. It alone has exemplars.
    OpenMetrics,
    /// Prometheus' own, 0.0.4, which everything reads.
    Plain,
}

impl Exposition {
    /// That which a reader asks for by the values of its `Accept`: OpenMetrics where that names it, as Prometheus' own does, and else the older
    /// one. Who asks for nothing (`curl`, older agents) would take an exemplar for an error.
    pub fn asked<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let is_named = accept.into_iter().flat_map(|value| value.split(',')).any(is_openmetrics);
        if is_named { Self::OpenMetrics } else { Self::Plain }
    }

    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text of OpenMetrics in this format.
    pub(super) fn of(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Plain => plain(&text),
        }
    }
}

/// Whether a range of `Accept` is OpenMetrics 1.0, and is wanted at all.
fn is_openmetrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let is_named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
    is_named
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| match name.trim() {
            "version" => value.trim() == "1.0.0",
            "q" => value.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0),
            _ => true,
        })
}

/// The same numbers in the older format: a counter's name has its `_total` in all lines, and there are no units, no exemplars and no end.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some(help) = help.take() {
                plain.extend(["# HELP ", name, end, " ", help, "\n"]);
            }
            plain.extend(["# TYPE ", name, end, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            plain.extend([without_exemplar(line), "\n"]);
        }
    }
    plain
}

/// A sample without what stands behind its value. In a label there may be anything.
fn without_exemplar(sample: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, char) in sample.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => return sample.get(..at).unwrap_or(sample).trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_names_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            &[prometheus][..],
            &["Application/OpenMetrics-Text"],
            &["*/*", "application/openmetrics-text; version=1.0.0"],
        ] {
            assert_eq!(Exposition::asked(accept.iter().copied()), Exposition::OpenMetrics, "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/plain;version=0.0.4"],
            &["text/plain;version=0.0.4;q=1,*/*;q=0.1"],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;q=0"],
            &["text/html;x=application/openmetrics-text"],
        ] {
            assert_eq!(Exposition::asked(accept.iter().copied()), Exposition::Plain, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_has_the_same_numbers_and_no_exemplars() {
        let text = "# HELP vidimus_calls Calls.\n# TYPE vidimus_calls counter\n# UNIT vidimus_calls calls\n\
                    vidimus_calls_total{of=\"a # {b} \\\" # {c}\"} 1\n\
                    # HELP vidimus_left Left.\n# TYPE vidimus_left gauge\nvidimus_left 2\n\
                    # HELP vidimus_took Took.\n# TYPE vidimus_took histogram\n\
                    vidimus_took_bucket{le=\"0.1\"} 1 # {trace_id=\"ab\"} 0.003 1.5\nvidimus_took_sum 0.003\n# EOF\n";
        assert_eq!(
            Exposition::Plain.of(text.to_owned()),
            "# HELP vidimus_calls_total Calls.\n# TYPE vidimus_calls_total counter\n\
             vidimus_calls_total{of=\"a # {b} \\\" # {c}\"} 1\n\
             # HELP vidimus_left Left.\n# TYPE vidimus_left gauge\nvidimus_left 2\n\
             # HELP vidimus_took Took.\n# TYPE vidimus_took histogram\n\
             vidimus_took_bucket{le=\"0.1\"} 1\nvidimus_took_sum 0.003\n"
        );
        assert_eq!(Exposition::OpenMetrics.of(text.to_owned()), text);
    }
}
