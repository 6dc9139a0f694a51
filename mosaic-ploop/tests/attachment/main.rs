// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks shown as block devices, by the real server and the real kernel.

mod at_work;
mod control;
mod device_error;
mod failing_storage;
mod fio;
mod keeper;
mod killed;
mod lifecycle;
mod location;
mod moves;
mod no_answer;
mod online;
mod partition;
mod site;
