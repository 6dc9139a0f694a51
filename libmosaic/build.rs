// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the shared library is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What programs ask the dynamic linker for. The number changes when a program that was built
    // before would not run any more.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libmosaic.so.1");
    // Drivers, which are never unloaded, hold pointers into the library: dlclose(3) leaves it where
    // it is.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
