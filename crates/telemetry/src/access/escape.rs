//! Values in lines: what a client sends can neither end a line or a value, nor speak to a terminal.

use std::fmt::{self, Write};

/// Bytes of one value; the rest is cut off, and three dots say so.
const VALUE_BYTES_MAX: usize = 4096;

/// How values are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As in JSON strings; bytes that are no UTF-8 become U+FFFD.
    Json,
    /// `\xNN` for each byte of a control character, quotes, backslashes, and bytes that are no UTF-8, as nginx has it.
    Text,
}

/// Writes values into a line.
pub(super) struct Escaped<'o> {
    out: &'o mut Vec<u8>,
    style: Style,
    room: usize,
}

impl<'o> Escaped<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, style: Style) -> Self {
        Self { out, style, room: VALUE_BYTES_MAX }
    }

    pub(super) fn show(&mut self, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            // Writing into memory cannot fail.
            let _ = write!(self, "{value}");
        }
    }

    pub(super) fn text(&mut self, text: Option<&str>) {
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if self.room == 0 {
            return;
        }
        let kept = bytes.get(..self.room).unwrap_or(bytes);
        self.room -= kept.len();
        let cut = kept.len() < bytes.len();
        if !cut && kept.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.out.extend_from_slice(kept);
            return;
        }
        for chunk in kept.utf8_chunks() {
            chunk.valid().chars().for_each(|c| self.char(c));
            // A character that was cut in two is no bad one.
            let is_halved = cut && chunk.invalid().as_ptr_range().end == kept.as_ptr_range().end;
            if !is_halved {
                self.invalid(chunk.invalid());
            }
        }
        if cut {
            self.room = 0;
            self.out.extend_from_slice(b"...");
        }
    }

    fn char(&mut self, c: char) {
        // The separators of lines and paragraphs end a line for some.
        let is_plain = !c.is_control() && !matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}');
        let mut buffer = [0; 4];
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        match (is_plain, self.style) {
            (true, _) => self.out.extend_from_slice(bytes),
            (false, Style::Json) if matches!(c, '"' | '\\') => self.out.extend_from_slice(&[b'\\', bytes[0]]),
            (false, Style::Json) => {
                let _ = std::io::Write::write_fmt(&mut *self.out, format_args!("\\u{:04x}", u32::from(c)));
            }
            (false, Style::Text) => bytes.iter().for_each(|byte| self.hex(*byte)),
        }
    }

    fn invalid(&mut self, bytes: &[u8]) {
        match self.style {
            Style::Json if bytes.is_empty() => {}
            Style::Json => self.out.extend_from_slice("\u{fffd}".as_bytes()),
            Style::Text => bytes.iter().for_each(|byte| self.hex(*byte)),
        }
    }

    fn hex(&mut self, byte: u8) {
        // Writing into memory cannot fail.
        let _ = std::io::Write::write_fmt(&mut *self.out, format_args!("\\x{byte:02x}"));
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], style: Style) -> String {
        let mut out = Vec::new();
        Escaped::new(&mut out, style).bytes(bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_ends_a_line_or_a_value_or_speaks_to_a_terminal() {
        let hostile = b"a\"b\\c\r\n\x1b[31m\xff\xc3\x28\xc2\x9b\xe2\x80\xa8\x7f\xc3\xbc";
        assert_eq!(
            escaped(hostile, Style::Json),
            "a\\\"b\\\\c\\u000d\\u000a\\u001b[31m\u{fffd}\u{fffd}(\\u009b\\u2028\\u007fü"
        );
        assert_eq!(
            escaped(hostile, Style::Text),
            "a\\x22b\\x5cc\\x0d\\x0a\\x1b[31m\\xff\\xc3(\\xc2\\x9b\\xe2\\x80\\xa8\\x7fü"
        );
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let long = format!("{}ü", "a".repeat(VALUE_BYTES_MAX - 1));
        assert_eq!(escaped(long.as_bytes(), Style::Json), format!("{}...", "a".repeat(VALUE_BYTES_MAX - 1)));
        assert_eq!(escaped(&long.as_bytes()[1..], Style::Json), long[1..]);
    }
}
