//! CDB bytes: the opcode table, the decoder, REPORT SUPPORTED OPERATION CODES.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::vocabulary::cdb);
