//! Text segments: key=value pairs and their negotiation.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_iscsi::proto::fuzzing::fuzz_text_keys);
