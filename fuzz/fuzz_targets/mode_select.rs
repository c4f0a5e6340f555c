//! MODE SELECT parameter lists against a disk.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::mode_select::mode_select);
