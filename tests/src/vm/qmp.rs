// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's control protocol: a JSON object a line, each command answered in turn, events between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection to one QEMU.
#[derive(Debug)]
pub(super) struct Control {
    from: BufReader<UnixStream>,
    to: UnixStream,
}

impl Control {
    /// Waits for the greeting.
    ///
    /// # Errors
    /// QEMU ended; what it wrote to stderr says why.
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        // More than enough on any machine, so that nothing hangs.
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let mut control = Self {
            from: BufReader::new(stream.try_clone()?),
            to: stream,
        };
        control.read().context("QEMU did not start")?;
        control.command("qmp_capabilities", &json!({}))?;
        // The memory stays in its file; only the devices go through the stream. The name's x- says
        // that its form may change, which it has not since QEMU 4.0.
        let only_devices = json!([{"capability": "x-ignore-shared", "state": true}]);
        control.command(
            "migrate-set-capabilities",
            &json!({"capabilities": only_devices}),
        )?;
        Ok(control)
    }

    /// Writes the state of all devices to a file. The machine stops, and the state says "running":
    /// a copy goes on by itself.
    ///
    /// # Errors
    /// QEMU could not.
    pub(super) fn save(&mut self, file: &Path) -> Result<()> {
        // Its limit is made for networks.
        self.command(
            "migrate-set-parameters",
            &json!({"max-bandwidth": 1_u64 << 40}),
        )?;
        let uri = format!("exec:cat > {}", quoted(file));
        self.command("migrate", &json!({"uri": uri}))?;
        self.await_migration()
    }

    /// Reads the state of all devices from a file, into a QEMU that was told to wait for it.
    ///
    /// # Errors
    /// QEMU could not.
    pub(super) fn restore(&mut self, file: &Path) -> Result<()> {
        let uri = format!("exec:cat {}", quoted(file));
        self.command("migrate-incoming", &json!({"uri": uri}))?;
        Ok(())
    }

    /// Ends QEMU, which may be gone before it has answered. The connection is to be kept until
    /// then: QEMU does not read what was written before it was closed.
    ///
    /// # Errors
    /// It had ended before.
    pub(super) fn quit(&mut self) -> Result<()> {
        self.send("quit", &json!({}))
    }

    fn await_migration(&mut self) -> Result<()> {
        loop {
            let state = self.command("query-migrate", &json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => bail!("QEMU cannot save its state: {state}"),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn command(&mut self, name: &str, arguments: &Value) -> Result<Value> {
        self.send(name, arguments)?;
        loop {
            let mut answer = self
                .read()
                .with_context(|| format!("no answer to {name}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {name}: {}", error["desc"]);
            }
        }
    }

    fn send(&mut self, name: &str, arguments: &Value) -> Result<()> {
        // In one piece: QEMU acts on the closing brace, and after "quit" takes no more.
        let line = format!("{}\n", json!({"execute": name, "arguments": arguments}));
        let sent = self.to.write_all(line.as_bytes());
        sent.with_context(|| format!("QEMU ended before {name}"))
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("QEMU ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// As one word of a shell's line.
pub(super) fn quoted(word: impl AsRef<std::ffi::OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        let odd = "it's $HOME; `x`\n\"";
        let script = format!("printf %s {}", quoted(odd));
        assert_eq!(crate::stdout_of("sh", &["-c", &script]).unwrap(), odd);
    }

    #[test]
    fn events_are_no_answers_and_an_error_is_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut from = BufReader::new(theirs.try_clone().unwrap());
        let qemu = std::thread::spawn(move || {
            let answers = [
                "",
                "{\"event\": \"RESUME\"}\n{\"return\": {}}\n",
                "{\"return\": {}}\n",
                "{\"error\": {\"desc\": \"no file\"}}\n",
            ];
            (&theirs).write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut told = String::new();
            for answer in &answers[1..] {
                from.read_line(&mut told).unwrap();
                (&theirs).write_all(answer.as_bytes()).unwrap();
            }
            told
        });
        let mut control = Control::new(ours).unwrap();
        let error = control.restore(Path::new("/a")).unwrap_err();
        assert!(error.to_string().contains("no file"), "{error}");
        assert!(qemu.join().unwrap().contains("exec:cat '/a'"));
    }
}
