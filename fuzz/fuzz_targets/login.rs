//! Sequences of login requests.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_iscsi::proto::fuzzing::fuzz_login);
