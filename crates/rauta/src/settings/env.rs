//! `RAUTA_*` variables.

use std::ffi::OsString;

use thiserror::Error;

use super::keys::{KEYS, Key};

/// Variables of this prefix that are not settings.
const OTHERS: [&str; 5] =
    ["RAUTA_CONFIG", "RAUTA_EBPF", "RAUTA_BPF_LINKER", "RAUTA_ENVOY", super::older_kernel::VARIABLE];

/// Why a variable cannot be used.
#[derive(Debug, Error)]
pub(crate) enum EnvError {
    #[error("the variable {name} is not text")]
    NotText { name: String },
}

/// A setting from the environment.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) variable: String,
    pub(crate) values: Vec<String>,
}

/// What the environment sets, and the variables of ours that it has but nobody knows.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) entries: Vec<Entry>,
    pub(crate) unknown: Vec<String>,
}

/// Finds the settings among `variables`. Lists are separated by commas.
pub(crate) fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Environment, EnvError> {
    let mut environment = Environment::default();
    let mut ours: Vec<_> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("RAUTA_") && !OTHERS.contains(&name.as_str()))
        .collect();
    ours.sort();
    for (variable, value) in ours {
        let Some(key) = KEYS.iter().find(|key| key.variable() == variable) else {
            environment.unknown.push(variable);
            continue;
        };
        let value = value.into_string().map_err(|_| EnvError::NotText { name: variable.clone() })?;
        let values = if key.is_list {
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(ToOwned::to_owned).collect()
        } else {
            vec![value]
        };
        environment.entries.push(Entry { key, variable, values });
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Environment {
        read(pairs.iter().map(|(name, value)| (name.into(), value.into()))).unwrap()
    }

    #[test]
    fn variables_of_ours_are_found_and_others_left() {
        let environment = read_pairs(&[
            ("PATH", "/bin"),
            ("RAUTA_LISTEN", ":9"),
            ("RAUTA_TRUSTED_PROXIES", "10.0.0.0/8, ::1,"),
            ("RAUTA_LISTN", ":9"),
            ("RAUTA_EBPF", "required"),
            ("RAUTA_ENVOY", "/opt/envoy"),
            ("RAUTA_PRETEND_WITHOUT", "tcx"),
        ]);
        let found: Vec<_> = environment.entries.iter().map(|e| (e.key.name, e.values.join("|"))).collect();
        assert_eq!(found, [("listen", ":9".to_owned()), ("trustedProxies", "10.0.0.0/8|::1".to_owned())]);
        assert_eq!(environment.unknown, ["RAUTA_LISTN"]);
    }
}
