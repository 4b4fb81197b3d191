//! Every setting: its name, what it means, how it is read and shown.

mod table;
mod values;

use super::Settings;
use super::parse::Expected;
use otlp::CollectorError;
use telemetry::access::FormatError;

pub(crate) use table::KEYS;

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in the file, with dots between the levels.
    pub(crate) name: &'static str,
    /// What it means, in a few words.
    pub(crate) help: &'static str,
    /// Whether it is a list.
    pub(crate) is_list: bool,
    set: fn(&mut Settings, &[&str]) -> Result<(), Refused>,
    show: fn(&Settings) -> Vec<String>,
}

/// Why a value cannot be used: what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Value(#[from] Expected),
    #[error(transparent)]
    Collector(#[from] CollectorError),
    #[error(transparent)]
    AccessLogFormat(#[from] FormatError),
}

impl Key {
    /// Reads `values` (exactly one unless the key is a list) into `settings`.
    pub(crate) fn set(&self, settings: &mut Settings, values: &[&str]) -> Result<(), Refused> {
        (self.set)(settings, values)
    }

    /// The value as it would stand in the file.
    pub(crate) fn show(&self, settings: &Settings) -> String {
        let values = (self.show)(settings);
        if self.is_list { format!("[{}]", values.join(", ")) } else { values.join("") }
    }

    /// The environment's name: `timeouts.headerRead` is `RAUTA_TIMEOUTS_HEADER_READ`.
    pub(crate) fn variable(&self) -> String {
        let mut variable = String::from("RAUTA_");
        for c in self.name.chars() {
            match c {
                '.' => variable.push('_'),
                c if c.is_ascii_uppercase() => variable.extend(['_', c]),
                c => variable.push(c.to_ascii_uppercase()),
            }
        }
        variable
    }
}

/// The key called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn variables_are_in_capitals_with_underscores() {
        let variable = |name| find(name).map(Key::variable);
        assert_eq!(variable("timeouts.headerRead").as_deref(), Some("RAUTA_TIMEOUTS_HEADER_READ"));
        assert_eq!(variable("listen").as_deref(), Some("RAUTA_LISTEN"));
        let all: BTreeSet<_> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(all.len(), KEYS.len());
    }

    #[test]
    fn every_default_reads_back_as_itself() {
        let defaults = Settings::default();
        for key in KEYS {
            let shown = (key.show)(&defaults);
            let mut settings = Settings::default();
            let values: Vec<&str> = shown.iter().map(String::as_str).collect();
            key.set(&mut settings, &values)
                .unwrap_or_else(|error| panic!("{}: {shown:?}: {error}", key.name));
            assert_eq!((key.show)(&settings), shown, "{}", key.name);
        }
    }

    #[test]
    fn redirects_begin_where_somebody_chose_the_port_of_https() {
        let written = |name: &str, value: &str| {
            let mut settings = Settings::default();
            find(name).unwrap().set(&mut settings, &[value]).unwrap();
            (
                settings.translate_options().redirects_by_default,
                settings.cluster_options().redirects_by_default,
            )
        };
        for (name, value) in [("listenHttps", ":8443"), ("listenHttps", ":443"), ("httpsPort", "443")] {
            assert_eq!(written(name, value), (true, true), "{name}: {value}");
        }
        for (name, value) in [("listen", ":80"), ("httpsPort", "auto")] {
            assert_eq!(written(name, value), (false, false), "{name}: {value}");
        }
    }

    #[test]
    fn each_way_to_be_silent_in_the_kernel_has_its_time() {
        let mut settings = Settings::default();
        let keys = ["idle", "open", "answer", "halfClosed", "orphan"];
        for (seconds, key) in (1..).zip(keys) {
            let key = find(&format!("dataplane.{key}Timeout")).unwrap();
            key.set(&mut settings, &[&format!("{seconds}s")]).unwrap();
        }
        let seconds = std::time::Duration::from_secs;
        let expected = loader::Limits {
            idle: seconds(1),
            opening: seconds(2),
            waiting: seconds(3),
            half_closed: seconds(4),
            orphaned: seconds(5),
        };
        assert_eq!(settings.dataplane.ends, expected);
    }

    #[test]
    fn tables_have_room_at_first_and_at_most() {
        for table in kernel::Sizes::TABLES {
            let mut settings = Settings::default();
            let key =
                find(&format!("dataplane.tables.{}", crate::settings::TableSettings::key(table))).unwrap();
            key.set(&mut settings, &["100 - 200"]).unwrap();
            assert_eq!((key.show)(&settings), ["100-200"]);
            assert_eq!(settings.loader_options().tables.get(table.name()), Some(&100), "{}", key.name);
            assert_eq!(settings.dataplane.tables.most().of(table), Some(200), "{}", key.name);
            key.set(&mut settings, &["300"]).unwrap();
            assert_eq!((key.show)(&settings), ["300"]);
        }
    }

    #[test]
    fn bad_values_are_refused_with_what_they_should_be() {
        for (name, value) in [
            ("listen", "x"),
            ("listenHttps", ":0"),
            ("httpsPort", "0"),
            ("httpsPort", "https"),
            ("defaultCertificate", "default"),
            ("defaultCertificate", "net/Default"),
            ("admin", "nowhere"),
            ("socket", "relative"),
            ("kubeconfig", "config"),
            ("addresses.nodes", "10.0.0.0/8"),
            ("addresses.ingresses", "-a.test"),
            ("addresses.service", "rauta"),
            ("addresses.service", "net/Rauta"),
            ("addresses.pool", "10.0.0.7/24"),
            ("addresses.interface", "a name much too long"),
            ("addresses.heartbeat", "400"),
            ("endpoints.allowLocal", "maybe"),
            ("threads", "0"),
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("timeouts.idle", "5"),
            ("limits.headBytes", "1MiB"),
            ("trustedProxies", "10.0.0.0/99"),
            ("forwardedHeaders", "maybe"),
            ("requestId", "content-length"),
            ("requestId", "x request"),
            ("reasonHeader", "transfer-encoding"),
            ("paths.normalize", "rfc3986"),
            ("paths.mergeSlashes", "2"),
            ("paths.escapedSlashes", "drop"),
            ("routeMetrics", "16384"),
            ("tracing.endpoint", "https://127.0.0.1:4318"),
            ("tracing.endpoint", "127.0.0.1:4318"),
            ("accessLog.path", "access.log"),
            ("accessLog.format", "combined"),
            ("accessLog.sampleOneIn", "0"),
            ("accessLog.kernelSampleOneIn", "0"),
            ("accessLog.complete", "1"),
            ("tracing.context", "perhaps"),
            ("tracing.sampleOneIn", "0"),
            ("sessionKeyFile", "keys/session"),
            ("balancing.maglevTableSize", "4098"),
            ("balancing.maglevTableSize", "65539"),
            ("balancing.maglevTableSize", "241"),
            ("dataplane.hook", "iptables"),
            ("dataplane.xdpMode", "generic"),
            ("dataplane.interfaces", "a name much too long"),
            ("dataplane.onExit", "explode"),
            ("dataplane.forward", "stack"),
            ("dataplane.policy", "perhaps"),
            ("dataplane.snat.ports", "32767-10240"),
            ("dataplane.snat.ports", "80-10000"),
            ("dataplane.snat.addresses", "10.0.0.0/8"),
            ("dataplane.redrawAfter", "0"),
            ("dataplane.poolIdle", "0s"),
            ("dataplane.poolIdle", "2h"),
            ("dataplane.poolLegs", "65"),
            ("dataplane.maxFlows", "100"),
            ("dataplane.routeMetrics", "16384"),
            ("dataplane.endpointMetrics", "-1"),
            ("dataplane.affinity.entries", "100"),
            ("dataplane.tables.routes", "200-100"),
            ("dataplane.tables.maglev", "8"),
            ("dataplane.tables.endpoints", "100-65537"),
            ("dataplane.orphanTimeout", "0s"),
        ] {
            let key = find(name).unwrap();
            assert!(key.set(&mut Settings::default(), &[value]).is_err(), "{name}: {value}");
        }
    }
}
