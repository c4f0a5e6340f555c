//! The grammars of configuration files, through the library's public part.
//!
//! `*.conf` here are files that must be read; `broken/` has files that must not, each with what is said about it.

mod broken;
mod dump;
mod files;
mod ietd;
mod properties;
