use super::bytes::{CR, HTAB, LF, SP, control_byte, token_end};
use super::start_line::{line_end, peek};
use super::{Field, FieldSink, HeadError, Known, Span, Stop};

/// Scans field lines from `at` up to the empty line; returns the offset behind that.
///
/// `field-line = field-name ":" OWS field-value OWS` (RFC 9112 section 5).
#[inline]
pub(super) fn scan_fields<S: FieldSink>(bytes: &[u8], at: usize, fields: &mut S) -> Result<usize, Stop> {
    let mut at = at;
    loop {
        match peek(bytes, at)? {
            CR | LF => return line_end(bytes, at),
            // RFC 9112 section 5.2: "A server that receives an obs-fold in a request message ... MUST either reject the
            // message"; section 2.2 says the same of whitespace before the first field line.
            SP | HTAB => return Err(Stop::Bad(HeadError::ObsFold)),
            _ => {}
        }
        let (field, next) = scan_field(bytes, at)?;
        if !fields.push(field) {
            return Err(Stop::Bad(HeadError::TooManyFields));
        }
        at = next;
    }
}

#[inline]
fn scan_field(bytes: &[u8], at: usize) -> Result<(Field, usize), Stop> {
    let name_end = token_end(bytes, at);
    match peek(bytes, name_end)? {
        b':' if name_end > at => {}
        // RFC 9112 section 5.1: "No whitespace is allowed between the field name and colon."
        SP | HTAB => return Err(Stop::Bad(HeadError::SpaceBeforeColon)),
        CR => return Err(Stop::Bad(HeadError::NoColon)),
        LF => return Err(Stop::Bad(HeadError::BareLf)),
        _ => return Err(Stop::Bad(HeadError::BadFieldName)),
    }
    let mut value_start = name_end + 1;
    while matches!(peek(bytes, value_start)?, SP | HTAB) {
        value_start += 1;
    }
    let mut line_stop = control_byte(bytes, value_start);
    while peek(bytes, line_stop)? == HTAB {
        line_stop = control_byte(bytes, line_stop + 1);
    }
    if !matches!(peek(bytes, line_stop)?, CR | LF) {
        return Err(Stop::Bad(HeadError::BadFieldValue));
    }
    let next = line_end(bytes, line_stop)?;
    let mut value_end = line_stop;
    while value_end > value_start && matches!(bytes.get(value_end - 1), Some(&(SP | HTAB))) {
        value_end -= 1;
    }
    let name = Span::new(at, name_end);
    let field = Field { name, value: Span::new(value_start, value_end), known: Known::of(name.of(bytes)) };
    Ok((field, next))
}
