//! Metrics: their text, the port, the dashboard over them.

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod dashboard;
mod http;
mod port;
mod sample;
mod text;
