//! Some thousands of seeds in each run of the tests; `lunforge-sim run` does millions.

use std::sync::atomic::{AtomicU64, Ordering};

use lunforge_sim::{Fault, Mask, run};

/// Seeds of a run of the tests: as many as a debug build does in less than a minute on two slow processors.
const SEEDS: u64 = 3000;

#[test]
fn thousands_of_seeds_break_no_rule() {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    let failure = run(seed, &Mask::default(), false).failure;
                    assert_eq!(failure, None, "lunforge-sim replay {seed}");
                }
            });
        }
    });
}

#[test]
fn equal_seeds_give_equal_runs_beside_others_on_other_threads() {
    let hashes = || -> Vec<u64> {
        (0..100)
            .map(|seed| run(seed, &Mask::default(), seed % 2 == 0).hash)
            .collect()
    };
    let runs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(hashes)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a run"))
            .collect()
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
    let mut different = runs[0].clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), runs[0].len(), "seeds differ");
}

#[test]
fn a_masked_run_is_another_one_and_repeats_itself() {
    let mask = Mask {
        steps: Some(150),
        initiators: Some(2),
        skipped: vec![3, 4, 50],
        ..Mask::default()
    };
    let mask = mask.without(Fault::SlowStore);
    for seed in 0..20 {
        let (first, again) = (run(seed, &mask, false), run(seed, &mask, true));
        assert_eq!((first.hash, first.failure), (again.hash, again.failure));
        assert!(!again.words.is_empty());
    }
}
