//! What a command says: to a person at a terminal, to a log, or (`--json`) to a program.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

/// With no terminal, how often a long command says how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);
const SPINNER_PERIOD: Duration = Duration::from_millis(80);
/// The columns of a step: its name, and what came of it.
const NAME_WIDTH: usize = 11;
const DETAIL_WIDTH: usize = 56;

/// Where output goes.
#[derive(Clone, Debug)]
pub struct Terminal {
    json: bool,
    fancy: bool,
    /// Keeps lines and moving bars apart.
    bars: MultiProgress,
}

impl Terminal {
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let fancy = !json && !plain && io::stdout().is_terminal() && io::stderr().is_terminal();
        Self {
            json,
            fancy,
            bars: MultiProgress::new(),
        }
    }

    /// For people only.
    pub fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            self.write(io::stdout(), text.as_ref());
        }
    }

    /// The result: `human` for people, `value` for programs.
    pub fn result(&self, value: &impl Serialize, human: impl FnOnce() -> String) {
        if self.json {
            let json = serde_json::to_string(value).expect("our own answers are JSON");
            self.write(io::stdout(), &json);
        } else {
            let text = human();
            if !text.is_empty() {
                self.write(io::stdout(), &text);
            }
        }
    }

    /// Something changed that somebody should know of. Nothing is lost by not reading it.
    pub fn warn(&self, text: impl AsRef<str>) {
        let mark = if self.fancy { "\x1b[33m!\x1b[0m" } else { "!" };
        self.write(io::stderr(), &format!("  {mark} {}", text.as_ref()));
    }

    pub fn failure(&self, failure: &crate::exit::Failure) {
        if self.json {
            self.write(io::stderr(), &failure.json().to_string());
        } else {
            let mark = if self.fancy {
                "\x1b[31merror:\x1b[0m"
            } else {
                "error:"
            };
            self.write(io::stderr(), &format!("{mark} {failure}"));
        }
    }

    /// A step that may take a moment; a spinner turns until it is done.
    pub fn step(&self, name: &'static str) -> Step {
        let spinner = if self.fancy {
            let style = ProgressStyle::with_template("  {spinner} {msg}")
                .expect("the template is a literal");
            let spinner = self.bars.add(ProgressBar::new_spinner());
            spinner.set_style(style);
            spinner.set_message(name);
            spinner.enable_steady_tick(SPINNER_PERIOD);
            spinner
        } else {
            ProgressBar::hidden()
        };
        Step {
            terminal: self.clone(),
            name,
            spinner,
            started: Instant::now(),
        }
    }

    /// A bar over `total` things named `unit`.
    pub fn progress(&self, total: u64, unit: &'static str) -> Progress {
        let bar = if self.fancy {
            let template =
                format!("  {{bar:32}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}");
            let style = ProgressStyle::with_template(&template).expect("the template is ours");
            self.bars.add(ProgressBar::no_length()).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        bar.set_length(total);
        Progress {
            terminal: self.clone(),
            unit,
            bar,
            said: Instant::now(),
        }
    }

    fn write(&self, mut to: impl io::Write, text: &str) {
        let mut write = || {
            // A reader that went away (`| head`) is no reason to stop a shop.
            let _ = writeln!(to, "{text}");
            let _ = to.flush();
        };
        if self.fancy {
            self.bars.suspend(write);
        } else {
            write();
        }
    }
}

/// One line of `shopzen up`.
#[derive(Debug)]
pub struct Step {
    terminal: Terminal,
    name: &'static str,
    spinner: ProgressBar,
    started: Instant,
}

impl Step {
    /// Says while it runs what takes so long.
    pub fn note(&self, text: &str) {
        if self.terminal.fancy {
            self.spinner
                .set_message(format!("{:NAME_WIDTH$} {text}", self.name));
        } else {
            self.terminal
                .line(format!("  … {:NAME_WIDTH$} {text}", self.name));
        }
    }

    pub fn done(self, detail: &str) {
        self.spinner.finish_and_clear();
        let mark = if self.terminal.fancy {
            "\x1b[32m✓\x1b[0m"
        } else {
            "✓"
        };
        let took = seconds(self.started.elapsed());
        self.terminal.line(format!(
            "  {mark} {:NAME_WIDTH$} {detail:DETAIL_WIDTH$} {took}",
            self.name
        ));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// How far a long command is.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    unit: &'static str,
    bar: ProgressBar,
    said: Instant,
}

impl Progress {
    /// Says where it is now.
    pub fn set(&mut self, position: u64, message: &str) {
        self.bar.set_position(position);
        self.bar.set_message(message.to_owned());
        if !self.terminal.fancy && self.said.elapsed() >= PROGRESS_PERIOD {
            self.said = Instant::now();
            let (at, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            self.terminal
                .line(format!("  {at}/{total} {}  {message}", self.unit));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `0.4 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
