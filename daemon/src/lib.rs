//! The library of the programs `lunforge` and `scstadmin`: what is configured ([`tree`], [`schema`]), how it is changed
//! ([`manage`]), the grammars of configuration files ([`conf`]) and their meaning ([`config`]), and what a process does
//! to itself before it serves ([`confine`]).

pub mod conf;
pub mod config;
pub mod confine;
pub mod control;
pub mod heap;
pub mod live;
pub mod manage;
pub mod manual;
pub mod metrics;
pub mod schema;
pub mod scstadmin;
pub mod tree;
