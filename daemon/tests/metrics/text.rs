//! What is rendered, to the letter.

use lunforge_daemon::metrics::{Snapshot, render};

use crate::checker::check;
use crate::sample::snapshot;

/// Of a device that was used only what its clock decides is left out.
fn without_times(text: &str) -> String {
    let times = |line: &&str| {
        let is_time = line.starts_with("lunforge_device_latency_seconds_");
        !is_time || line.contains("_count{") || line.contains("le=\"16.777216\"")
    };
    let lines = text.lines().filter(times);
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_snapshot_is_rendered_to_the_letter() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics/expected.txt");
    let text = without_times(&render(&snapshot()));
    if std::env::var_os("LUNFORGE_WRITE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    assert_eq!(text, expected);
}

#[test]
fn what_is_rendered_keeps_to_the_format() {
    let metrics = check(&render(&snapshot()));
    let latency = &metrics["lunforge_device_latency_seconds"];
    // Three stages of 25 bounded buckets, one without a bound, sum and count.
    assert_eq!(latency.samples.len(), 3 * 28);
    let name = &metrics["lunforge_device_active"].samples[0].1.0["device"];
    assert_eq!(name, "disk \"1\"\\\n");
    // A read of three seconds is between the bounds of 2.1 s and 4.2 s.
    let bucket = |bound: &str| {
        let wanted = |(_, (labels, _)): &&(String, crate::checker::Sample)| {
            labels["stage"] == "total" && labels.get("le").is_some_and(|le| le == bound)
        };
        latency.samples.iter().find(wanted).unwrap().1.1
    };
    assert_eq!(bucket("4.194304") - bucket("2.097152"), 1.0);
}

#[test]
fn nothing_is_rendered_of_what_is_not_there() {
    let metrics = check(&render(&Snapshot::default()));
    let names: Vec<_> = metrics.keys().collect();
    assert_eq!(names, ["lunforge_build_info", "lunforge_uptime_seconds"]);
}
