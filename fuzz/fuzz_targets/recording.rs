//! A capture file, as a replay reads it.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::recording::recording);
