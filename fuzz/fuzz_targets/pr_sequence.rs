//! Sequences of reservation commands by several nexuses.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::reservations::pr_sequence);
