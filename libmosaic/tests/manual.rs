// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs in `doc/libmosaic.md` compile and do what stands there.
//!
//! A block of C, Go or Python in it that is a program is written to a file; the console block that
//! follows it says what the file is called, and has commands with what they print. Each such block
//! is run with a mosaic of its own, which is the one that the manual says.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{installed, repository, requires_compilers, use_installed};
use mosaic_tests::{Moctl, MountedFs, requires_program, requires_root};
use tempfile::TempDir;

/// How a program is compiled that has no command for it in the manual, and each one in C.
const COMPILE: &str = "cc -std=c99 -Wall -Wextra -Wpedantic -Werror -o NAME NAME.c $(pkg-config --cflags --libs mosaic)";

/// A program of the manual and what is typed after it.
#[derive(Debug, Default)]
struct Example {
    /// `c`, `go` or `python`.
    language: String,
    source: String,
    name: String,
    /// Commands, each with what it prints.
    steps: Vec<(String, String)>,
}

impl Example {
    fn file(&self) -> String {
        match self.language.as_str() {
            "python" => format!("{}.py", self.name),
            other => format!("{}.{other}", self.name),
        }
    }
}

fn manual() -> String {
    std::fs::read_to_string(repository().join("doc/libmosaic.md")).expect("the manual is there")
}

/// The fenced blocks of the manual: language and text.
fn blocks(manual: &str) -> Vec<(&str, &str)> {
    let fenced = manual.split("\n```").skip(1).step_by(2);
    let blocks = fenced.map(|block| block.split_once('\n').expect("a fence ends its line"));
    blocks.collect()
}

fn is_program(language: &str, text: &str) -> bool {
    match language {
        "c" => text.contains("int main("),
        other => other == "go" || other == "python",
    }
}

fn examples(manual: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for (language, text) in blocks(manual) {
        if is_program(language, text) {
            examples.push(Example {
                language: language.to_owned(),
                source: format!("{text}\n"),
                name: format!("program{}", examples.len()),
                ..Example::default()
            });
        } else if language == "console" {
            let steps = steps(text);
            let name = name(&steps).to_owned();
            match examples.last_mut() {
                Some(last) if last.steps.is_empty() => (last.name, last.steps) = (name, steps),
                // The program stands further up.
                _ => {
                    let earlier = examples.iter().find(|e| e.name == name);
                    let again = earlier.unwrap_or_else(|| panic!("which program is {name}?"));
                    let (language, source) = (again.language.clone(), again.source.clone());
                    examples.push(Example {
                        language,
                        source,
                        name,
                        steps,
                    });
                }
            }
        }
    }
    examples
}

fn steps(text: &str) -> Vec<(String, String)> {
    let text = format!("\n{text}\n");
    let steps = text.split("\n$ ").skip(1).map(|step| {
        let (command, printed) = step.split_once('\n').unwrap_or((step, ""));
        let printed = printed.lines().map(|line| format!("{line}\n")).collect();
        (command.to_owned(), printed)
    });
    steps.collect()
}

/// What a program is called in the commands that are typed after it.
fn name(steps: &[(String, String)]) -> &str {
    let mut words = steps.iter().flat_map(|(command, _)| command.split(' '));
    let name = words.find_map(|word| word.strip_prefix("./").or(word.strip_suffix(".py")));
    name.unwrap_or_else(|| panic!("which program? {steps:?}"))
}

/// The config file that the manual shows.
fn config(manual: &str) -> String {
    let indented = manual
        .split("\n\n")
        .find(|text| text.starts_with("    type: "));
    let lines = indented.expect("the manual shows one").lines();
    lines
        .map(|line| format!("{}\n", line.trim_start()))
        .collect()
}

/// A folder for programs: beside `lib`, where one that is linked statically finds its drivers.
fn bench() -> TempDir {
    tempfile::tempdir_in(installed()).expect("the tree is ours")
}

