//! What a container's program may do, by its `securityContext`: capabilities, and writing to its own root.

use serde_json::Value;

/// What container runtimes leave to a program that asks for nothing (containerd, pkg/oci/spec.go).
const USUAL: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The limits of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confinement {
    /// Its root cannot be written; volumes can.
    pub(super) read_only: bool,
    /// Words before its own that take its capabilities away.
    pub(super) prefix: Vec<String>,
}

impl Confinement {
    /// That of `container`. One that says nothing of capabilities keeps all of the machine's.
    pub(super) fn of(container: &Value) -> Self {
        let security = &container["securityContext"];
        let read_only = security["readOnlyRootFilesystem"] == true;
        let capabilities = security.get("capabilities").filter(|_| security["privileged"] != true);
        let Some(capabilities) = capabilities else { return Self { read_only, prefix: Vec::new() } };
        let list = |field: &str| {
            let names = capabilities[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.map(|name| name.trim_start_matches("CAP_").to_owned()).collect::<Vec<_>>()
        };
        let (drop, add) = (list("drop"), list("add"));
        let usual = USUAL.iter().map(|&name| name.to_owned());
        let kept = usual.filter(|name| !drop.contains(name) && !drop.iter().any(|name| name == "ALL"));
        let set: Vec<String> = kept.chain(add).map(|name| format!(",+{}", name.to_lowercase())).collect();
        // User 0 has all of its bounding set from its exec on (capabilities(7)).
        let mut prefix = vec!["setpriv".to_owned(), format!("--bounding-set=-all{}", set.concat())];
        prefix.push("--inh-caps=-all".to_owned());
        if security["allowPrivilegeEscalation"] == false {
            prefix.push("--no-new-privs".to_owned());
        }
        prefix.push("--".to_owned());
        Self { read_only, prefix }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn capabilities_are_what_is_left_and_what_is_added() {
        let prefix =
            |security: Value| Confinement::of(&json!({"securityContext": security})).prefix.join(" ");
        assert_eq!(prefix(json!({})), "");
        assert_eq!(prefix(json!({"privileged": true, "capabilities": {"drop": ["ALL"]}})), "");
        let words = prefix(json!({
            "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN"]}, "allowPrivilegeEscalation": false,
        }));
        assert_eq!(words, "setpriv --bounding-set=-all,+bpf,+net_admin --inh-caps=-all --no-new-privs --");
        let words = prefix(json!({"capabilities": {"drop": ["MKNOD"], "add": ["SYS_TIME"]}}));
        assert!(
            words.contains(",+chown,") && words.contains(",+sys_time ") && !words.contains("mknod"),
            "{words}"
        );
    }
}
