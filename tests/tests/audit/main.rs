//! Audits of the whole way from examples to what leaves a device, over public interfaces
//! only: lower bounds on epsilon against the accounts, faults planted to show that guards and
//! audits notice them, and the support of what is released.
//!
//! Everything here is seeded, so that a run that passes passes again. The longer versions:
//! `cargo test --workspace --test audit -- --ignored`.

mod canaries;
mod device;
mod end_to_end;
mod faults;
mod guards;
mod many_runs;
mod planted;
mod setup;
mod support;
mod view;
