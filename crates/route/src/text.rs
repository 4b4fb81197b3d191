use crate::group::number;

/// Where a text stands among those that were put into one piece of memory, which takes less of it, and of caches, than
/// texts of their own do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// Appends a text to `all`.
    pub(crate) fn append(all: &mut Vec<u8>, text: &[u8]) -> Self {
        let start = number(all.len());
        all.extend_from_slice(text);
        Self { start, length: number(text.len()) }
    }

    /// The first `length` bytes of it, of which there are as many.
    pub(crate) fn first(self, length: usize) -> Self {
        Self { start: self.start, length: number(length) }
    }

    /// In bytes.
    #[inline]
    pub(crate) fn length(self) -> usize {
        self.length as usize
    }

    /// The text.
    #[inline]
    pub(crate) fn of(self, all: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &all[start..start + self.length as usize]
    }
}
