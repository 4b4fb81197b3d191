//! Once its buffers have grown, a message costs no allocation.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use http1::{Body, Edits, Limits, RequestHead, ResponseEdits, ResponseHead};

struct Counting;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_message_costs_no_allocation_once_the_buffers_have_grown() {
    let request = b"POST /a?b HTTP/1.1\r\nHost: A.example\r\nConnection: keep-alive, x\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\nDigest: x\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: x\r\n\r\nabc";
    let limits = Limits::default();
    let edits = Edits { insert: &[("X-Forwarded-For", b"192.0.2.1")], remove: &["X"], ..Edits::default() };
    let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut before = 0;
    for round in 0..100 {
        if round == 2 {
            before = ALLOCATIONS.with(Cell::get);
        }
        input.clear();
        output.clear();
        input.extend_from_slice(request);
        assert!(head.parse(&mut input, &limits).unwrap());
        head.write_upstream(&mut output, &edits);
        let mut body = Body::new(head.framing(), &limits);
        assert_eq!(body.advance(&input), Ok(input.len()));
        assert!(body.is_done());
        input.clear();
        input.extend_from_slice(answer);
        assert!(response.parse(&mut input, &limits).unwrap());
        assert!(response.framing(head.method()).is_ok());
        response.write_downstream(&mut output, &ResponseEdits::default());
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
