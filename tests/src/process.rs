//! Processes that a test starts, reads, and kills.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::fixture::Failure;

/// A child that is killed when the test ends, however it ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        Ok(Self { child, lines: BufReader::new(stdout) })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads lines until one contains `text`.
    ///
    /// # Errors
    /// When the process ends before.
    pub fn wait_for(&mut self, text: &str) -> Result<String, Failure> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err(format!("the process ended before it said {text:?}").into());
            }
            if line.contains(text) {
                return Ok(line.trim().to_owned());
            }
        }
    }

    /// SIGKILL: no destructor runs, no buffer is flushed. Returns what it said since it
    /// was last listened to.
    ///
    /// # Errors
    /// When the process had ended by itself.
    pub fn kill(mut self) -> Result<String, Failure> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the process had ended by itself: {status}").into());
        }
        self.child.kill()?;
        self.child.wait()?;
        let mut said = String::new();
        self.lines.read_to_string(&mut said)?;
        Ok(said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
