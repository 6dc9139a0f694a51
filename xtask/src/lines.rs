// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command writes, line by line while it runs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result};

/// Runs a command without input, hands over its lines as they come, gives whether it succeeded.
///
/// # Errors
/// It cannot be run.
pub fn of(command: &mut Command, mut take: impl FnMut(String)) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let (lines, received) = channel();
    forward(child.stdout.take(), lines.clone());
    forward(child.stderr.take(), lines);
    received.into_iter().for_each(&mut take);
    Ok(child.wait()?.success())
}

/// Both streams come line by line, so that they do not end up within each other's lines.
fn forward(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else {
        return;
    };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if lines.send(text).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_are_read_and_the_status_is_known() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo a; echo b >&2; echo c; exit 3"]);
        assert!(!of(&mut command, |line| lines.push(line)).unwrap());
        lines.sort();
        assert_eq!(lines, ["a", "b", "c"]);
    }
}
