// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block server of Mosaic's ploop driver. The driver starts it; there is nothing for people here.

use std::process::ExitCode;

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    mosaic_ploop::server::run(role.as_deref())
}
