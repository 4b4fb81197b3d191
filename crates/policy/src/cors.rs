use crate::origin::Origin;

/// The answers of a rule's CORS filter, prepared.
///
/// Source: Fetch standard, section 3.3 (HTTP CORS protocol); HTTPCORSFilter (Gateway API v1.6.1).
#[derive(Clone, Debug)]
pub struct Cors {
    /// None: every origin.
    origins: Option<Vec<Origin>>,
    methods: Option<List>,
    headers: Option<List>,
    exposed: Option<List>,
    credentials: bool,
    max_age: Box<str>,
}

/// `*`, or names joined with commas.
#[derive(Clone, Debug)]
enum List {
    Any,
    Named(Box<str>),
}

/// The parts of a request that CORS looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct CorsRequest<'r> {
    /// The method.
    pub method: &'r str,
    /// `Origin`; none also where there are several.
    pub origin: Option<&'r [u8]>,
    /// `Access-Control-Request-Method`.
    pub asked_method: Option<&'r [u8]>,
    /// `Access-Control-Request-Headers`.
    pub asked_headers: Option<&'r [u8]>,
}

impl<'r> CorsRequest<'r> {
    /// Reads them from a head: `values` gives the values of the header lines of a name.
    pub fn read<V: Iterator<Item = &'r [u8]>>(method: &'r str, values: impl Fn(&'static str) -> V) -> Self {
        let mut origins = values("origin");
        Self {
            method,
            origin: origins.next().filter(|_| origins.next().is_none()),
            asked_method: values("access-control-request-method").next(),
            asked_headers: values("access-control-request-headers").next(),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum CorsVerdict<'a> {
    /// It goes on; its answer gets these lines.
    Pass(CorsLines<'a>),
    /// It asks what is allowed: answered 204 with these lines.
    Preflight(CorsLines<'a>),
    /// It asks for an origin that is not allowed: answered 403.
    Denied,
}

/// A few header lines, on the heap: a connection has room for them whether or not it ever has any.
#[derive(Clone, Debug, Default)]
pub struct CorsLines<'a>(Vec<(&'a str, &'a [u8])>);

/// What endpoints may say of CORS on their own; a rule with a CORS filter says it instead.
pub const CORS_HEADERS: &[&str] = &[
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

impl Cors {
    /// Prepares the answers. Origins that are none are left out.
    pub fn new(said: &model::Cors) -> Self {
        let is_any = |list: &[std::sync::Arc<str>]| list.iter().any(|one| &**one == "*");
        let list = |list: &[std::sync::Arc<str>]| match list {
            [] => None,
            list if is_any(list) => Some(List::Any),
            list => Some(List::Named(list.join(", ").into())),
        };
        Self {
            origins: (!is_any(&said.allow_origins))
                .then(|| said.allow_origins.iter().filter_map(|origin| Origin::parse(origin)).collect()),
            methods: list(&said.allow_methods),
            headers: list(&said.allow_headers),
            exposed: list(&said.expose_headers),
            credentials: said.allow_credentials,
            max_age: said.max_age_s.to_string().into(),
        }
    }

    /// What becomes of `request`.
    pub fn judge<'a>(&'a self, request: &CorsRequest<'a>) -> CorsVerdict<'a> {
        let is_preflight =
            request.method == "OPTIONS" && request.origin.is_some() && request.asked_method.is_some();
        let mut lines = CorsLines::default();
        let allowed = request.origin.filter(|origin| self.allows(origin));
        if let Some(origin) = allowed {
            let origin = if self.is_same_for_all() { b"*" } else { origin };
            lines.push("Access-Control-Allow-Origin", origin);
            if self.credentials {
                lines.push("Access-Control-Allow-Credentials", b"true");
            }
            // Of no use on a preflight's answer (Fetch, section 3.3.4), but the conformance suite of the Gateway API looks for it there, too.
            match &self.exposed {
                Some(List::Named(names)) => lines.push("Access-Control-Expose-Headers", names.as_bytes()),
                // With credentials `*` would be a header of that name.
                Some(List::Any) if !self.credentials => lines.push("Access-Control-Expose-Headers", b"*"),
                _ => {}
            }
        }
        match (is_preflight, allowed) {
            (true, None) => CorsVerdict::Denied,
            (true, Some(_)) => {
                self.grant(&mut lines, "Access-Control-Allow-Methods", &self.methods, request.asked_method);
                self.grant(&mut lines, "Access-Control-Allow-Headers", &self.headers, request.asked_headers);
                lines.push("Access-Control-Max-Age", self.max_age.as_bytes());
                lines.push("Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
                CorsVerdict::Preflight(lines)
            }
            (false, _) => {
                if !self.is_same_for_all() {
                    lines.push("Vary", b"Origin");
                }
                CorsVerdict::Pass(lines)
            }
        }
    }

    /// Whether every origin gets the same answer.
    fn is_same_for_all(&self) -> bool {
        self.origins.is_none() && !self.credentials
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let Some(origins) = &self.origins else { return true };
        let asked = std::str::from_utf8(origin).ok().and_then(Origin::parse_sent);
        asked.is_some_and(|asked| origins.iter().any(|allowed| allowed.covers(&asked)))
    }

    /// A list as it is written, `*`, or with credentials, where `*` means nothing, what was asked for.
    fn grant<'a>(
        &self,
        lines: &mut CorsLines<'a>,
        name: &'a str,
        list: &'a Option<List>,
        asked: Option<&'a [u8]>,
    ) {
        match list {
            None => {}
            Some(List::Named(names)) => lines.push(name, names.as_bytes()),
            Some(List::Any) if !self.credentials => lines.push(name, b"*"),
            Some(List::Any) => {
                if let Some(asked) = asked {
                    lines.push(name, asked);
                }
            }
        }
    }
}

impl<'a> CorsLines<'a> {
    /// The lines.
    pub fn as_slice(&self) -> &[(&'a str, &'a [u8])] {
        &self.0
    }

    fn push(&mut self, name: &'a str, value: &'a [u8]) {
        self.0.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], change: impl FnOnce(&mut model::Cors)) -> Cors {
        let mut said = model::Cors {
            allow_origins: origins.iter().map(|origin| (*origin).into()).collect(),
            allow_methods: vec![],
            allow_headers: vec![],
            expose_headers: vec![],
            allow_credentials: false,
            max_age_s: 5,
        };
        change(&mut said);
        Cors::new(&said)
    }

    /// The verdict and its lines as text.
    fn judged(
        cors: &Cors,
        method: &str,
        origin: Option<&str>,
        asked: Option<(&str, Option<&str>)>,
    ) -> String {
        let request = CorsRequest {
            method,
            origin: origin.map(str::as_bytes),
            asked_method: asked.map(|asked| asked.0.as_bytes()),
            asked_headers: asked.and_then(|asked| asked.1).map(str::as_bytes),
        };
        let (kind, lines) = match cors.judge(&request) {
            CorsVerdict::Pass(lines) => ("pass", lines),
            CorsVerdict::Preflight(lines) => ("preflight", lines),
            CorsVerdict::Denied => return "denied".to_owned(),
        };
        let line = |(name, value): &(&str, &[u8])| {
            format!("; {}: {}", name.trim_start_matches("Access-Control-"), String::from_utf8_lossy(value))
        };
        kind.to_owned() + &lines.as_slice().iter().map(line).collect::<String>()
    }

    #[test]
    fn a_preflight_is_granted_what_is_listed() {
        let cors = cors(&["https://a.test"], |said| {
            said.allow_methods = vec!["GET".into(), "PUT".into()];
            said.allow_headers = vec!["X-A".into(), "X-B".into()];
            said.allow_credentials = true;
            said.max_age_s = 600;
        });
        assert_eq!(
            judged(&cors, "OPTIONS", Some("https://a.test"), Some(("PUT", Some("x-c")))),
            "preflight; Allow-Origin: https://a.test; Allow-Credentials: true; Allow-Methods: GET, PUT; \
             Allow-Headers: X-A, X-B; Max-Age: 600; \
             Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        );
        assert_eq!(judged(&cors, "OPTIONS", Some("https://b.test"), Some(("PUT", None))), "denied");
        assert_eq!(judged(&cors, "OPTIONS", None, Some(("PUT", None))), "pass; Vary: Origin");
    }

    #[test]
    fn a_star_is_said_without_credentials_only() {
        let all = |credentials| {
            cors(&["*"], |said| {
                said.allow_methods = vec!["*".into()];
                said.allow_headers = vec!["*".into()];
                said.expose_headers = vec!["*".into()];
                said.allow_credentials = credentials;
            })
        };
        let preflight =
            |cors: &Cors, headers| judged(cors, "OPTIONS", Some("http://a.test"), Some(("PUT", headers)));
        let text = preflight(&all(false), Some("x-a"));
        assert!(
            text.starts_with(
                "preflight; Allow-Origin: *; Expose-Headers: *; Allow-Methods: *; Allow-Headers: *; Max-Age: 5"
            ),
            "{text}"
        );
        let text = preflight(&all(true), Some("x-a, x-b"));
        assert!(
            text.starts_with(
                "preflight; Allow-Origin: http://a.test; Allow-Credentials: true; Allow-Methods: PUT; \
                 Allow-Headers: x-a, x-b; "
            ),
            "{text}"
        );
        assert!(!preflight(&all(true), None).contains("Allow-Headers: "));
        assert_eq!(
            judged(&all(false), "GET", Some("null"), None),
            "pass; Allow-Origin: *; Expose-Headers: *"
        );
        assert_eq!(
            judged(&all(true), "GET", Some("null"), None),
            "pass; Allow-Origin: null; Allow-Credentials: true; Vary: Origin"
        );
    }

    #[test]
    fn several_origins_are_none() {
        let read = |origins: &'static [&'static [u8]]| {
            CorsRequest::read("GET", |name| {
                if name == "origin" { origins.iter().copied() } else { [].iter().copied() }
            })
        };
        assert_eq!(read(&[b"https://a.test"]).origin, Some(&b"https://a.test"[..]));
        assert_eq!(read(&[b"https://a.test", b"https://b.test"]).origin, None);
        assert_eq!(read(&[]).asked_method, None);
    }

    #[test]
    fn an_ordinary_request_passes_and_its_answer_says_whom_it_is_for() {
        let cors = cors(&["https://a.test"], |said| said.expose_headers = vec!["X-A".into(), "X-B".into()]);
        assert_eq!(
            judged(&cors, "POST", Some("https://a.test"), None),
            "pass; Allow-Origin: https://a.test; Expose-Headers: X-A, X-B; Vary: Origin"
        );
        assert_eq!(judged(&cors, "GET", Some("https://evil.test"), None), "pass; Vary: Origin");
        assert_eq!(judged(&cors, "GET", None, None), "pass; Vary: Origin");
    }
}
