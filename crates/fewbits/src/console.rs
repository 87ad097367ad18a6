//! What a person or a program sees: results on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};

use fewbits::report::{Report, Style};
use fewbits::{Error, Progress, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where results and messages go, and in which form.
pub(crate) struct Console {
    json: bool,
    bars: bool,
    out: Style,
    err: Style,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        // https://no-color.org: set and not empty.
        let colors = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let style = |terminal: bool| if terminal && colors { Style::Colored } else { Style::Plain };
        let err_is_terminal = std::io::stderr().is_terminal();
        Console {
            json,
            bars: err_is_terminal && !json && !quiet,
            out: style(std::io::stdout().is_terminal()),
            err: style(err_is_terminal),
        }
    }

    /// Prints a result.
    pub(crate) fn show(&self, report: &impl Report) -> Result<()> {
        let text = if self.json {
            report.to_json().map_err(|e| Error::Usage(format!("the result has no JSON form: {e}")))?
        } else {
            report.text(self.out)
        };
        match std::io::stdout().write_all(text.as_bytes()) {
            // A reader that has seen enough (`| head`) is no error.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(source) => Err(Error::Io { action: "write", path: "standard output".into(), source }),
            Ok(()) => Ok(()),
        }
    }

    /// Lines on stderr: why there is no result.
    pub(crate) fn missed(&self, reasons: &[String]) {
        for reason in reasons {
            let line = format!("{} {reason}\n", self.err.error("error:"));
            // There is nowhere left to say that stderr is closed.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    /// One line on stderr: the error, what caused it, and nothing twice.
    pub(crate) fn error(&self, error: &Error) {
        let line = format!("{} {}\n", self.err.error("error:"), chain(error));
        // There is nowhere left to say that stderr is closed.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// A progress bar, where somebody can see it.
    pub(crate) fn progress(&self) -> Bar {
        Bar { visible: self.bars, bar: None }
    }
}

/// The messages of an error and its causes, without those that the one before quotes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// A progress bar on stderr.
pub(crate) struct Bar {
    visible: bool,
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn start(&mut self, what: &str, total: usize) {
        self.finish();
        if !self.visible {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg:12} [{bar:30}] {pos}/{len} {eta} {prefix}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        self.bar = Some(bar);
    }

    fn advance(&mut self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn note(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(text.to_owned());
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // An error in the middle must not leave half a bar before its message.
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let source = std::io::Error::other("no space");
        let error = Error::Io { action: "write", path: "m.onnx".into(), source };
        assert_eq!(chain(&error), "cannot write m.onnx: no space");
    }
}
