//! The dashboard asks for nothing that is not there.

use std::collections::BTreeSet;

use lunforge_daemon::metrics::render;
use serde_json::Value;

use crate::checker::check;
use crate::sample::snapshot;

const DASHBOARD: &str = include_str!("../../../dist/grafana-dashboard.json");

/// All expressions and queries in it.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if ["expr", "query", "definition"].contains(&&**name) => {
                        found.push(text.clone());
                    }
                    field => expressions(field, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// The metrics that an expression names.
fn names(expression: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c| !is_name(c));
    words.filter(|word| word.starts_with("lunforge_")).collect()
}

#[test]
fn each_metric_of_the_dashboard_is_rendered_and_has_the_labels_that_are_asked_for() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    let metrics = check(&render(&snapshot()));
    let samples = || metrics.values().flat_map(|metric| &metric.samples);
    let known: BTreeSet<_> = samples().map(|(name, _)| name.as_str()).collect();
    let labels: BTreeSet<_> = samples()
        .flat_map(|(_, (labels, _))| labels.keys())
        .collect();
    let mut used = BTreeSet::new();
    for expression in &all {
        for name in names(expression) {
            assert!(known.contains(name), "{name} in {expression}");
            used.insert(name);
        }
        for clause in expression.split("by (").skip(1) {
            let asked = clause.split(')').next().unwrap_or_default();
            for label in asked.split(", ") {
                let there = label == "instance" || labels.iter().any(|l| *l == label);
                assert!(there, "{label} in {expression}");
            }
        }
    }
    assert!(used.len() > 20, "{used:?}");
}

#[test]
fn panels_do_not_lie_over_each_other_and_have_numbers_of_their_own() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}
