//! The file source: watched folders of Kubernetes YAML.
