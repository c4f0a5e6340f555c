//! Changing what is configured, by the library's public part: runs of changes, plans, configurations.

mod arbitrary;
mod configs;
mod double;
mod dump;
mod files;
mod groups;
mod manual;
mod plans;
mod runs;
mod wrong;
