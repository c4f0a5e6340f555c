//! ietd.conf, and making scst.conf of it.
#![cfg_attr(feature = "libfuzzer", no_main)]

lunforge_fuzz::target!(lunforge_fuzz::configuration::ietd_conf);
