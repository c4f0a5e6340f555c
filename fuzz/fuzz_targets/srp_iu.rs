//! SRP information units, both ways, and logins in both forms.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_srp::proto::fuzzing::fuzz_iu);
