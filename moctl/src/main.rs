// SPDX-License-Identifier: MIT OR Apache-2.0
//! `moctl`: Mosaic on the command line. The program is [`moctl::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    moctl::run(std::env::args_os().skip(1).collect())
}
