use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;
use http1::{RequestHead, ResponseHead};

/// A text that is kept holds a DATA frame of the usual limit (RFC 9113 section 4.2) as a chunk.
const TEXT_BYTES_MAX: usize = 20 * 1024;
/// A fresh one holds a usual head.
const TEXT_BYTES: usize = 512;
const TEXTS_MAX: usize = 64;

/// What streams that follow each other keep their text and heads in: one for all connections of a thread, or for one connection.
/// A stream that waits holds none of it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Rc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    texts: RefCell<Vec<BytesMut>>,
    request: RefCell<RequestHead>,
    response: RefCell<ResponseHead>,
}

impl Memory {
    /// Bytes of texts that wait for streams to come.
    pub fn text_bytes(&self) -> usize {
        self.0.texts.borrow().iter().map(BytesMut::capacity).sum()
    }

    /// An empty text with room for a usual head.
    pub(crate) fn take_text(&self) -> BytesMut {
        self.0.texts.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(TEXT_BYTES))
    }

    /// Puts a text where there is none.
    pub(crate) fn lend_text(&self, to: &mut BytesMut) {
        if to.capacity() == 0 && !to.try_reclaim(1) {
            *to = self.take_text();
        }
    }

    /// Takes a text back whose content is of no use any more.
    pub(crate) fn return_text(&self, mut text: BytesMut) {
        let mut texts = self.0.texts.borrow_mut();
        text.clear();
        let has_room = text.try_reclaim(TEXT_BYTES);
        if has_room && text.capacity() <= TEXT_BYTES_MAX && texts.len() < TEXTS_MAX {
            texts.push(text);
        }
    }

    /// An empty head to read a request into, which comes back by [`Memory::return_request`].
    pub(crate) fn take_request(&self) -> RequestHead {
        self.0.request.take()
    }

    pub(crate) fn return_request(&self, mut head: RequestHead) {
        head.clear();
        self.0.request.replace(head);
    }

    /// An empty head to read a response into, which comes back by [`Memory::return_response`].
    pub(crate) fn take_response(&self) -> ResponseHead {
        self.0.response.take()
    }

    pub(crate) fn return_response(&self, mut head: ResponseHead) {
        head.clear();
        self.0.response.replace(head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_whole_and_a_large_one_is_not_kept() {
        let memory = Memory::default();
        let mut text = memory.take_text();
        let (at, room) = (text.as_ptr(), text.capacity());
        text.extend_from_slice(&[b'x'; 100]);
        drop(text.split_off(60));
        bytes::Buf::advance(&mut text, 60);
        memory.return_text(text);
        // What was split off is gone, and with it the only other owner.
        let text = memory.take_text();
        assert_eq!((text.as_ptr(), text.is_empty(), text.capacity()), (at, true, room));
        memory.return_text(BytesMut::with_capacity(TEXT_BYTES_MAX + 1));
        assert!(memory.take_text().capacity() <= TEXT_BYTES_MAX);
    }
}
