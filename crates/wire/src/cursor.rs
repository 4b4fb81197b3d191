//! A bounds-checked walk over packet memory, in the form that the verifier can follow.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, Unaligned};

use crate::SegmentError;

/// A position in a packet and the packet's end.
///
/// The kernel's verifier accepts an access only after a comparison of the moved pointer with `data_end`; it does not
/// follow a length. So this holds two pointers, and every step compares one with the other.
#[derive(Clone, Copy)]
pub struct Cursor<'p> {
    at: *const u8,
    end: *const u8,
    packet: PhantomData<&'p [u8]>,
}

impl<'p> Cursor<'p> {
    /// A cursor over `packet`, for userspace: tests, simulators, the same decisions outside the kernel.
    pub const fn new(packet: &'p [u8]) -> Self {
        let at = packet.as_ptr();
        // SAFETY: one past the end of the same allocation.
        let end = unsafe { at.add(packet.len()) };
        Self { at, end, packet: PhantomData }
    }

    /// A cursor over the memory from `at` up to `end`.
    ///
    /// # Safety
    ///
    /// `at..end` must be readable and unchanged for `'p`, with `at <= end`: in a program, `data` and `data_end` of its context,
    /// until a helper that may move packet memory is called.
    #[inline(always)]
    pub const unsafe fn from_raw(at: *const u8, end: *const u8) -> Self {
        Self { at, end, packet: PhantomData }
    }

    /// Reads a `T` and steps past it.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Truncated`] when fewer bytes are left.
    #[inline(always)]
    pub fn read<T: FromBytes + Unaligned + Immutable>(self) -> Result<(&'p T, Self), SegmentError> {
        let next = self.at.wrapping_add(size_of::<T>());
        // Pointer against `end`, never a length: the verifier tracks only this form.
        if next > self.end {
            return Err(SegmentError::Truncated);
        }
        // SAFETY: `at..next` is inside the packet; `T` has alignment 1 and no invalid bit patterns.
        Ok((unsafe { &*self.at.cast::<T>() }, Self { at: next, ..self }))
    }

    /// Steps over `length` bytes, at most 63: the bound that keeps a variable step within what the verifier tracks.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Truncated`] when fewer bytes are left.
    #[inline(always)]
    pub fn skip(self, length: u8) -> Result<Self, SegmentError> {
        let next = self.at.wrapping_add(usize::from(length & 0x3f));
        if next > self.end {
            return Err(SegmentError::Truncated);
        }
        Ok(Self { at: next, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let cursor = Cursor::new(&[1, 2, 3, 4, 5]);
        let (first, cursor) = cursor.read::<[u8; 2]>().unwrap();
        let cursor = cursor.skip(1).unwrap();
        let (second, cursor) = cursor.read::<[u8; 2]>().unwrap();
        assert_eq!((first, second), (&[1, 2], &[4, 5]));
        assert_eq!(cursor.read::<u8>().err(), Some(SegmentError::Truncated));
        assert_eq!(cursor.skip(1).err(), Some(SegmentError::Truncated));
        assert!(cursor.skip(0).is_ok());
    }

    #[test]
    fn an_empty_packet_holds_nothing() {
        assert_eq!(Cursor::new(&[]).read::<u8>().err(), Some(SegmentError::Truncated));
    }
}
