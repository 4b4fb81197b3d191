use std::io::IsTerminal;

/// Prints for people: headings, notes, marks; in colour on a terminal only.
pub(super) struct Printer {
    is_terminal: bool,
}

impl Printer {
    pub(super) fn new() -> Self {
        // https://no-color.org
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_terminal: std::io::stdout().is_terminal() && !wants_none }
    }

    pub(super) fn heading(&self, text: &str) {
        println!("\n{}", self.styled("1", text));
    }

    pub(super) fn note(&self, text: &str) {
        println!("{}", self.styled("2", text));
    }

    pub(super) fn plain(&self, text: &str) {
        println!("{text}");
    }

    /// A line that says that something is as it should be.
    pub(super) fn good(&self, text: &str) {
        println!("  {} {text}", self.styled("32", "ok"));
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.is_terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A bar of `share` (0 to 1) of 40 characters.
pub(super) fn bar(share: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 40 by the clamp")]
    let filled = (share * 40.0).round().clamp(0.0, 40.0) as usize;
    "#".repeat(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(0.25).len(), 10);
        assert_eq!(bar(7.0).len(), 40);
    }
}
