use std::io::Write;

use brotli::CompressorWriter;

use crate::EncodeError;

/// As dense as gzip at 2 and Zstandard at 1; from 4 on it takes more than twice the time.
const QUALITY: u32 = 2;
/// 256 KiB: memory of one body, here and where it is decoded.
const WINDOW_BITS: u32 = 18;
const PIECE_BYTES: usize = 4 * 1024;

/// Brotli (RFC 7932).
pub(crate) struct Brotli(CompressorWriter<Vec<u8>>);

impl Brotli {
    pub(crate) fn new() -> Self {
        Self(CompressorWriter::new(Vec::new(), PIECE_BYTES, QUALITY, WINDOW_BITS))
    }

    pub(crate) fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.write_all(data).map_err(EncodeError::Brotli)?;
        out.append(self.0.get_mut());
        Ok(())
    }

    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.flush().map_err(EncodeError::Brotli)?;
        out.append(self.0.get_mut());
        Ok(())
    }

    /// Cannot fail: it writes to memory.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        out.append(&mut self.0.into_inner());
    }
}
