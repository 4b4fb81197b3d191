use zstd_safe::zstd_sys::ZSTD_EndDirective::{self, ZSTD_e_continue, ZSTD_e_end, ZSTD_e_flush};
use zstd_safe::{CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, get_error_name};

use crate::EncodeError;

/// As dense as gzip at 2 in less than half the time.
const LEVEL: i32 = 1;
/// 256 KiB: memory of one body, here and where it is decoded, which RFC 9659 bounds by 8 MiB.
const WINDOW_BITS: u32 = 18;
/// Room for the next piece of what is written.
const PIECE_BYTES: usize = 4 * 1024;

/// Zstandard (RFC 8878).
pub(crate) struct Zstd(CCtx<'static>);

impl Zstd {
    pub(crate) fn new() -> Result<Self, EncodeError> {
        let mut context = CCtx::try_create().ok_or(EncodeError::Zstd("no memory"))?;
        for parameter in [CParameter::CompressionLevel(LEVEL), CParameter::WindowLog(WINDOW_BITS)] {
            context.set_parameter(parameter).map_err(error)?;
        }
        Ok(Self(context))
    }

    pub(crate) fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut input = InBuffer::around(data);
        while input.pos() < data.len() {
            self.step(&mut input, out, ZSTD_e_continue)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        while self.step(&mut InBuffer::around(&[]), out, ZSTD_e_flush)? > 0 {}
        Ok(())
    }

    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        while self.step(&mut InBuffer::around(&[]), out, ZSTD_e_end)? > 0 {}
        Ok(())
    }

    /// At least how many bytes wait for room.
    fn step(
        &mut self,
        input: &mut InBuffer<'_>,
        out: &mut Vec<u8>,
        end: ZSTD_EndDirective,
    ) -> Result<usize, EncodeError> {
        out.reserve(PIECE_BYTES);
        let at = out.len();
        let mut output = OutBuffer::around_pos(out, at);
        self.0.compress_stream2(&mut output, input, end).map_err(error)
    }
}

fn error(code: ErrorCode) -> EncodeError {
    EncodeError::Zstd(get_error_name(code))
}
