//! What the `lunforge` program does to itself before it serves: see [`confine`].

pub mod confine;
