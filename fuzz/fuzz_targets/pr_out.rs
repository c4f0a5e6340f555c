//! PERSISTENT RESERVE OUT parameter lists.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::reservations::pr_out);
