//! Flags of `rauta run` that are settings.

use std::path::PathBuf;

use clap::Args;

use super::keys::{self, Key};

/// Settings on the command line.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (flags win over RAUTA_* variables, those over the file)")]
pub(crate) struct SettingsFlags {
    /// The settings file [default: /etc/rauta/rauta.yaml if it is there]
    #[arg(long, value_name = "FILE", env = "RAUTA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where Ingresses and RoutingRules without a Gateway are served [default: :8080]
    #[arg(long, value_name = "[HOST]:PORT")]
    listen: Option<String>,
    /// Address of the status page, /healthz and /readyz, or off [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Address of /metrics, or off [default: :9900]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// How --kubernetes reaches the API server [default: as a Pod, or by $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Proxy threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// error, warn, info, debug, trace, or directives such as info,proxy=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Kernel programs: auto, xdp, tc or off [default: auto]
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Where XDP programs run: auto, native, skb or hw [default: auto]
    #[arg(long, value_name = "MODE")]
    xdp_mode: Option<String>,
    /// Interfaces for kernel programs [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    interfaces: Vec<String>,
    /// Networks whose forwarding headers are believed
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
    /// Slots of a Maglev table unless a rule says otherwise, a prime [default: 4099]
    #[arg(long, value_name = "SLOTS")]
    maglev_table_size: Option<String>,
    /// Any setting by its name, as --set timeouts.idle=60s; lists are separated by commas
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
}

/// A setting from a flag.
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) flag: String,
    pub(crate) values: Vec<String>,
}

impl SettingsFlags {
    /// The settings that flags name, in the order they take effect; `socket` comes from the flag all commands share.
    pub(crate) fn entries(&self, socket: Option<&PathBuf>) -> Vec<Entry> {
        let socket = socket.map(|path| path.display().to_string());
        // What stands on a command line is meant from where it is given.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let kubeconfig = self.kubeconfig.as_ref().map(|path| absolute(path).display().to_string());
        let single = [
            ("listen", "--listen", &self.listen),
            ("admin", "--admin", &self.admin),
            ("metrics", "--metrics", &self.metrics),
            ("socket", "--socket", &socket),
            ("kubeconfig", "--kubeconfig", &kubeconfig),
            ("threads", "--threads", &self.threads),
            ("log.level", "--log-level", &self.log_level),
            ("log.format", "--log-format", &self.log_format),
            ("dataplane.hook", "--hook", &self.hook),
            ("dataplane.xdpMode", "--xdp-mode", &self.xdp_mode),
            ("balancing.maglevTableSize", "--maglev-table-size", &self.maglev_table_size),
        ];
        let lists = [
            ("dataplane.interfaces", "--interfaces", &self.interfaces),
            ("trustedProxies", "--trusted-proxies", &self.trusted_proxies),
        ];
        let mut entries: Vec<(&str, &str, Vec<String>)> = Vec::new();
        for (name, flag, value) in single {
            entries.extend(value.iter().map(|value| (name, flag, vec![value.clone()])));
        }
        for (name, flag, values) in lists.into_iter().filter(|(_, _, values)| !values.is_empty()) {
            entries.push((name, flag, values.clone()));
        }
        for (name, value) in &self.set {
            let is_list = keys::find(name).is_some_and(|key| key.is_list);
            let split = |value: &str| value.split(',').map(|item| item.trim().to_owned()).collect();
            entries.push((name, "--set", if is_list { split(value) } else { vec![value.clone()] }));
        }
        // Names come from the table above or passed `name_and_value`: each has a key.
        let entry = |(name, flag, values): (&str, &str, Vec<String>)| {
            keys::find(name).map(|key| Entry { key, flag: flag.to_owned(), values })
        };
        entries.into_iter().filter_map(entry).collect()
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("should be NAME=VALUE, as timeouts.idle=60s")?;
    match keys::find(name) {
        Some(_) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("no setting is called `{name}`; `rauta run --print-config` lists them")),
    }
}
