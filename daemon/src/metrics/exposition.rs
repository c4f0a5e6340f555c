//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write};
use std::time::Duration;

use lunforge::core::measure::Times;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts in buckets.
    Histogram,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Names and values that tell samples of a metric apart.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text as it is written: a metric at a time, its samples together.
#[derive(Debug, Default)]
pub(super) struct Text(String);

impl Text {
    /// Begins a metric. One without samples is not there.
    pub(super) fn metric<'t>(
        &'t mut self,
        name: &'static str,
        kind: Type,
        help: &'static str,
    ) -> Metric<'t> {
        Metric {
            text: self,
            name,
            kind,
            help,
            begun: false,
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A metric.
pub(super) struct Metric<'t> {
    text: &'t mut Text,
    name: &'static str,
    kind: Type,
    help: &'static str,
    begun: bool,
}

impl Metric<'_> {
    /// Adds a sample.
    pub(super) fn add(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.sample("", labels, value);
        self
    }

    /// Adds a histogram.
    pub(super) fn times(&mut self, labels: Labels<'_>, times: &Times) {
        let bucket = |metric: &mut Self, bound: &str, count: u64| {
            let labels = [labels, &[("le", bound)]].concat();
            metric.sample("_bucket", &labels, count);
        };
        for (bound, count) in times.up_to() {
            bucket(self, &seconds(bound), count);
        }
        // One look at the counts, so that both are the same.
        let count = times.count();
        bucket(self, "+Inf", count);
        self.sample("_sum", labels, seconds(times.sum()));
        self.sample("_count", labels, count);
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) {
        self.begin();
        let text = &mut self.text.0;
        text.push_str(self.name);
        text.push_str(suffix);
        for (at, (name, value)) in labels.iter().enumerate() {
            text.push(if at == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, " {value}");
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let (name, kind, help) = (self.name, self.kind.name(), self.help);
        let _ = write!(self.text.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

/// A time in seconds, as exact as it is, without an exponent.
pub(super) fn seconds(time: Duration) -> String {
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').unwrap_or(text).to_owned()
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_without_an_exponent() {
        for (time, text) in [
            (Duration::ZERO, "0"),
            (Duration::from_micros(1), "0.000001"),
            (Duration::from_micros(1 << 24), "16.777216"),
            (Duration::from_secs(100), "100"),
            (Duration::new(1, 1), "1.000000001"),
        ] {
            assert_eq!(seconds(time), text);
        }
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let mut text = Text::default();
        text.metric("m", Type::Gauge, "Help.")
            .add(&[("a", "b\\c\"d\ne"), ("f", "ü")], 1);
        let expected = "# HELP m Help.\n# TYPE m gauge\nm{a=\"b\\\\c\\\"d\\ne\",f=\"ü\"} 1\n";
        assert_eq!(text.into_string(), expected);
    }

    #[test]
    fn a_metric_without_samples_is_not_there() {
        let mut text = Text::default();
        text.metric("m", Type::Gauge, "Help.");
        assert_eq!(text.into_string(), "");
    }
}
