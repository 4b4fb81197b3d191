//! Logging: text or JSON on standard error, rate-limited where requests can cause it.

mod limit;

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use thiserror::Error;
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt as format, registry};

pub use limit::Limiter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Not a [`Format`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a log format: use text or json")]
pub struct UnknownFormat;

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum InitError {
    /// A word that is neither a level nor a directive.
    #[error(
        "`{word}` is not a log level: use error, warn, info, debug, trace, off, or directives such as info,proxy=debug"
    )]
    Level {
        /// The word.
        word: String,
    },
    /// A directive that cannot be read.
    #[error("not a log filter: use a level, or directives such as info,proxy=debug")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// It was set up before.
    #[error("logging is already set up")]
    Twice(#[source] TryInitError),
}

/// Checks a filter: a level, or directives such as `info,proxy=debug`.
///
/// # Errors
/// [`InitError::Level`] or [`InitError::Filter`] if it is neither.
pub fn check_filter(filter: &str) -> Result<(), InitError> {
    parse_filter(filter).map(|_| ())
}

/// Sets up logging for the whole process. Call [`Limiter::report`] once a second for the lines that say how many were
/// suppressed.
///
/// # Errors
/// [`InitError`] if `filter` cannot be read, or when called twice.
pub fn init(format: Format, filter: &str) -> Result<Limiter, InitError> {
    let limiter = Limiter::default();
    let registry = registry().with(parse_filter(filter)?).with(limiter.layer());
    match format {
        Format::Text => {
            let colours = io::stderr().is_terminal();
            registry.with(format::layer().with_writer(io::stderr).with_ansi(colours)).try_init()
        }
        Format::Json => {
            let layer =
                format::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(layer.with_writer(io::stderr)).try_init()
        }
    }
    .map_err(InitError::Twice)?;
    Ok(limiter)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, InitError> {
    // A lone word that is no level would be taken for the name of a crate, and everything else would fall silent.
    let lone =
        filter.split(',').map(str::trim).find(|word| !word.contains('=') && word.parse::<Level>().is_err());
    if let Some(word) = lone.filter(|word| *word != "off") {
        return Err(InitError::Level { word: word.to_owned() });
    }
    EnvFilter::builder().parse(filter).map_err(InitError::Filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_and_printed_alike() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xml".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn filters_are_levels_or_directives() {
        assert!(check_filter("info").is_ok());
        assert!(check_filter("info,proxy=debug").is_ok());
        assert!(check_filter("off").is_ok());
        assert!(matches!(check_filter("proxy=loud"), Err(InitError::Filter(_))));
        assert!(matches!(check_filter("loud"), Err(InitError::Level { .. })));
        assert!(matches!(check_filter(""), Err(InitError::Level { .. })));
    }
}
