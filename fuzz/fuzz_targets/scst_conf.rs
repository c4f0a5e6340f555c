//! scst.conf: its syntax, and printing it.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::configuration::scst_conf);
