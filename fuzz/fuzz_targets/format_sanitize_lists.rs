//! The parameter lists of FORMAT UNIT and SANITIZE.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::lists::format_sanitize);
