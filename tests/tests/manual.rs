// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manual pages that `moctl` makes from its own command line.

use std::process::Command;

use mosaic_tests::{Moctl, requires_program};

#[test]
fn every_page_renders_without_warnings() {
    if !requires_program("man") {
        return;
    }
    let moctl = Moctl::new().unwrap();
    let folder = moctl.make_folder("man").unwrap();
    moctl.ok(&["man", "--to", folder.to_str().unwrap()]);
    let mut pages = 0;
    for page in std::fs::read_dir(&folder).unwrap() {
        let page = page.unwrap().path();
        let output = Command::new("man")
            .args(["--warnings", "--local-file", "--pager=cat"])
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANWIDTH", "80")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "", "{}", page.display());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("SYNOPSIS"), "{}: {text}", page.display());
        pages += 1;
    }
    assert!(pages > 14, "a page per verb and one for moctl, not {pages}");
}
