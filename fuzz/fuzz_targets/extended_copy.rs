//! EXTENDED COPY(LID1) and (LID4) parameter lists, parsed and done.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::extended_copy::extended_copy);
