//! The parameter list of UNMAP.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::lists::unmap);
