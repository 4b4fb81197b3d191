use dataplane::head::{Known, is_token_byte};

use crate::lines::Lines;

/// More options than any sender has a use for; each costs a walk over the header lines.
const OPTIONS_MAX: usize = 32;

/// What the `Connection` lines of a head say (RFC 9110 section 7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

/// What is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionError {
    /// No list of tokens, or a long one.
    Bad,
    /// A field is named that routing or framing needs on every leg.
    NamesProtected,
}

/// Reads all `Connection` lines and marks the header lines that they name.
pub(crate) fn read_connection(lines: &mut Lines, bytes: &[u8]) -> Result<Connection, ConnectionError> {
    let mut connection = Connection::default();
    if lines.connection().count == 0 {
        return Ok(connection);
    }
    let mut options = 0;
    for index in 0..lines.as_slice().len() {
        let Some(line) = lines.as_slice().get(index) else { break };
        if line.field.known != Known::Connection {
            continue;
        }
        for option in line.field.value.of(bytes).split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            options += 1;
            if options > OPTIONS_MAX {
                return Err(ConnectionError::Bad);
            }
            read_option(option, lines, bytes, &mut connection)?;
        }
    }
    Ok(connection)
}

fn read_option(
    option: &[u8],
    lines: &mut Lines,
    bytes: &[u8],
    connection: &mut Connection,
) -> Result<(), ConnectionError> {
    if option.eq_ignore_ascii_case(b"keep-alive") {
        connection.keep_alive = true;
    } else if option.eq_ignore_ascii_case(b"close") {
        connection.close = true;
    } else if option.eq_ignore_ascii_case(b"upgrade") {
        connection.upgrade = true;
    } else if !option.iter().all(|&b| is_token_byte(b)) {
        return Err(ConnectionError::Bad);
    } else if !option.is_empty() {
        let known = Known::of(option);
        let protected = matches!(known, Known::Host | Known::ContentLength | Known::TransferEncoding);
        if protected || known.is_forwarding() {
            return Err(ConnectionError::NamesProtected);
        }
        lines.mark_named(option, bytes);
    }
    Ok(())
}
