//! File, environment and flags into one, remembering where each value came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::env::{self, EnvError};
use super::file::{self, FileError};
use super::flags::SettingsFlags;
use super::keys::{KEYS, Key, Refused};
use super::{DEFAULT_FILE, Settings};

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    File(FileError),
    #[error(transparent)]
    Environment(EnvError),
    #[error("{origin}: `{name}` {expected}, not `{value}`")]
    Value { origin: String, name: &'static str, value: String, expected: Refused },
}

/// Settings with where each came from.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) settings: Settings,
    /// By key name; the others are defaults.
    origins: BTreeMap<&'static str, String>,
    /// `RAUTA_*` variables that no setting has.
    pub(crate) unknown_variables: Vec<String>,
}

impl Effective {
    /// All settings as a YAML file, each with its source.
    pub(crate) fn to_yaml(&self) -> String {
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut group = "";
        for key in KEYS {
            let (prefix, name) = key.name.split_once('.').unwrap_or(("", key.name));
            if prefix != group && !prefix.is_empty() {
                lines.push((format!("{prefix}:"), String::new()));
            }
            group = prefix;
            let indent = if prefix.is_empty() { "" } else { "  " };
            let origin = self.origins.get(key.name).map_or("default", String::as_str);
            let line = format!("{indent}{name}: {}", quoted(key, &key.show(&self.settings)));
            lines.push((line, format!("# {origin}; {}", key.help)));
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
        lines.into_iter().fold(String::new(), |mut out, (line, comment)| {
            // Writing into a String cannot fail.
            let _ = match comment.as_str() {
                "" => writeln!(out, "{line}"),
                comment => writeln!(out, "{line:width$}  {comment}"),
            };
            out
        })
    }
}

/// Reads the settings: the file that the flags name (or the default one if it is there), then `variables`, then flags.
pub(crate) fn load(
    flags: &SettingsFlags,
    socket: Option<&PathBuf>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Effective, SettingsError> {
    load_with(flags, socket, variables, Path::new(DEFAULT_FILE))
}

fn load_with(
    flags: &SettingsFlags,
    socket: Option<&PathBuf>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    default_file: &Path,
) -> Result<Effective, SettingsError> {
    let mut effective =
        Effective { settings: Settings::default(), origins: BTreeMap::new(), unknown_variables: Vec::new() };
    let path = match &flags.config {
        Some(path) => Some(path.as_path()),
        None => default_file.exists().then_some(default_file),
    };
    if let Some(path) = path {
        for entry in file::read(path).map_err(SettingsError::File)? {
            effective.set(entry.key, &entry.values, format!("{}:{}", path.display(), entry.line))?;
        }
    }
    let environment = env::read(variables).map_err(SettingsError::Environment)?;
    for entry in environment.entries {
        effective.set(entry.key, &entry.values, entry.variable)?;
    }
    effective.unknown_variables = environment.unknown;
    for entry in flags.entries(socket) {
        effective.set(entry.key, &entry.values, entry.flag)?;
    }
    Ok(effective)
}

impl Effective {
    fn set(&mut self, key: &'static Key, values: &[String], origin: String) -> Result<(), SettingsError> {
        let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
        match key.set(&mut self.settings, &borrowed) {
            Ok(()) => {
                self.origins.insert(key.name, origin);
                Ok(())
            }
            Err(expected) => {
                Err(SettingsError::Value { origin, name: key.name, value: values.join(","), expected })
            }
        }
    }
}

/// The value in quotes where YAML would take it for something else.
fn quoted(key: &Key, value: &str) -> String {
    let is_special = |c: char| ":[]{}*&!|>'\"%@`,?-#".contains(c);
    let needs = value.starts_with(is_special)
        || ["\"", ": ", " #", "\\"].iter().any(|part| value.contains(part))
        || value == "off"
        || value.is_empty();
    if needs && !key.is_list {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flags: SettingsFlags,
    }

    fn load_from(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Effective, String> {
        let mut settings = tempfile::NamedTempFile::new().unwrap();
        settings.write_all(file.as_bytes()).unwrap();
        let cli = Cli::try_parse_from(["rauta"].iter().chain(flags)).map_err(|error| error.to_string())?;
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        load_with(&cli.flags, None, variables, settings.path())
            .map_err(|error| error.to_string().replace(&*settings.path().to_string_lossy(), "FILE"))
    }

    #[test]
    fn the_later_wins() {
        let file = "threads: 1\nlog:\n  level: warn\ntimeouts:\n  idle: 1s\n";
        let effective = load_from(file, &[], &[]).unwrap();
        assert_eq!(effective.settings.proxy.threads, 1);
        assert_eq!(effective.settings.log_level, "warn");
        let variables = [("RAUTA_THREADS", "2"), ("RAUTA_TIMEOUTS_IDLE", "2s")];
        let effective = load_from(file, &variables, &[]).unwrap();
        assert_eq!(effective.settings.proxy.threads, 2);
        assert_eq!(effective.settings.log_level, "warn");
        let effective =
            load_from(file, &variables, &["--threads", "3", "--set", "timeouts.idle=3s"]).unwrap();
        assert_eq!(effective.settings.proxy.threads, 3);
        assert_eq!(effective.settings.proxy.timeouts.idle.as_secs(), 3);
    }

    #[test]
    fn what_is_not_set_keeps_its_default() {
        let effective = load_from("", &[], &[]).unwrap();
        assert_eq!(effective.settings.listen.port, 8080);
        assert_eq!(effective.settings.admin, "127.0.0.1:9901".parse().ok());
        assert_eq!(effective.settings.metrics, "0.0.0.0:9900".parse().ok());
        assert!(
            effective.to_yaml().lines().skip_while(|l| !l.starts_with("listen")).all(|l| !l.contains("FILE"))
        );
    }

    #[test]
    fn errors_say_where_what_and_what_instead() {
        let error = |file, variables, flags| load_from(file, variables, flags).unwrap_err();
        assert_eq!(
            error("\nthreads: none", &[], &[]),
            "FILE:2: `threads` should be a whole number above zero, not `none`"
        );
        assert_eq!(
            error("", &[("RAUTA_LOG_FORMAT", "xml")], &[]),
            "RAUTA_LOG_FORMAT: `log.format` should be text or json, not `xml`"
        );
        assert_eq!(
            error("", &[], &["--hook", "nft"]),
            "--hook: `dataplane.hook` should be auto, xdp, tc or off, not `nft`"
        );
        let told = error("\naccessLog:\n  format: $time $state", &[], &[]);
        let wanted = "FILE:3: `accessLog.format` should be json or text with fields; `$state` is none of them: $time, $client, ";
        assert!(told.starts_with(wanted) && told.ends_with("$trace_id, not `$time $state`"), "{told}");
        let prime = "a prime from 251 to 65537, such as 4099 or 65537";
        for (file, variables, flags, origin) in [
            ("\nbalancing:\n  maglevTableSize: 4096", [].as_slice(), [].as_slice(), "FILE:3"),
            ("", &[("RAUTA_BALANCING_MAGLEV_TABLE_SIZE", "4096")], &[], "RAUTA_BALANCING_MAGLEV_TABLE_SIZE"),
            ("", &[], &["--maglev-table-size", "4096"], "--maglev-table-size"),
        ] {
            let expected = format!("{origin}: `balancing.maglevTableSize` should be {prime}, not `4096`");
            assert_eq!(error(file, variables, flags), expected);
        }
        assert!(error("", &[], &["--set", "nothing=1"]).contains("no setting is called `nothing`"));
        assert!(error("", &[], &["--set", "threads"]).contains("NAME=VALUE"));
        assert!(error("", &[], &["--config", "/nowhere/rauta.yaml"]).contains("/nowhere/rauta.yaml"));
    }

    #[test]
    fn the_printed_settings_are_a_settings_file_and_name_their_source() {
        let flags = [
            "--maglev-table-size",
            "65537",
            "--listen",
            ":81",
            "--trusted-proxies",
            "10.0.0.0/8,::1",
            "--admin",
            "off",
            "--set",
            r#"accessLog.format="$method $path" a: \b #$status"#,
        ];
        let effective = load_from("threads: 5", &[("RAUTA_TIMEOUTS_DRAIN", "9s")], &flags).unwrap();
        let yaml = effective.to_yaml();
        for (setting, origin) in [
            ("threads: 5", ":1;"),
            ("drain: 9s", "# RAUTA_TIMEOUTS_DRAIN;"),
            ("\":81\"", "# --listen;"),
            ("maglevTableSize: 65537", "# --maglev-table-size;"),
        ] {
            let line = yaml.lines().find(|line| line.contains(setting)).unwrap_or_else(|| panic!("{yaml}"));
            assert!(line.contains(origin), "{line}");
        }
        let again = load_from(&yaml, &[], &[]).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        for key in KEYS {
            assert_eq!(key.show(&again.settings), key.show(&effective.settings), "{}", key.name);
        }
    }

    #[test]
    fn unknown_variables_are_kept_for_a_warning() {
        assert_eq!(load_from("", &[("RAUTA_TREADS", "2")], &[]).unwrap().unknown_variables, ["RAUTA_TREADS"]);
    }
}
