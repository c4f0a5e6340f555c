//! The load generator's initiator, against a target that says anything.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::initiator::initiator);
