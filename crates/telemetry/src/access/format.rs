use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::escape::Style;
use super::{Entry, Field};

/// How lines look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A JSON object with the fields that the request has, but the query.
    #[default]
    Json,
    /// Text with fields in it, `-` where the request lacks one.
    Template(Template),
}

/// Text with fields: `$status`, or `${status}` where a name goes on behind it; `$$` is a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field),
}

/// Why a format cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// There is no such field.
    #[error("should be json or text with fields; `${name}` is none of them: {}", AllFields)]
    Unknown {
        /// Its name, without the dollar sign.
        name: String,
    },
    /// A dollar sign without a name.
    #[error("should be json or text with fields as $status; a dollar sign alone is written `$$`")]
    Dollar,
    /// `${` without its end.
    #[error("should be json or text with fields as ${{status}}; `${{` is not closed")]
    Open,
    /// Every line would be the same.
    #[error("should be json or text with at least one field, as `$time $client $method $path $status`")]
    NoField,
    /// It would make more than one line of a request.
    #[error("should be json or one line of text; it holds a control character")]
    Control,
}

struct AllFields;

impl fmt::Display for AllFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Field::ALL.iter().enumerate().try_for_each(|(index, field)| {
            write!(f, "{}${}", if index == 0 { "" } else { ", " }, field.name())
        })
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        if text == "json" {
            return Ok(Self::Json);
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(FormatError::Control);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (piece, after) = piece(after)?;
            pieces.push(piece);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Err(FormatError::NoField);
        }
        Ok(Self::Template(Template { text: text.to_owned(), pieces }))
    }
}

/// What a dollar sign stands for, by what is behind it, and what follows.
fn piece(after: &str) -> Result<(Piece, &str), FormatError> {
    if let Some(rest) = after.strip_prefix('$') {
        return Ok((Piece::Text("$".to_owned()), rest));
    }
    let (name, rest) = match after.strip_prefix('{') {
        Some(after) => after.split_once('}').ok_or(FormatError::Open)?,
        None => {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at(end)
        }
    };
    if name.is_empty() {
        return Err(FormatError::Dollar);
    }
    let field = Field::ALL.into_iter().find(|field| field.name() == name);
    let field = field.ok_or_else(|| FormatError::Unknown { name: name.to_owned() })?;
    Ok((Piece::Field(field), rest))
}

/// As it is read.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Template(template) => &template.text,
        })
    }
}

impl Format {
    /// Writes the line of a request, with its end.
    pub(super) fn write(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => write_json(entry, out),
            Self::Template(template) => template.write(entry, out),
        }
        out.push(b'\n');
    }
}

fn write_json(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut before: &[u8] = b"{\"";
    let has = |field: &Field| *field != Field::Query && field.is_in(entry);
    for field in Field::ALL.into_iter().filter(has) {
        let quote: &[u8] = if field.is_number() { b"" } else { b"\"" };
        out.extend_from_slice(before);
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(quote);
        field.write(entry, out, Style::Json);
        out.extend_from_slice(quote);
        before = b",\"";
    }
    out.push(b'}');
}

impl Template {
    fn write(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(field) if field.is_in(entry) => field.write(entry, out, Style::Text),
                Piece::Field(_) => out.push(b'-'),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn line(format: &str, entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        format.parse::<Format>().unwrap().write(entry, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn entry() -> Entry<'static> {
        Entry {
            time: Some(SystemTime::UNIX_EPOCH),
            client: "[2001:db8::1]:5000".parse().ok(),
            listener: Some(&"shop/web/http"),
            route: Some(&"HTTPRoute shop/web rule 0"),
            endpoint: "10.0.0.1:80".parse().ok(),
            method: Some("GET"),
            host: Some("a.test"),
            path: Some("/x"),
            query: Some("token=secret"),
            status: 503,
            reason: Some("no \"endpoint\""),
            tier: 3,
            bytes_in: Some(10),
            bytes_out: Some(20),
            duration: Some(Duration::from_micros(12_345)),
            first_byte: Some(Duration::from_micros(5)),
            connect: Some(Duration::from_secs(2)),
            protocol: Some("HTTP/2"),
            tls_version: Some("TLSv1.3"),
            sni: Some("a.test"),
            user_agent: Some(b"curl\n\xff"),
            request_id: Some("id"),
            trace_id: Some(0xab),
        }
    }

    #[test]
    fn json_has_every_field_but_the_query() {
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","client":"[2001:db8::1]:5000","listener":"shop/web/http","#,
            r#""route":"HTTPRoute shop/web rule 0","endpoint":"10.0.0.1:80","method":"GET","host":"a.test","#,
            r#""path":"/x","status":503,"reason":"no \"endpoint\"","tier":3,"bytes_in":10,"bytes_out":20,"duration_ms":12.345,"#,
            r#""first_byte_ms":0.005,"connect_ms":2000.000,"protocol":"HTTP/2","tls_version":"TLSv1.3","sni":"a.test","#,
            r#""user_agent":"curl\u000a"#,
            "\u{fffd}",
            r#"","request_id":"id","trace_id":"000000000000000000000000000000ab"}"#,
            "\n"
        );
        assert_eq!(line("json", &entry()), expected);
        let bare = Entry { status: 400, ..Default::default() };
        assert_eq!(line("json", &bare), "{\"status\":400,\"tier\":0}\n");
    }

    #[test]
    fn templates_hold_fields_and_text() {
        let text = r#"$client "$method ${path}?$query" ${status}ms $$1 "$user_agent" $tls_version."#;
        assert_eq!(
            line(text, &entry()),
            "[2001:db8::1]:5000 \"GET /x?token=secret\" 503ms $1 \"curl\\x0a\\xff\" TLSv1.3.\n"
        );
        assert_eq!(line("$method $status", &Entry { status: 400, ..Default::default() }), "- 400\n");
        assert_eq!(text.parse::<Format>().unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_format_says_why() {
        let error = |text: &str| text.parse::<Format>().unwrap_err();
        assert_eq!(error("$time $state"), FormatError::Unknown { name: "state".into() });
        let told = error("${x-y} $time").to_string();
        assert!(
            told.starts_with("should be json or text with fields; `$x-y` is none of them: $time, $client,"),
            "{told}"
        );
        assert_eq!(error("$time $"), FormatError::Dollar);
        assert_eq!(error("${}"), FormatError::Dollar);
        assert_eq!(error("${time"), FormatError::Open);
        assert_eq!(error("combined"), FormatError::NoField);
        assert_eq!(error(""), FormatError::NoField);
        assert_eq!(error("$time\n$status"), FormatError::Control);
    }
}
