//! Colours, where the reader can see them.

use anstyle::{AnsiColor, Effects};

/// Whether text is painted with ANSI escape codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Plain text: pipes and files.
    #[default]
    Plain,
    /// Escape codes: terminals.
    Colored,
}

impl Style {
    fn paint(self, style: anstyle::Style, text: &str) -> String {
        match self {
            Style::Plain => text.to_owned(),
            Style::Colored => format!("{style}{text}{style:#}"),
        }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.paint(anstyle::Style::new().effects(Effects::BOLD), text)
    }

    /// Something that needs attention.
    pub fn warning(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default().effects(Effects::BOLD), text)
    }

    /// An error.
    pub fn error(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().effects(Effects::BOLD), text)
    }

    /// What may be skipped.
    pub fn faint(self, text: &str) -> String {
        self.paint(anstyle::Style::new().effects(Effects::DIMMED), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_escape_codes() {
        assert_eq!(Style::Plain.warning("hot"), "hot");
        let painted = Style::Colored.warning("hot");
        assert!(painted.starts_with('\u{1b}') && painted.contains("hot") && painted.ends_with("\u{1b}[0m"));
    }
}
