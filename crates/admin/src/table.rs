use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

/// How a cell is meant, where colour may help to see it. The text says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Warn,
    /// Broken.
    Bad,
    /// Of little weight.
    Faint,
}

/// One cell of a [`Table`]. Several lines are separated by line feeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// What it says; any text.
    pub text: String,
    /// How it is meant.
    pub mood: Mood,
}

impl Cell {
    /// A cell with a mood.
    pub fn new(text: impl Into<String>, mood: Mood) -> Self {
        Self { text: text.into(), mood }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Mood::Plain)
    }
}

/// Rows under named columns, for the status page and for the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: Cow<'static, str>,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
    /// Said instead of an empty table.
    pub empty: Cow<'static, str>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<Cow<'static, str>>, columns: &[&'static str], empty: &'static str) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new(), empty: empty.into() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As aligned columns in capitals, for a terminal. `colour` adds ANSI colours.
    ///
    /// Control characters are shown as `?`: names come from files, and a terminal obeys them.
    pub fn to_text(&self, colour: bool) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let mut out = String::new();
        let heads = self.columns.iter().map(|name| (name.to_uppercase(), Mood::Plain));
        line(&mut out, heads, &widths, false);
        for row in &self.rows {
            let height = row.iter().map(|cell| cell.text.lines().count().max(1)).max().unwrap_or(1);
            for at in 0..height {
                let cells = row.iter().map(|c| (printable(c.text.lines().nth(at).unwrap_or("")), c.mood));
                line(&mut out, cells, &widths, colour);
            }
        }
        out
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| cell.text.lines());
        cells.map(|text| text.chars().count()).chain([self.columns[column].len()]).max().unwrap_or(0)
    }
}

fn line(out: &mut String, cells: impl Iterator<Item = (String, Mood)>, widths: &[usize], colour: bool) {
    let start = out.len();
    for (column, (text, mood)) in cells.enumerate() {
        if column > 0 {
            out.push_str("  ");
        }
        let width = widths.get(column).copied().unwrap_or(0);
        let code = match mood {
            _ if !colour => "",
            Mood::Plain => "",
            Mood::Good => "32",
            Mood::Warn => "33",
            Mood::Bad => "31",
            Mood::Faint => "2",
        };
        // Padding stands outside the colour. Writing into a String cannot fail.
        let padding = width.saturating_sub(text.chars().count());
        let _ = match code {
            "" => write!(out, "{text}"),
            code => write!(out, "\x1b[{code}m{text}\x1b[0m"),
        };
        out.extend(std::iter::repeat_n(' ', padding));
    }
    let end = out[start..].trim_end_matches(' ').len();
    out.truncate(start + end);
    out.push('\n');
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new("Things", &["name", "state"], "none");
        table.row(["a".into(), Cell::new("bound", Mood::Good)]);
        table.row(["longer\nsecond".into(), "x".into()]);
        assert_eq!(table.to_text(false), "NAME    STATE\na       bound\nlonger  x\nsecond\n");
    }

    #[test]
    fn colours_are_only_where_asked_for() {
        let mut table = Table::new("Things", &["name", "state"], "none");
        table.row(["a".into(), Cell::new("gone", Mood::Bad)]);
        assert_eq!(table.to_text(true), "NAME  STATE\na     \x1b[31mgone\x1b[0m\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new("Things", &["name"], "none");
        table.row(["\x1b[2Jevil".into()]);
        assert_eq!(table.to_text(true), "NAME\n?[2Jevil\n");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new("Things", &["name"], "no things").to_text(false), "no things\n");
    }
}
