//! Indented C text.

use std::fmt::Display;

/// C statements, indented by their nesting; the first level is that of a function's body.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    text: String,
    depth: usize,
}

impl Code {
    pub(crate) fn new() -> Self {
        Code { text: String::new(), depth: 1 }
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl Display) {
        let line = line.to_string();
        self.text.extend(std::iter::repeat_n("    ", self.depth));
        self.text.push_str(&line);
        self.text.push('\n');
    }

    /// A line that opens a block: `head {`.
    pub(crate) fn open(&mut self, head: impl Display) {
        self.line(format_args!("{head} {{"));
        self.depth += 1;
    }

    /// `for (int32_t name = 0; name < count; ++name) {`
    pub(crate) fn count(&mut self, name: &str, count: usize) {
        self.open(format_args!("for (int32_t {name} = 0; {name} < {count}; ++{name})"));
    }

    /// The end of a block.
    pub(crate) fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    /// The end of `count` blocks.
    pub(crate) fn close_all(&mut self, count: usize) {
        for _ in 0..count {
            self.close();
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// `name * factor`, shorter where the factor is 0 or 1.
pub(crate) fn times(name: &str, factor: impl TryInto<i64>) -> String {
    match factor.try_into().unwrap_or(i64::MAX) {
        0 => "0".to_owned(),
        1 => name.to_owned(),
        n => format!("{name} * {n}"),
    }
}

/// `a + b`, without terms that are 0.
pub(crate) fn sum(terms: &[String]) -> String {
    let some: Vec<&str> = terms.iter().map(String::as_str).filter(|t| *t != "0").collect();
    if some.is_empty() { "0".to_owned() } else { some.join(" + ") }
}

/// `name - amount`, `name + amount` or `name`.
pub(crate) fn less(name: &str, amount: i64) -> String {
    match amount {
        0 => name.to_owned(),
        n if n > 0 => format!("{name} - {n}"),
        n => format!("{name} + {}", -n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_indented_and_sums_short() {
        let mut code = Code::new();
        code.count("i", 3);
        code.line("x;");
        code.close();
        assert_eq!(code.finish(), "    for (int32_t i = 0; i < 3; ++i) {\n        x;\n    }\n");
        assert_eq!(sum(&[times("i", 0), times("j", 1), times("k", 7)]), "j + k * 7");
        assert_eq!((less("y", 0), less("y", -3), less("y", 2)), ("y".into(), "y + 3".into(), "y - 2".into()));
    }
}
