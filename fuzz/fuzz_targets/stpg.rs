//! SET TARGET PORT GROUPS parameter lists.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::stpg::stpg);
