//! Progress for people: a bar with the time left on a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// What is shown after a round.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Rounds done.
    pub round: u64,
    /// Accuracy in percent, as last measured.
    pub accuracy: Option<f64>,
    /// Largest epsilon of any device, as last computed.
    pub epsilon: f64,
    /// Active coordinates.
    pub active: usize,
    /// Bytes received from devices so far.
    pub bytes_up: u64,
    /// Bytes sent to devices so far.
    pub bytes_down: u64,
}

/// A bar, or lines.
pub struct Progress {
    bar: Option<ProgressBar>,
    rounds: u64,
    every: u64,
}

/// Plain lines of a whole run, at most.
const LINES: u64 = 20;

impl Progress {
    /// Progress over `rounds` rounds, on standard error.
    #[must_use]
    pub fn new(rounds: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{bar:30} {pos}/{len} rounds, {eta} left  {msg}";
            let style = ProgressStyle::with_template(style);
            ProgressBar::new(rounds)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, rounds, every: rounds.div_ceil(LINES).max(1) }
    }

    /// Shows a round.
    pub fn show(&self, shown: Shown) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(describe(&shown));
                bar.set_position(shown.round);
            }
            None if shown.round.is_multiple_of(self.every) || shown.round == self.rounds => {
                eprintln!("round {}/{}  {}", shown.round, self.rounds, describe(&shown));
            }
            None => {}
        }
    }

    /// Leaves the bar as it stands, on a line of its own.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
            eprintln!();
        }
    }
}

fn describe(shown: &Shown) -> String {
    let accuracy = shown.accuracy.map_or("-".into(), |a| format!("{a:.1} %"));
    format!(
        "accuracy {accuracy}  epsilon {:.2}  active {}  up {}  down {}",
        shown.epsilon,
        shown.active,
        bytes(shown.bytes_up),
        bytes(shown.bytes_down)
    )
}

/// A number of bytes, for people.
#[must_use]
pub fn bytes(n: u64) -> String {
    indicatif::HumanBytes(n).to_string()
}
