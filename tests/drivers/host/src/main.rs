// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program of the next ABI: loads a driver and prints what it finds, one `key: value` a line.
//!
//! `next-host FOLDER TYPE`

use std::sync::Arc;

use mosaic_core::host_services::Silent;
use mosaic_core::loader::{Beside, SearchPath, load};
use mosaic_core::{Error, Settings, VolumeName};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, type_name] = arguments.as_slice() else {
        panic!("FOLDER TYPE");
    };
    if let Err(error) = tell(folder, type_name) {
        println!("error: {}", error.chain());
    }
}

fn tell(folder: &str, type_name: &str) -> Result<(), Error> {
    let search = SearchPath::new(vec![folder.into()], Vec::new(), Beside::Program);
    let loaded = load(&search, type_name)?;
    println!("type: {}", loaded.module.type_name());
    println!("abi: {}", loaded.abi);
    println!("motto: {:?}", loaded.module.motto());
    println!("keys: {}", loaded.module.schema()?.len());
    let driver = loaded
        .module
        .open(Arc::new(Silent), &Settings::new("/srv"))?;
    println!("scope: {:?}", driver.lock_scope()?);
    println!("volumes: {}", driver.list()?.len());
    for capability in driver.capabilities(None)? {
        println!("capability: {} {:?}", capability.name, capability.refusal);
    }
    match driver.tidy(&VolumeName::parse("abc")?) {
        Ok(answer) => println!("tidy: {answer}"),
        Err(error) => println!("tidy: {:?} {}", error.kind(), error.chain()),
    }
    Ok(())
}
