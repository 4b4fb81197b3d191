use bytes::{BufMut, BytesMut};
use dataplane::head::Known;

use crate::lines::Line;
use crate::request_write::{RunWriter, is_removed, write_connection, write_inserts};
use crate::{ResponseEdits, ResponseFraming, ResponseHead};

impl ResponseHead {
    /// Writes the head for the client: the status line as it came but in HTTP/1.1; `edits.insert`; the header lines as
    /// the bytes that came, in their order, less the hop-by-hop ones, `edits.remove` and what `edits.framing` replaces; what `edits.lines`
    /// appends.
    ///
    /// Hop-by-hop are `Connection` and what it names, `Keep-Alive`, `Proxy-Connection`, `Proxy-Authenticate`, and
    /// `Upgrade` unless kept. 1xx and 204 lose their framing fields, which they may not have (RFC 9110 section 8.6).
    /// Only to be called after [`ResponseHead::framing`] found no fault.
    pub fn write_downstream(&self, out: &mut BytesMut, edits: &ResponseEdits<'_>) {
        out.reserve(self.bytes.len() + 256);
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(self.bytes.get(9..12).unwrap_or_default());
        out.put_u8(b' ');
        out.put_slice(self.scan.reason.of(&self.bytes));
        out.put_slice(b"\r\n");
        write_inserts(out, edits.insert, edits.lines);
        let framed = self.status() >= 200 && self.status() != 204;
        let mut run = RunWriter::new(&self.bytes);
        for (index, line) in self.lines.as_slice().iter().enumerate() {
            if keeps(line, edits, framed) && !is_removed(line, &self.bytes, edits.remove, edits.lines) {
                let start = usize::from(line.field.name.start);
                run.keep(out, start, self.lines.line_end(index, self.bytes.len()));
            }
        }
        run.flush(out);
        if let Some(lines) = edits.lines {
            lines.write(out);
        }
        let chunked = match edits.framing {
            ResponseFraming::Keep => self.lines.transfer_encoding().count > 0,
            ResponseFraming::Chunked => true,
            ResponseFraming::CloseDelimited => false,
        };
        if framed && chunked {
            out.put_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let upgrade = edits.keep_upgrade && self.lines.upgrade().count > 0;
        write_connection(out, edits.connection, upgrade, false);
        out.put_slice(b"\r\n");
    }
}

fn keeps(line: &Line, edits: &ResponseEdits<'_>, framed: bool) -> bool {
    match line.field.known {
        Known::Connection
        | Known::KeepAlive
        | Known::TransferEncoding
        | Known::ProxyConnection
        | Known::ProxyAuthenticate => false,
        Known::ContentLength => framed && edits.framing == ResponseFraming::Keep,
        Known::Upgrade => edits.keep_upgrade,
        _ => !line.named,
    }
}
