//! The tensor path against vectors of an independent framework, and its own laws.

mod laws;
mod lower;
mod vectors;