/// Runs a line of a shell in a folder.
fn shell(folder: &Path, line: &str, moctl: Option<&Moctl>) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    use_installed(&mut command)
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(folder)
        // What Go has compiled is beside what cargo has.
        .env("GOCACHE", common::folder().join("go-build"))
        .env_remove("MOSAIC_DRIVER_PATH")
        .stdin(Stdio::null());
    if let Some(moctl) = moctl {
        command.env("MOSAIC_CONFIG_DIR", moctl.folder());
    }
    let output = command.output().expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

/// Writes the program of an example and, if it is in C, compiles it.
#[track_caller]
fn prepare(example: &Example, folder: &Path) {
    std::fs::write(folder.join(example.file()), &example.source).expect("it is ours");
    if example.language == "c" {
        let line = COMPILE.replace("NAME", &example.name);
        let (status, said) = shell(folder, &line, None);
        assert!(
            status == Some(0) && said.is_empty(),
            "{}: {said}",
            example.source
        );
    }
}

/// Types what the manual types, and sees what it shows.
#[track_caller]
fn run(example: &Example, folder: &Path, location: &Path, config: &str) {
    let moctl = Moctl::new().unwrap();
    let test = moctl.folder().join("test");
    let at = moctl.make_folder("vm1").unwrap();
    let here = |text: &str| {
        text.replace("/srv/web", location.to_str().expect("paths are text"))
            .replace("/srv/test", test.to_str().expect("paths are text"))
            .replace("/mnt/vm1", at.to_str().expect("paths are text"))
            .replace(
                "/etc/mosaic",
                moctl.folder().to_str().expect("paths are text"),
            )
    };
    moctl.config("web", &here(config)).unwrap();
    moctl.ok(&["web", "init"]);
    let here = Example {
        language: example.language.clone(),
        source: here(&example.source),
        name: example.name.clone(),
        steps: example
            .steps
            .iter()
            .map(|(c, p)| (here(c), here(p)))
            .collect(),
    };
    prepare(&here, folder);
    if here.steps.is_empty() {
        let (status, said) = shell(folder, &format!("./{}", here.name), Some(&moctl));
        assert!(
            status == Some(0) && said.is_empty(),
            "{}\n{said}",
            here.source
        );
    }
    for (command, printed) in &here.steps {
        let (status, said) = shell(folder, command, Some(&moctl));
        assert_eq!(&said, printed, "{command}: {}", here.source);
        // The programs end with 1 when they print a message of the library's.
        let fails = ["cannot ", "no mosaic "].iter().any(|m| said.contains(m));
        let expected = Some(i32::from(fails));
        assert_eq!(status, expected, "{command}: {}", here.source);
    }
    let table = moctl.ok(&["web", "list"]);
    let idle = !table.contains(" mounted ") && !table.contains(" attached ");
    assert!(idle, "{}: {table}", here.source);
}

fn can_run(example: &Example) -> bool {
    match example.language.as_str() {
        "go" => requires_program("go"),
        "python" => requires_program("python3"),
        _ => true,
    }
}

#[test]
fn root_the_programs_of_the_manual_do_what_stands_there() {
    if !requires_root() || !requires_compilers() || !requires_program("mkfs.xfs") {
        return;
    }
    let manual = manual();
    let config = config(&manual);
    let fs = MountedFs::with_size("xfs", 32 << 30).unwrap();
    let mut examples = examples(&manual);
    let count = |language| examples.iter().filter(|e| e.language == language).count();
    assert!(count("c") > 9 && count("go") == 1 && count("python") == 1);
    examples.retain(can_run);
    let folder = bench();
    for (at, example) in examples.iter().enumerate() {
        run(
            example,
            folder.path(),
            &fs.path().join(format!("web{at}")),
            &config,
        );
    }
}

#[test]
fn the_programs_of_the_manual_compile_without_warnings() {
    if !requires_compilers() {
        return;
    }
    let manual = manual();
    let folder = bench();
    let mut compiled = 0;
    for example in examples(&manual).iter().filter(|e| e.language == "c") {
        prepare(example, folder.path());
        compiled += 1;
    }
    assert!(compiled > 9, "{compiled}");
}
