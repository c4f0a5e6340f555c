//! TransportIDs, designation descriptors and LUN fields.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::vocabulary::identifiers);
