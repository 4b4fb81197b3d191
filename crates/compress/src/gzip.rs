use flate2::{Compress, Compression, FlushCompress, Status};

use crate::EncodeError;

/// At 1 the library writes a third more; at 3 it takes a third more time for a twentieth less.
const LEVEL: u32 = 2;
/// 32 KiB, the most that the format has.
const WINDOW_BITS: u8 = 15;
/// Room for the next piece of what is written.
const PIECE_BYTES: usize = 4 * 1024;

/// gzip (RFC 1952), by zlib-rs.
pub(crate) struct Gzip(Compress);

impl Gzip {
    pub(crate) fn new() -> Self {
        Self(Compress::new_gzip(Compression::new(LEVEL), WINDOW_BITS))
    }

    pub(crate) fn encode(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        while !data.is_empty() {
            let (taken, _) = self.step(data, out, FlushCompress::None)?;
            data = data.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // Room that is left says that there was no more to write (zlib manual, deflate).
        while {
            self.step(&[], out, FlushCompress::Sync)?;
            out.len() == out.capacity()
        } {}
        Ok(())
    }

    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        while self.step(&[], out, FlushCompress::Finish)?.1 != Status::StreamEnd {}
        Ok(())
    }

    /// How much of `data` was taken.
    fn step(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
        flush: FlushCompress,
    ) -> Result<(usize, Status), EncodeError> {
        out.reserve(PIECE_BYTES);
        let before = self.0.total_in();
        let status = self.0.compress_vec(data, out, flush).map_err(EncodeError::Gzip)?;
        let taken = usize::try_from(self.0.total_in() - before).unwrap_or(data.len());
        Ok((taken, status))
    }
}
