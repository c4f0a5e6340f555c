//! Metrics: their text, the port, the dashboard over them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/served.rs"]
mod served;

mod checker;
mod dashboard;
mod http;
mod port;
mod sample;
mod text;
