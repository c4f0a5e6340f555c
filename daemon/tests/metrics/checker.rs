//! Prometheus' text format, read strictly: more strictly than Prometheus does, as `promtool check metrics` would.

use std::collections::{BTreeMap, BTreeSet};

/// A sample: its labels and its value.
pub(crate) type Sample = (BTreeMap<String, String>, f64);

/// A metric.
#[derive(Debug, Default)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    /// Each with the name that it has.
    pub(crate) samples: Vec<(String, Sample)>,
}

/// The metrics of a text.
///
/// # Panics
/// When the text is wrong.
pub(crate) fn check(text: &str) -> BTreeMap<String, Metric> {
    match parse(text) {
        Ok(metrics) => metrics,
        Err(why) => panic!("{why}\n{text}"),
    }
}

/// What is wrong, or the metrics.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Metric>, String> {
    if !text.ends_with('\n') || text.contains('\r') {
        return Err("the last line has no end, or a line has another".to_owned());
    }
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let (mut helped, mut current) = (None, None);
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else {
                return wrong("no help");
            };
            if !help.ends_with('.') || metrics.contains_key(name) || !is_name(name) {
                return wrong("not a new name with a sentence");
            }
            helped = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                return wrong("no type");
            };
            if helped.take().as_deref() != Some(name) {
                return wrong("no help before the type");
            }
            if !matches!(kind, "counter" | "gauge" | "histogram") {
                return wrong("an unknown type");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("counters, and no others, end in _total");
            }
            let kind = kind.to_owned();
            let samples = Vec::new();
            metrics.insert(name.to_owned(), Metric { kind, samples });
            current = Some(name.to_owned());
        } else {
            let (name, sample) = sample(line)?;
            let Some(metric) = current.as_ref().and_then(|name| metrics.get_mut(name)) else {
                return wrong("a sample before its type");
            };
            let of = current.as_deref().unwrap_or_default();
            let right = match metric.kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix) == Some(of)),
                _ => name == of,
            };
            if !right {
                return wrong("a sample of another metric");
            }
            if metric.kind != "gauge" && sample.1 < 0.0 {
                return wrong("less than nothing");
            }
            if !seen.insert((name.clone(), sample.0.clone())) {
                return wrong("twice");
            }
            metric.samples.push((name, sample));
        }
    }
    if let Some(name) = helped {
        return Err(format!("{name} has no type"));
    }
    for (name, metric) in &metrics {
        if metric.samples.is_empty() {
            return Err(format!("{name} has no samples"));
        }
        if metric.kind == "histogram" {
            histogram(name, metric)?;
        }
    }
    Ok(metrics)
}

/// Buckets ascend to +Inf, which is the count.
fn histogram(name: &str, metric: &Metric) -> Result<(), String> {
    let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    let of = |suffix: &str, labels: &BTreeMap<String, String>| {
        let wanted = format!("{name}{suffix}");
        let mut all = metric.samples.iter();
        let found = all.find(|(name, (l, _))| *name == wanted && l == labels);
        found.map(|(_, (_, value))| *value)
    };
    for (sample, (labels, value)) in &metric.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let bound = labels.remove("le").ok_or("a bucket without a bound")?;
            let bound = match bound.as_str() {
                "+Inf" => f64::INFINITY,
                bound => number(bound)?,
            };
            buckets.entry(labels).or_default().push((bound, *value));
        }
    }
    for (labels, buckets) in buckets {
        let ascend = buckets
            .windows(2)
            .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().copied().unwrap_or_default();
        if !ascend || last.0 != f64::INFINITY {
            return Err(format!("{name}: buckets do not ascend to +Inf"));
        }
        if of("_count", &labels) != Some(last.1) || of("_sum", &labels).is_none() {
            return Err(format!("{name}: count or sum is missing or wrong"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn number(text: &str) -> Result<f64, String> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let parsed = plain.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| format!("{text:?} is no number"))
}

/// `name{label="value",...} value`
fn sample(line: &str) -> Result<(String, Sample), String> {
    let wrong = |why: &str| format!("{why}: {line}");
    let end = line.find(['{', ' ']).ok_or_else(|| wrong("no value"))?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err(wrong("not a name"));
    }
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| wrong("no label"))?;
            let (value, after) = quoted(after).ok_or_else(|| wrong("not a quoted value"))?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return Err(wrong("not a new label"));
            }
            if let Some(after) = after.strip_prefix(',') {
                rest = after;
            } else {
                rest = after
                    .strip_prefix('}')
                    .ok_or_else(|| wrong("no end of labels"))?;
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| wrong("no value"))?;
    Ok((name.to_owned(), (labels, number(value)?)))
}

/// A value up to its quotation mark, and what is behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[test]
fn what_is_wrong_is_found() {
    let head = "# HELP a_b Help.\n# TYPE a_b gauge\n";
    assert!(parse(&format!("{head}a_b 1\n")).is_ok());
    for (body, about) in [
        ("", "no samples"),
        ("a_b 1", "no end"),
        ("a_b 1\r\n", "another"),
        ("a_b\n", "no value"),
        ("a_b x\n", "no number"),
        ("a_b 1e3\n", "no number"),
        ("a_c 1\n", "another metric"),
        ("a_b 1\na_b 2\n", "twice"),
        ("a_b{c=\"1\",c=\"2\"} 1\n", "new label"),
        ("a_b{c=\"1\\x\"} 1\n", "quoted"),
        ("a_b{c=\"1\"\"} 1\n", "end of labels"),
        ("a_b 1\n# HELP a_b Help.\n", "new name"),
        ("a_b 1\n# TYPE c_d gauge\n", "no help"),
        (
            "a_b 1\n# HELP c_d Help.\n# TYPE c_d counter\nc_d 1\n",
            "_total",
        ),
        (
            "a_b 1\n# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
            "+Inf",
        ),
        (
            "a_b 1\n# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
            "count",
        ),
    ] {
        let found = parse(&format!("{head}{body}")).expect_err(body);
        assert!(found.contains(about), "{body}: {found}");
    }
}
