//! Comparison, idle sessions, logins and the probe: they end, and their figures are there.

use std::time::Duration;

use lunforge_bench::compare::{self, CompareOptions, Contender};
use lunforge_bench::initiator::Options;
use lunforge_bench::{idle, logins, probe};

use crate::fake_target::{FakeTarget, Fault};

fn contender(label: &str, target: &FakeTarget) -> Contender {
    let (label, url, pids) = (label.to_owned(), target.url(), vec![std::process::id()]);
    Contender { label, url, pids }
}

fn options(contenders: Vec<Contender>) -> CompareOptions {
    CompareOptions {
        contenders,
        rows: vec![
            "rr4k-q1".parse().unwrap(),
            "w:write:8192:4:2".parse().unwrap(),
        ],
        rounds: 3,
        measure: Duration::from_millis(60),
        warmup: Duration::from_millis(10),
        gap: Duration::ZERO,
        span: 1 << 20,
        threads: 2,
        spin: false,
        cpus: Vec::new(),
        target_cpu: None,
        freeze: false,
        foreign_limit: None,
        login: Options::default(),
    }
}

#[test]
fn comparison_has_a_ratio_for_every_row_and_figure() {
    let (a, b) = (
        FakeTarget::start(Fault::None),
        FakeTarget::start(Fault::None),
    );
    let mut seen = 0;
    let all = options(vec![contender("one", &a), contender("two", &b)]);
    let outcome = compare::run(&all, |_| seen += 1).unwrap();
    assert_eq!((seen, outcome.errors(), outcome.failures.len()), (12, 0, 0));
    for row in ["rr4k-q1", "w"] {
        let (mid, least, most) = outcome.ratio(row, "two", |r| r.iops).unwrap();
        assert!(0.0 < least && least <= mid && mid <= most);
    }
    let text = outcome.to_string();
    assert!(
        text.contains("ratio one / two") && text.contains("cpu/IO"),
        "{text}"
    );
    assert_eq!(outcome.json_lines().len(), 4);
}

#[test]
fn comparison_goes_on_when_one_target_fails_and_says_so() {
    let (a, b) = (
        FakeTarget::start(Fault::None),
        FakeTarget::start(Fault::WrongDataSn),
    );
    let outcome = compare::run(
        &options(vec![contender("sound", &a), contender("broken", &b)]),
        |_| {},
    )
    .unwrap();
    assert!(outcome.failures.iter().all(|f| f.starts_with("broken")));
    assert!(!outcome.failures.is_empty());
    assert!(outcome.ratio("rr4k-q1", "broken", |r| r.iops).is_none());
}

#[test]
fn idle_sessions_and_logins_are_counted() {
    let target = FakeTarget::start(Fault::None);
    let login = Options {
        timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let me = [std::process::id()];
    let idle = idle::run(&target.url(), &login, 5, Duration::from_millis(100), &me).unwrap();
    assert_eq!(idle.sessions, 5);
    assert!(idle.rss_kib > 0 && idle.seconds >= 0.1);
    let logins = logins::run(&target.url(), &login, 20, &me).unwrap();
    assert!(logins.rate > 0.0 && logins.p50_us > 0.0);
    assert!(
        probe::run(&target.url(), &login).is_err(),
        "this target knows no INQUIRY"
    );
}
