// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program around us that has a `syscall` of its own, with data of its own, as some libraries for
//! LD_PRELOAD do: a waiter has its data too.

use std::sync::{Arc, Mutex};

use libc::c_long;
use mosaic_tests::requires_program;

use crate::command::Command;
use crate::command::tests::{VICTIM, passes_in};
use crate::host_services::{Host, Level, Services};

/// Counts the calls, and says how many there were. Its data is in its `.bss`, far behind what comes from
/// the file, or in memory of which the loader knows nothing.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/mman.h>

struct data {
	char before[1 << 20];
	long (*real)(long, ...);
	unsigned long calls;
};

#ifdef ELSEWHERE
static struct data *data;
#else
static struct data its, *const data = &its;
#endif

__attribute__((constructor)) static void begin(void)
{
#ifdef ELSEWHERE
	data = mmap(0, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
	data->real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
}

long syscall(long number, ...)
{
	va_list rest;
	long a[6];

	va_start(rest, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(rest, long);
	va_end(rest);
	data->calls++;
	if (number == 99999)
		return data->calls;
	return data->real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"#;

/// No system call's number: what the library tells.
const CALLS: c_long = 99999;

/// What is done, and how often.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Services for Heard {
    fn log(&self, _: Level, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// Runs a program, which is done by the first waiter or another one.
pub(super) fn runs_by(waiters: usize) {
    let heard = Arc::new(Heard::default());
    let command = Command::new("sh").args(["-c", "echo out; exit 3"]);
    let ended = command.accept(&[3]).run(&Host::new(heard.clone())).unwrap();
    assert_eq!((ended.status, &ended.stdout[..]), (3, &b"out\n"[..]));
    let heard = heard.0.lock().unwrap();
    let is_why = |line: &&String| line.ends_with("was killed before it began");
    let lost = heard.iter().filter(is_why).count();
    assert_eq!(lost + 1, waiters, "{heard:?}");
}

/// Runs the test `name` again in a process that the library is loaded into: there a program is run.
fn runs_a_program(name: &str, words: &[&str], waiters: usize) {
    if std::env::var_os(VICTIM).is_some() {
        let calls = || {
            // SAFETY: no system call has the number.
            unsafe { libc::syscall(CALLS) }
        };
        let before = calls();
        assert!(before > 0, "the library is not loaded");
        runs_by(waiters);
        assert!(calls() > before + 1, "no call of ours went through it");
        std::process::exit(77);
    }
    if !requires_program("gcc") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [source, library] = ["counts.c", "libcounts.so"].map(|name| folder.path().join(name));
    std::fs::write(&source, SOURCE).unwrap();
    let mut compiler = std::process::Command::new("gcc");
    compiler.args(["-shared", "-fPIC", "-Wall", "-Werror"]);
    let made = compiler.args(words).arg(&source).arg("-o").arg(&library);
    assert!(made.status().unwrap().success());
    passes_in(&[&format!("LD_PRELOAD={}", library.display())], name);
}

#[test]
fn a_waiter_has_what_the_loader_knows_of() {
    let name = "ioctl::spawn::tests::preloaded::a_waiter_has_what_the_loader_knows_of";
    runs_a_program(name, &[], 1);
}

#[test]
fn another_waiter_has_what_the_first_one_missed() {
    let name = "ioctl::spawn::tests::preloaded::another_waiter_has_what_the_first_one_missed";
    runs_a_program(name, &["-DELSEWHERE"], 2);
}
