//! Aligned columns.

use crate::Style;

/// Where a cell stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Blanks between columns.
const GAP: &str = "  ";

/// Rows of text under a heading, printed in columns as wide as their widest cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns. Headings that are all empty are not printed.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Table { columns: columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect(), rows: Vec::new() }
    }

    /// A table of names and values, without headings.
    pub fn facts() -> Self {
        Table::new(&[("", Align::Left), ("", Align::Left)])
    }

    /// Adds a row. Missing cells are blank; cells beyond the last column are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).take(self.columns.len()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
        self
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, without trailing blanks.
    pub fn text(&self, style: Style) -> String {
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let mut text = String::new();
        let names: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        if names.iter().any(|name| !name.is_empty()) {
            text.push_str(&style.heading(&self.line(&names, &widths)));
            text.push('\n');
        }
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let heading = self.columns[column].0.chars().count();
        self.rows.iter().map(|row| row[column].chars().count()).fold(heading, usize::max)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells.iter().zip(&self.columns).zip(widths).map(|((cell, (_, align)), &width)| {
            // Formatting pads by characters, as `width` counts.
            match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            }
        });
        padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&[("name", Align::Left), ("bytes", Align::Right), ("note", Align::Left)]);
        table.row(["conv", "1,024", ""]).row(["fully connected", "8", "last"]);
        assert_eq!(
            table.text(Style::Plain),
            "name             bytes  note\n\
             conv             1,024\n\
             fully connected      8  last\n"
        );
    }

    #[test]
    fn facts_have_no_heading_line() {
        let mut table = Table::facts();
        table.row(["size", "12 KB"]).row(["agreement", "98 %"]);
        assert_eq!(table.text(Style::Plain), "size       12 KB\nagreement  98 %\n");
    }

    #[test]
    fn width_counts_characters_not_bytes() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Left)]);
        table.row(["größe", "x"]).row(["small", "y"]);
        assert_eq!(table.text(Style::Plain), "a      b\ngröße  x\nsmall  y\n");
    }

    #[test]
    fn short_rows_are_filled_and_long_ones_cut() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Right)]);
        table.row(["1"]).row(["1", "2", "3"]);
        assert_eq!(table.text(Style::Plain), "a  b\n1\n1  2\n");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Right)]);
        table.row(["long cell", "1"]);
        let colored = table.text(Style::Colored);
        assert_eq!(colored.lines().nth(1), table.text(Style::Plain).lines().nth(1));
    }
}
