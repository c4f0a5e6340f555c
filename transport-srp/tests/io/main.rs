//! The transport over a fabric in memory: shards that the test drives, and an initiator that minds what it is told.

mod access;
mod bed;
mod channels;
mod commands;
mod listener;
mod login;
mod loss;
mod reservations;
mod shared;
mod stall;
mod tasks;
