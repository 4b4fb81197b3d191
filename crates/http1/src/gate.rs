use memchr::memchr;

/// Keeps a head that comes in small pieces from being scanned again with every piece.
///
/// A scan starts at the first byte each time, so that no state of it can be carried to other bytes; the gate only
/// says when one is worth while: when a line has ended since the last, when the head has doubled, or at the limit. As
/// lines are bounded in number, the work stays linear.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// Length of the buffer at the last scan.
    scanned: usize,
    /// Length of the buffer up to which no line end was found since.
    searched: usize,
}

impl Gate {
    /// Whether a scan of `buf` can tell anything that the last did not.
    pub(crate) fn opens(&mut self, buf: &[u8], bytes_max: usize) -> bool {
        let grown = buf.len() >= self.searched && self.searched > 0;
        if !grown || buf.len() >= bytes_max || buf.len() >= 2 * self.scanned {
            return true;
        }
        let fresh = buf.get(self.searched..).unwrap_or_default();
        self.searched = buf.len();
        memchr(b'\n', fresh).is_some()
    }

    /// A scan of `len` bytes found the head incomplete.
    pub(crate) fn waits_at(&mut self, len: usize) {
        self.scanned = len;
        self.searched = len;
    }

    /// The next scan is of another head.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}
