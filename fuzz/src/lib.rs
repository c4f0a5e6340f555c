//! What the fuzz targets run.
//!
//! The `tests/corpus.rs` of core, transport-iscsi, transport-srp, handler-vdisk, pr, alua, bench and daemon include the
//! modules by path and replay `fuzz/corpus/` with them, so that every input once found is tried by `cargo test` with a
//! stable toolchain.

pub mod configuration;
pub mod control;
pub mod extended_copy;
pub mod initiator;
pub mod lists;
pub mod mode_select;
pub mod pdu_stream;
pub mod recording;
pub mod reservations;
pub mod srp_channel;
pub mod stpg;
pub mod vocabulary;

#[cfg(feature = "libfuzzer")]
#[doc(hidden)]
pub use libfuzzer_sys;

/// The body of a fuzz target: what libFuzzer calls, or a `main` that runs the files named as arguments.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! target {
    ($body:path) => {
        use $crate::libfuzzer_sys;
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $body(data));
    };
}

/// The body of a fuzz target: what libFuzzer calls, or a `main` that runs the files named as arguments.
#[cfg(not(feature = "libfuzzer"))]
#[macro_export]
macro_rules! target {
    ($body:path) => {
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                $body(&std::fs::read(&file)?);
                println!("Executed {}", file.display());
            }
            Ok(())
        }
    };
}
