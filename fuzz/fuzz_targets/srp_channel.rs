//! SRP channels over a fabric in memory.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::srp_channel::srp_channel);
