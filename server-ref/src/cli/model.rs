//! `model`: the model of a task.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use adafed_wire::TaskId;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::blocking::Response;
use safetensors::SafeTensors;
use serde_json::json;

use super::client::Connection;
use super::failure::Failure;
use super::show::bytes;
use super::{EXIT_CODES, Terminal};

/// Longest file that is held: a model as the wire has it, and the names of its tensors.
const LONGEST: u64 = adafed_wire::LARGEST as u64 + (16 << 20);

const BAR: &str = "{bar:40} {binary_bytes} of {binary_total_bytes}, {eta} left";

/// The model of a task.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Model {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the current model as a safetensors file, whole or not at all.
    #[command(after_help = "Example:\n  adafed-server model pull digits -o digits.safetensors")]
    Pull {
        task: TaskId,
        /// File to write; TASK.safetensors without.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Model {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let client = self.connection.open(terminal)?;
        let Command::Pull { task, output } = &self.command;
        let path = output.clone().unwrap_or_else(|| format!("{task}.safetensors").into());
        let answer = client.download(&format!("/v1/tasks/{task}/model"))?;
        let model = receive(answer).map_err(|e| client.unreachable(e.to_string()))?;
        let tensors = SafeTensors::deserialize(&model).map_err(|e| {
            Failure::Other(format!("the answer is no safetensors file: {e}; nothing was written"))
        })?;
        let (tensors, length) = (tensors.len(), model.len() as u64);
        write(&path, &model).map_err(|e| Failure::written(path.display(), &e))?;
        terminal.print(&if self.connection.json {
            format!("{}\n", json!({ "task": task, "file": path, "bytes": length }))
        } else {
            format!("{}: {tensors} tensors, {}\n", path.display(), bytes(length))
        })
    }
}

/// The whole body, with a bar where somebody looks at it.
fn receive(answer: Response) -> io::Result<Vec<u8>> {
    let length = answer.content_length();
    let bar = match length {
        Some(length) if io::stderr().is_terminal() => ProgressBar::new(length),
        _ => ProgressBar::hidden(),
    };
    bar.set_style(
        ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut body = Vec::new();
    bar.wrap_read(answer.take(LONGEST)).read_to_end(&mut body)?;
    bar.finish_and_clear();
    Ok(body)
}

/// Writes beside the file, then takes its place: a reader sees the old one or the new one.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&partial, path));
    if moved.is_err() {
        let _ = fs::remove_file(&partial);
    }
    moved
}
