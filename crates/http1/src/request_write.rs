use bytes::{BufMut, BytesMut};
use dataplane::head::{Known, Version};

use crate::lines::Line;
use crate::target::Form;
use crate::{Edits, Framing, LineEdits, RequestHead};

impl RequestHead {
    /// Writes the head for the endpoint: the request line as it came, in origin-form and HTTP/1.1; `edits.insert`; the
    /// header lines as the bytes that came, in their order, less the hop-by-hop ones and `edits.remove`; what `edits.lines`
    /// appends.
    ///
    /// Hop-by-hop are `Connection` and what it names, `Keep-Alive`, `Proxy` and `Proxy-…`, `HTTP2-Settings`, `TE` (but
    /// `trailers` stays), `Upgrade` (unless kept) and `Expect` of HTTP/1.0 (RFC 9110 section 7.6.1). `Transfer-Encoding`
    /// is written anew as `chunked`. [`Known::Disguised`] lines go too. A request without Host gets one from an absolute-form target, else an empty one
    /// (RFC 9112 section 3.2) unless `edits.host` has a better.
    pub fn write_upstream(&self, out: &mut BytesMut, edits: &Edits<'_>) {
        out.reserve(self.bytes.len() + 256);
        self.write_request_line(out, edits);
        write_inserts(out, edits.insert, edits.lines);
        if let Some(host) = edits.host {
            write_line(out, "Host", host.as_bytes());
        } else if self.lines.host().count == 0 {
            write_line(out, "Host", self.authority().as_bytes());
        }
        let upgrade = edits.keep_upgrade && self.upgrade().is_some();
        let mut te = false;
        let mut run = RunWriter::new(&self.bytes);
        for (index, line) in self.lines.as_slice().iter().enumerate() {
            let keep =
                self.keeps(line, edits, upgrade) && !is_removed(line, &self.bytes, edits.remove, edits.lines);
            te |= keep && line.field.known == Known::Te;
            if keep {
                let start = usize::from(line.field.name.start);
                run.keep(out, start, self.lines.line_end(index, self.bytes.len()));
            }
        }
        run.flush(out);
        if let Some(lines) = edits.lines {
            lines.write(out);
        }
        if self.framing() == Framing::Chunked {
            out.put_slice(b"Transfer-Encoding: chunked\r\n");
        }
        write_connection(out, edits.connection, upgrade, te);
        out.put_slice(b"\r\n");
    }

    fn write_request_line(&self, out: &mut BytesMut, edits: &Edits<'_>) {
        let line = self.bytes.get(usize::from(self.scan.method.start)..usize::from(self.scan.fields_start));
        let keeps_path = edits.target.is_none() && self.other_path().is_none();
        if self.form != Form::Absolute && keeps_path && self.version() == Version::Http11 {
            out.put_slice(line.unwrap_or_default());
            return;
        }
        out.put_slice(self.method().as_bytes());
        out.put_u8(b' ');
        match (edits.target, self.form) {
            (Some(target), _) => put_clean(out, target.as_bytes()),
            // RFC 9112 section 3.2.4: the last proxy turns an OPTIONS of a URI without path and query into `*`.
            (None, Form::Absolute) if self.is_bare_options() => out.put_u8(b'*'),
            _ if self.other_path().is_some() || self.form == Form::Absolute => {
                out.put_slice(self.path().as_bytes());
                if let Some(query) = self.query() {
                    out.put_u8(b'?');
                    out.put_slice(query.as_bytes());
                }
            }
            (None, _) => out.put_slice(self.target().as_bytes()),
        }
        out.put_slice(b" HTTP/1.1\r\n");
    }

    fn is_bare_options(&self) -> bool {
        self.method() == "OPTIONS" && self.query().is_none() && !self.has_path()
    }

    fn keeps(&self, line: &Line, edits: &Edits<'_>, upgrade: bool) -> bool {
        match line.field.known {
            Known::Other => !line.named,
            Known::Host => edits.host.is_none(),
            Known::Connection
            | Known::KeepAlive
            | Known::TransferEncoding
            | Known::Http2Settings
            | Known::ProxyConnection
            | Known::ProxyAuthorization
            | Known::ProxyAuthenticate
            | Known::ProxyOther
            | Known::Disguised => false,
            // Named by Connection, as it must be; it is named again in the Connection line that is written.
            Known::Te => line.field.value.of(&self.bytes).eq_ignore_ascii_case(b"trailers"),
            Known::Upgrade => upgrade,
            Known::Expect => !edits.drop_expect && self.version() == Version::Http11 && !line.named,
            _ => !line.named,
        }
    }
}

/// Copies kept lines, those that follow each other in one go.
pub(crate) struct RunWriter<'a> {
    bytes: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> RunWriter<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0, end: 0 }
    }

    pub(crate) fn keep(&mut self, out: &mut BytesMut, start: usize, end: usize) {
        if start != self.end {
            self.flush(out);
            self.start = start;
        }
        self.end = end;
    }

    pub(crate) fn flush(&mut self, out: &mut BytesMut) {
        out.put_slice(self.bytes.get(self.start..self.end).unwrap_or_default());
        self.start = self.end;
    }
}

/// Whether `names` or `lines` take the line out.
pub(crate) fn is_removed(line: &Line, bytes: &[u8], names: &[&str], lines: Option<&LineEdits>) -> bool {
    let own = line.field.name.of(bytes);
    names.iter().any(|name| own.eq_ignore_ascii_case(name.as_bytes()))
        || lines.is_some_and(|lines| lines.removes(own))
}

/// Writes the lines of `inserts` that `lines` does not take out.
pub(crate) fn write_inserts(out: &mut BytesMut, inserts: &[(&str, &[u8])], lines: Option<&LineEdits>) {
    for (name, value) in inserts {
        if lines.is_none_or(|lines| !lines.removes(name.as_bytes())) {
            write_line(out, name, value);
        }
    }
}

/// Writes the one `Connection` line, if it has anything to say.
pub(crate) fn write_connection(out: &mut BytesMut, option: Option<&str>, upgrade: bool, te: bool) {
    // An upgrade is asked for by this very word; the caller may have said it already.
    let option = option.filter(|option| !(upgrade && option.eq_ignore_ascii_case("upgrade")));
    let options = [option, upgrade.then_some("upgrade"), te.then_some("te")];
    let mut before: &[u8] = b"Connection: ";
    for option in options.into_iter().flatten() {
        out.put_slice(before);
        put_clean(out, option.as_bytes());
        before = b", ";
    }
    if before == b", " {
        out.put_slice(b"\r\n");
    }
}

/// Writes one header line.
pub(crate) fn write_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    put_clean(out, name.as_bytes());
    out.put_slice(b": ");
    put_clean(out, value);
    out.put_slice(b"\r\n");
}

/// Writes `bytes` with spaces for CR, LF and NUL (RFC 9110 section 5.5), so that no caller's value can forge a line.
fn put_clean(out: &mut BytesMut, bytes: &[u8]) {
    if !bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        out.put_slice(bytes);
        return;
    }
    for &byte in bytes {
        out.put_u8(if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte });
    }
}
