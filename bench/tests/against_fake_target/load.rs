//! The load generator against the in-memory target: figures add up, wrong data is found.

use std::time::Duration;

use crate::fake_target::{FakeTarget, Fault};
use lunforge_bench::load::{self, LoadError, LoadOptions, Mode};

fn options(target: &FakeTarget, mode: Mode) -> LoadOptions {
    LoadOptions {
        mode,
        depth: 8,
        sessions: 2,
        measure: Duration::from_millis(300),
        warmup: Duration::from_millis(20),
        ..LoadOptions::new(target.url())
    }
}

#[test]
fn every_mode_runs_without_errors_and_counts_what_it_did() {
    let target = FakeTarget::start(Fault::None);
    for mode in [
        Mode::RandRead,
        Mode::RandWrite,
        Mode::Read,
        Mode::Write,
        Mode::RandRw,
        Mode::Mixed,
    ] {
        let report = load::run(&options(&target, mode)).unwrap();
        assert_eq!(report.errors, 0, "{mode:?} {:?}", report.messages);
        assert!(report.ios > 0 && report.p50_us > 0.0 && report.max_us >= report.p99_us * 0.98);
        // 4 KiB are two Data-In PDUs of this target, one of them with status.
        assert_eq!(report.data_ins, 2 * report.collapsed, "{mode:?}");
    }
}

#[test]
fn verification_passes_on_a_sound_target_in_every_write_form() {
    for (immediate, initial_r2t, digests) in [
        (true, false, true),
        (false, true, false),
        (false, false, false),
    ] {
        let target = FakeTarget::with_keys(Fault::Pings, &[("MaxRecvDataSegmentLength", "1024")]);
        let mut o = options(&target, Mode::RandRw);
        o.verify = true;
        o.threads = 2;
        o.depth = 4;
        o.login.immediate_data = immediate;
        o.login.initial_r2t = initial_r2t;
        (o.login.header_digest, o.login.data_digest) = (digests, digests);
        let report = load::run(&o).unwrap();
        assert_eq!(report.errors, 0);
        assert!(report.verified > 0);
    }
}

#[test]
fn read_only_verification_writes_the_span_first() {
    let target = FakeTarget::start(Fault::None);
    let mut o = options(&target, Mode::RandRead);
    o.verify = true;
    o.span = Some(1 << 20);
    let report = load::run(&o).unwrap();
    assert!(report.verified >= 1 << 20);
}

#[test]
fn lost_and_misplaced_data_is_found_with_its_lba() {
    for fault in [Fault::LosesAWrite, Fault::MisplacesReads] {
        let target = FakeTarget::start(fault);
        let mut o = options(&target, Mode::RandWrite);
        o.verify = true;
        o.span = Some(256 << 10);
        // A lost write may be overwritten by a later one; writing each slot once keeps it visible.
        if fault == Fault::LosesAWrite {
            o.mode = Mode::RandRead;
        }
        let error = load::run(&o).unwrap_err();
        assert!(
            matches!(error, LoadError::Mismatch(_)),
            "{fault:?}: {error}"
        );
    }
}

#[test]
fn n59_a_target_that_breaks_a_rule_ends_the_run_with_that_rule() {
    for fault in [
        Fault::WrongDataSn,
        Fault::SendsTooMuch,
        Fault::ShortRead,
        Fault::R2tForRead,
        Fault::HugeSegment,
        Fault::ClosesMidway,
    ] {
        let target = FakeTarget::start(fault);
        let error = load::run(&options(&target, Mode::RandRead)).unwrap_err();
        let named = matches!(
            error,
            LoadError::Violation(_)
                | LoadError::Wire(_)
                | LoadError::Closed
                | LoadError::Socket(_)
                | LoadError::Initiator(_)
        );
        assert!(named, "{fault:?}: {error}");
    }
}

#[test]
fn impossible_arguments_are_refused_before_anything_is_sent() {
    let url: lunforge_bench::initiator::Url = "iscsi://127.0.0.1:1/iqn.x/0".parse().unwrap();
    let base = LoadOptions::new(url);
    for bad in [
        LoadOptions {
            depth: 0,
            ..base.clone()
        },
        LoadOptions {
            depth: 5000,
            ..base.clone()
        },
        LoadOptions {
            sessions: 0,
            ..base.clone()
        },
        LoadOptions {
            threads: 2,
            ..base.clone()
        },
        LoadOptions {
            block: 100,
            ..base.clone()
        },
    ] {
        assert!(matches!(load::run(&bad), Err(LoadError::Argument(_))));
    }
}
