//! Sending a frame of ours from a device, as it is.
//!
//! A test run of `rauta_tc_send` on the frame, which sends a clone of it: no socket, no firewall, no neighbour look-up
//! comes in between, as with what the programs forward; and no other capability is needed than for loading them.

use aya::{TestRun, TestRunOptions, programs::SchedClassifier};
use zerocopy::{Immutable, IntoBytes};

use crate::SendError;

/// The part of `struct __sk_buff` that a test run takes (include/uapi/linux/bpf.h); the rest counts as zero.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Context {
    length: u32,
    packet_type: u32,
    mark: u32,
}

/// Sends `frame`, which begins with its Ethernet header, from the device of that index.
///
/// # Errors
///
/// [`SendError::Device`] when the device did not take it; it may be gone.
pub(crate) fn send(program: &SchedClassifier, device: u32, frame: &[u8]) -> Result<(), SendError> {
    let context = Context { length: 0, packet_type: 0, mark: device };
    let options =
        TestRunOptions { data_in: Some(frame), ctx_in: Some(context.as_bytes()), ..TestRunOptions::new() };
    let failed = |source| SendError::Run { length: frame.len(), source: Box::new(source) };
    let result = program.test_run(options).map_err(failed)?;
    match result.return_value.cast_signed() {
        0 => Ok(()),
        code => Err(SendError::Device { device, code }),
    }
}
