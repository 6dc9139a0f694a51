// SPDX-License-Identifier: MIT OR Apache-2.0
//! The border between host and driver, with real shared objects: built here, loaded here.
//!
//! `skew` is the promise of the ABI in both directions, `panics` what a driver may do to itself,
//! `refusals` what is not loaded and what the user is told, `ownership` whom root trusts.

mod apart;
mod classes;
mod clone_source;
mod example;
mod folder;
mod installed_drivers;
mod next_abi;
mod notes;
mod ownership;
mod panics;
mod refusals;
mod skew;
mod verbs;
mod workspaces;
