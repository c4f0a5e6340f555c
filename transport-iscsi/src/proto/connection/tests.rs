//! Rules of the full feature phase, one connection at a time.
