//! Device management datagrams, their attributes, and what is answered to them.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_srp::proto::fuzzing::fuzz_mad);
