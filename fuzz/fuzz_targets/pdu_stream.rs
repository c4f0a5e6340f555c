//! A connection in full feature phase, fed a byte stream.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::pdu_stream::pdu_stream);
