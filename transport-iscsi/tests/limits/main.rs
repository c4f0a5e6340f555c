//! The limits of transport and shards, against peers that want more than their share. Virtual time.

mod bed;
mod changed;
mod entrance;
mod guessing;
mod login;
mod memory;
mod reinstatement;
mod requests;
