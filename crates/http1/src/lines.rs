use dataplane::head::{Field, FieldSink, Known, Span};

/// The header lines of a head, reused from message to message, with the places of those that steer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    lines: Vec<Line>,
    max: usize,
    host: Slot,
    content_length: Slot,
    transfer_encoding: Slot,
    connection: Slot,
    upgrade: Slot,
    expect: Slot,
    forwarding: bool,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) field: Field,
    /// `Connection` names it, so it ends here (RFC 9110 section 7.6.1).
    pub(crate) named: bool,
}

/// How often a field stands in a head, and the value of its first line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) count: u32,
    first: Span,
}

impl Slot {
    pub(crate) fn value(self, bytes: &[u8]) -> &[u8] {
        self.first.of(bytes)
    }

    fn add(&mut self, value: Span) {
        if self.count == 0 {
            self.first = value;
        }
        self.count += 1;
    }
}

impl FieldSink for Lines {
    #[inline]
    fn push(&mut self, field: Field) -> bool {
        if self.lines.len() >= self.max {
            return false;
        }
        match field.known {
            Known::Other => {}
            Known::Host => self.host.add(field.value),
            Known::ContentLength => self.content_length.add(field.value),
            Known::TransferEncoding => self.transfer_encoding.add(field.value),
            Known::Connection => self.connection.add(field.value),
            Known::Upgrade => self.upgrade.add(field.value),
            Known::Expect => self.expect.add(field.value),
            known => self.forwarding |= known.is_forwarding(),
        }
        self.lines.push(Line { field, named: false });
        true
    }
}

impl Line {
    fn of<'a>(&self, bytes: &'a [u8]) -> (&'a str, &'a [u8]) {
        // A field name is ASCII: the scanner let nothing else through.
        let name = std::str::from_utf8(self.field.name.of(bytes)).unwrap_or_default();
        (name, self.field.value.of(bytes))
    }
}

impl Lines {
    /// Empties it for a head of at most `max` lines; keeps the memory.
    pub(crate) fn reset(&mut self, max: usize) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        *self = Self { lines, max, ..Self::default() };
    }

    pub(crate) fn as_slice(&self) -> &[Line] {
        &self.lines
    }

    pub(crate) fn host(&self) -> Slot {
        self.host
    }

    pub(crate) fn content_length(&self) -> Slot {
        self.content_length
    }

    pub(crate) fn transfer_encoding(&self) -> Slot {
        self.transfer_encoding
    }

    pub(crate) fn connection(&self) -> Slot {
        self.connection
    }

    /// The protocol of `Upgrade`, if there is one such line with one protocol; `is_named`: `Connection` names it.
    pub(crate) fn upgraded<'b>(&self, bytes: &'b [u8], is_named: bool) -> Option<&'b str> {
        if self.upgrade.count != 1 || !is_named {
            return None;
        }
        let protocol = std::str::from_utf8(self.upgrade.value(bytes)).ok()?;
        let is_one = !protocol.is_empty() && !protocol.contains([',', ' ', '\t']);
        is_one.then_some(protocol)
    }

    pub(crate) fn upgrade(&self) -> Slot {
        self.upgrade
    }

    pub(crate) fn expect(&self) -> Slot {
        self.expect
    }

    pub(crate) fn has_forwarding(&self) -> bool {
        self.forwarding
    }

    /// Marks the lines called `name`.
    pub(crate) fn mark_named(&mut self, name: &[u8], bytes: &[u8]) {
        for line in &mut self.lines {
            line.named |= line.field.name.of(bytes).eq_ignore_ascii_case(name);
        }
    }

    /// Names and values in their order.
    pub(crate) fn iter<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.iter().map(|line| line.of(bytes))
    }

    /// Those that `Connection` does not name.
    pub(crate) fn iter_end_to_end<'a>(
        &'a self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.lines.iter().filter(|line| !line.named).map(|line| line.of(bytes))
    }

    /// The values of the lines called `name`, in their order.
    pub(crate) fn values<'a>(&'a self, name: &str, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| line.field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
            .map(move |line| line.field.value.of(bytes))
    }

    /// The offset behind line `index` in a head of `head_len` bytes.
    pub(crate) fn line_end(&self, index: usize, head_len: usize) -> usize {
        match self.lines.get(index + 1) {
            Some(next) => usize::from(next.field.name.start),
            None => head_len.saturating_sub(2),
        }
    }
}
