//! Rules that hold for any bytes: the committed fuzz corpora, and messages put together at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

/// Parts that messages are made of, right ones and wrong ones.
const PARTS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"OPTIONS ",
    b"/",
    b"/a/b",
    b"?q",
    b"*",
    b"http://a",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b",",
    b"Host: a\r\n",
    b"Host: a:80\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: x, te\r\n",
    b"Connection: keep-alive\r\n",
    b"TE: trailers\r\n",
    b"X: y\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 \r\n",
    b"0\r\n",
    b"3\r\nabc\r\n",
    b"1;a=b\r\nx\r\n",
    b"abc",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
    b"\0",
    b"\xff",
    b"5",
    b"POST /u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /u HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n",
    b"q=X\x1fnew\x1e+x\x1fmore\x1e-Host\x1e",
    b"p-X\x1e+X\x1fnew\x1e-connection\x1e",
    b"\x1dGET / HTTP/1.1\r\nHost: a\r\nX: old\r\n",
    b"\x1dHTTP/1.1 200 OK\r\nX: old\r\n",
];

fn at_random(check: fn(&[u8])) {
    bolero::check!().with_type::<Vec<u8>>().with_iterations(20_000).for_each(|choices| {
        let message: Vec<u8> =
            choices.iter().flat_map(|&n| PARTS[usize::from(n) % PARTS.len()]).copied().collect();
        check(&message);
        check(choices);
    });
}

macro_rules! targets {
    ($($target:ident)*) => {$(
        mod $target {
            #[test]
            fn holds_for_the_corpus() {
                corpus::inputs(stringify!($target), 5).iter().for_each(|bytes| super::oracles::$target(bytes));
            }

            #[test]
            fn holds_at_random() {
                super::at_random(super::oracles::$target);
            }
        }
    )*};
}

targets!(request_head response_head chunked_body chunks_written framing header_edits);
