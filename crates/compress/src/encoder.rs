use model::ContentCoding;

use crate::brotli::Brotli;
use crate::gzip::Gzip;
use crate::zstd::Zstd;

/// Codes one body. What it writes goes behind what `out` holds.
pub struct Encoder {
    coder: Coder,
    /// Whether something came that may not have left.
    holds: bool,
}

enum Coder {
    Gzip(Gzip),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

/// A library refused to go on: out of memory. What it wrote is no whole body.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Of gzip (RFC 1952).
    #[error("gzip: {0}")]
    Gzip(#[source] flate2::CompressError),
    /// Of Brotli (RFC 7932).
    #[error("Brotli: {0}")]
    Brotli(#[source] std::io::Error),
    /// Of Zstandard (RFC 8878).
    #[error("Zstandard: {0}")]
    Zstd(&'static str),
}

impl Encoder {
    /// Begins a body.
    ///
    /// # Errors
    /// [`EncodeError`]: there is no memory for it.
    pub fn new(coding: ContentCoding) -> Result<Self, EncodeError> {
        let coder = match coding {
            ContentCoding::Gzip => Coder::Gzip(Gzip::new()),
            ContentCoding::Brotli => Coder::Brotli(Box::new(Brotli::new())),
            ContentCoding::Zstd => Coder::Zstd(Zstd::new()?),
        };
        Ok(Self { coder, holds: false })
    }

    /// Codes `data`; some or all of it may wait for more to come.
    ///
    /// # Errors
    /// [`EncodeError`]; the body stays incomplete.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.holds |= !data.is_empty();
        match &mut self.coder {
            Coder::Gzip(gzip) => gzip.encode(data, out),
            Coder::Brotli(brotli) => brotli.encode(data, out),
            Coder::Zstd(zstd) => zstd.encode(data, out),
        }
    }

    /// Whether something came that [`Encoder::flush`] would make leave.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Makes all that came leave: who reads up to here can decode it. Costs a few bytes.
    ///
    /// # Errors
    /// [`EncodeError`]; the body stays incomplete.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !std::mem::take(&mut self.holds) {
            return Ok(());
        }
        match &mut self.coder {
            Coder::Gzip(gzip) => gzip.flush(out),
            Coder::Brotli(brotli) => brotli.flush(out),
            Coder::Zstd(zstd) => zstd.flush(out),
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`EncodeError`]; the body stays incomplete.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.coder {
            Coder::Gzip(gzip) => gzip.finish(out),
            Coder::Brotli(brotli) => {
                brotli.finish(out);
                Ok(())
            }
            Coder::Zstd(zstd) => zstd.finish(out),
        }
    }
}
