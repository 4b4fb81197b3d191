use bytes::{BufMut, BytesMut};

use crate::request_write::write_line;

/// Header lines that are taken out of heads and put behind their others: planned once, written with every head.
///
/// Later changes act on the outcome of earlier ones, so that two lists of changes are one. The caller keeps names that
/// frame messages out of it ([`crate::Known`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdits {
    remove: Vec<Box<str>>,
    append: Vec<Line>,
}

/// A line as it is written, with its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name_len: usize,
    bytes: Box<[u8]>,
}

impl LineEdits {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.append.is_empty()
    }

    /// Takes all lines called `name` out.
    pub fn remove(&mut self, name: &str) {
        self.append.retain(|line| !line.is_called(name.as_bytes()));
        if !self.removes(name.as_bytes()) {
            self.remove.push(name.into());
        }
    }

    /// Puts one line in the place of all called `name`.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Puts a line behind those called `name`. CR, LF and NUL become spaces.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let mut bytes = BytesMut::new();
        write_line(&mut bytes, name, value);
        self.append.push(Line { name_len: name.len(), bytes: bytes.as_ref().into() });
    }

    /// Whether lines called `name` are taken out.
    pub(crate) fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        for line in &self.append {
            out.put_slice(&line.bytes);
        }
    }
}

impl Line {
    fn is_called(&self, name: &[u8]) -> bool {
        self.bytes.get(..self.name_len).is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_changes_act_on_the_outcome_of_earlier_ones() {
        let mut edits = LineEdits::default();
        assert!(edits.is_empty());
        edits.add("X-A", b"1");
        edits.set("x-b", b"2");
        edits.add("X-B", b"3\r\nForged: 1");
        edits.set("x-a", b"4");
        edits.remove("X-C");
        let mut out = BytesMut::new();
        edits.write(&mut out);
        assert_eq!(&out[..], b"x-b: 2\r\nX-B: 3  Forged: 1\r\nx-a: 4\r\n");
        assert!(edits.removes(b"X-A") && edits.removes(b"x-B") && edits.removes(b"x-c"));
        assert!(!edits.removes(b"x-d") && !edits.is_empty());
    }
}
