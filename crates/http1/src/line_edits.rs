use bytes::{BufMut, BytesMut};

use crate::request_write::write_line;

/// Header lines that are taken out of heads and put behind their others: planned once, written with every head.
///
/// Later changes act on the outcome of earlier ones, so that two lists of changes are one. The caller keeps names that
/// frame messages out of it ([`crate::Known`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdits {
    remove: Vec<Box<str>>,
    /// Those that go in every spelling.
    remove_alike: Vec<Box<str>>,
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
        self.remove.is_empty() && self.remove_alike.is_empty() && self.append.is_empty()
    }

    /// Whether lines called `name` are taken out or put in.
    pub fn is_about(&self, name: &str) -> bool {
        self.removes(name.as_bytes()) || self.append.iter().any(|line| line.is_called(name.as_bytes()))
    }

    /// Takes all lines called `name` out.
    pub fn remove(&mut self, name: &str) {
        self.append.retain(|line| !line.is_called(name.as_bytes()));
        if !self.removes(name.as_bytes()) {
            self.remove.push(name.into());
        }
    }

    /// Takes all lines out that some endpoint may take for one called `name` ([`is_alike`]).
    pub fn remove_alike(&mut self, name: &str) {
        self.append.retain(|line| !line.name().is_some_and(|own| is_alike(own, name.as_bytes())));
        self.remove_alike.push(name.into());
    }

    /// Makes the changes of `later` behind these.
    pub fn extend(&mut self, later: &Self) {
        later.remove_alike.iter().for_each(|name| self.remove_alike(name));
        later.remove.iter().for_each(|name| self.remove(name));
        self.append.extend_from_slice(&later.append);
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

    /// Names and values of the lines that are put in.
    pub fn added(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.append.iter().filter_map(|line| {
            let (name, rest) = line.bytes.split_at_checked(line.name_len)?;
            Some((std::str::from_utf8(name).ok()?, rest.get(2..rest.len().checked_sub(2)?)?))
        })
    }

    /// Whether lines called `name` are taken out.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
            || self.remove_alike.iter().any(|removed| is_alike(removed.as_bytes(), name))
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        for line in &self.append {
            out.put_slice(&line.bytes);
        }
    }
}

impl Line {
    fn is_called(&self, name: &[u8]) -> bool {
        self.name().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    fn name(&self) -> Option<&[u8]> {
        self.bytes.get(..self.name_len)
    }
}

/// Whether some endpoint may take a header called `one` for one called `other`: where environment variables stand for headers, whatever is
/// no letter and no digit may become `_` (RFC 3875 section 4.1.18 asks it of `-`, servers do it to the rest), and case never counts.
pub fn is_alike(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
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
        edits.add("X-E", b"5");
        assert!(edits.is_about("x-e") && edits.is_about("x-c") && !edits.is_about("x-d"));
    }

    #[test]
    fn a_name_goes_in_every_spelling_and_lists_follow_each_other() {
        let mut edits = LineEdits::default();
        edits.add("X_User", b"eve");
        edits.remove_alike("X-User-Id");
        edits.remove_alike("X-User");
        assert!(!edits.is_empty());
        edits.add("X-User", b"anna");
        edits.add("X-Kept", b"1");
        for name in ["x-user-id", "X_User-Id", "X-USER_ID", "x_user", "X.User", "x~user", "X.User+Id"] {
            assert!(edits.removes(name.as_bytes()), "{name}");
        }
        assert!(!edits.removes(b"X-Users") && !edits.removes(b"XUser") && !edits.removes(b"X--User"));
        let mut later = LineEdits::default();
        later.set("x-kept", b"2");
        edits.extend(&later);
        let mut out = BytesMut::new();
        edits.write(&mut out);
        assert_eq!(&out[..], b"X-User: anna\r\nx-kept: 2\r\n");
    }
}
