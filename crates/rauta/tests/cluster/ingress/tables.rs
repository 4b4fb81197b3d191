//! What Ingresses are asked for, and who answers: the 2021 conformance suite of Ingress controllers, and the table of path types in the
//! documentation of Kubernetes.

/// Host, pathType, path and Service of a rule. A Service `*` stands for a resource that is none.
pub(super) type Rule = (&'static str, &'static str, &'static str, &'static str);

/// The rules of the suite's features `path_rules` and `host_rules`, as one Ingress each.
pub(super) const SUITE: &[(&str, &[Rule])] = &[
    (
        "path-rules",
        &[
            ("exact-path-rules", "Exact", "/foo", "foo-exact"),
            ("prefix-path-rules", "Prefix", "/foo", "foo-prefix"),
            ("prefix-path-rules", "Prefix", "/aaa/bbb", "aaa-bbb-prefix"),
            ("prefix-path-rules", "Prefix", "/aaa", "aaa-prefix"),
            ("mixed-path-rules", "Prefix", "/foo", "foo-prefix"),
            ("mixed-path-rules", "Exact", "/foo", "foo-exact"),
            ("trailing-slash-path-rules", "Prefix", "/aaa/bbb/", "aaa-bbb-slash-prefix"),
            ("trailing-slash-path-rules", "Exact", "/foo/", "foo-slash-exact"),
        ],
    ),
    (
        "host-rules",
        &[
            ("*.foo.com", "Prefix", "/", "wildcard-foo-com"),
            // Its port by name.
            ("foo.bar.com", "Prefix", "/", "foo-bar-com:http"),
        ],
    ),
];

/// Scenarios of the suite: host, path and the Service that answers; none: 404.
pub(super) const SCENARIOS: &[(&str, &str, Option<&str>)] = &[
    ("exact-path-rules", "/foo", Some("foo-exact")),
    ("exact-path-rules", "/foo/", None),
    ("exact-path-rules", "/FOO", None),
    ("exact-path-rules", "/bar", None),
    ("prefix-path-rules", "/foo", Some("foo-prefix")),
    ("prefix-path-rules", "/foo/", Some("foo-prefix")),
    ("prefix-path-rules", "/FOO", None),
    ("prefix-path-rules", "/aaa/bbb", Some("aaa-bbb-prefix")),
    ("prefix-path-rules", "/aaa/bbb/ccc", Some("aaa-bbb-prefix")),
    ("prefix-path-rules", "/aaa/ccc", Some("aaa-prefix")),
    ("prefix-path-rules", "/aaaccc", None),
    ("mixed-path-rules", "/foo", Some("foo-exact")),
    ("trailing-slash-path-rules", "/aaa/bbb", Some("aaa-bbb-slash-prefix")),
    ("trailing-slash-path-rules", "/aaa/bbb/", Some("aaa-bbb-slash-prefix")),
    ("trailing-slash-path-rules", "/foo", None),
    ("foo.bar.com", "/", Some("foo-bar-com")),
    ("subdomain.bar.com", "/", None),
    ("bar.foo.com", "/", Some("wildcard-foo-com")),
    ("baz.bar.foo.com", "/", None),
    ("foo.com", "/", None),
];

/// The examples of the suite's feature `default_backend`: method, host (none: the address itself) and path.
pub(super) const DEFAULT_BACKEND: &[(&str, &str, &str)] = &[
    ("GET", "my-host", "/"),
    ("GET", "my-host", "/sub-path"),
    ("POST", "some-host", "/"),
    ("PUT", "", "/resource"),
    ("DELETE", "some-host", "/resource"),
    ("PATCH", "my-host", "/resource"),
];

/// Paths with their types, the path of a request, and the Service that answers; none: 404.
pub(super) type Row = (&'static [(&'static str, &'static str)], &'static str, Option<&'static str>);

/// Rows of the table: paths with their types, each with a Service of its own (`first`, `second`, `third`), a request and who answers.
pub(super) const PATHS: &[Row] = &[
    (&[("Prefix", "/")], "/any/path", Some("first")),
    (&[("Exact", "/foo")], "/foo", Some("first")),
    (&[("Exact", "/foo")], "/bar", None),
    (&[("Exact", "/foo")], "/foo/", None),
    (&[("Exact", "/foo/")], "/foo", None),
    (&[("Prefix", "/foo")], "/foo", Some("first")),
    (&[("Prefix", "/foo")], "/foo/", Some("first")),
    (&[("Prefix", "/foo/")], "/foo", Some("first")),
    (&[("Prefix", "/foo/")], "/foo/", Some("first")),
    (&[("Prefix", "/aaa/bb")], "/aaa/bbb", None),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb", Some("first")),
    (&[("Prefix", "/aaa/bbb/")], "/aaa/bbb", Some("first")),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb/", Some("first")),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb/ccc", Some("first")),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbbxyz", None),
    (&[("Prefix", "/"), ("Prefix", "/aaa")], "/aaa/ccc", Some("second")),
    (&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/aaa/bbb", Some("third")),
    (&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/ccc", Some("first")),
    (&[("Prefix", "/aaa")], "/ccc", None),
    (&[("Prefix", "/foo"), ("Exact", "/foo")], "/foo", Some("second")),
];

/// Every Service that is named here.
pub(super) const SERVICES: &[&str] = &[
    "foo-exact",
    "foo-prefix",
    "foo-slash-exact",
    "aaa-prefix",
    "aaa-bbb-prefix",
    "aaa-bbb-slash-prefix",
    "wildcard-foo-com",
    "foo-bar-com",
    "first",
    "second",
    "third",
    "echo-service",
];
