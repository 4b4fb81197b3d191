//! Messages of the control API as tables, for the terminal and for the status page.

use admin::{Cell, Mood, Table};
use api::v1::{Backend, Candidate, Diagnostic, Endpoint, Listener, Route};

/// The listeners.
pub(crate) fn listeners(listeners: &[Listener]) -> Table {
    let columns = ["listener", "address", "protocol", "host", "rules", "state"];
    let mut table =
        Table::new("Listeners", &columns, "No listeners: no Gateway, Ingress or RoutingRule is served.");
    for listener in listeners {
        table.row([
            Cell::from(&listener.id),
            listener.addresses.join("\n").into(),
            Cell::from(&listener.protocol),
            any(&listener.hostname),
            listener.routes.to_string().into(),
            match listener.problem.as_str() {
                "" => Cell::new("listening", Mood::Good),
                problem => Cell::new(problem, Mood::Bad),
            },
        ]);
    }
    table
}

/// The rules, with the tier where an agent knows it; `wide` adds listeners, balancing and why it is this tier.
pub(crate) fn routes(routes: &[Route], wide: bool) -> Table {
    let narrow = ["route", "hosts", "matches", "backends"];
    let is_served = routes.iter().any(|route| route.served_tier.is_some());
    let more: &[_] = match (wide, is_served) {
        (true, _) => &["balancing", "tier", "listeners"],
        (false, true) => &["tier"],
        (false, false) => &[],
    };
    let columns = [&narrow[..], more].concat();
    let mut table = Table::new("Routes", &columns, "No routes.");
    for route in routes {
        let mut row = vec![
            format!("{} rule {}", route.object, route.rule).into(),
            any(&route.hosts.join("\n")),
            any(&route.matches.join("\n")),
            targets(route),
        ];
        if wide {
            row.extend([balancing(route), tier(route), route.listeners.join("\n").into()]);
        } else if is_served {
            row.push(route.served_tier.map_or_else(Cell::default, |tier| tier.to_string().into()));
        }
        table.row(row);
    }
    table
}

/// How endpoints are chosen, and whether clients keep theirs.
fn balancing(route: &Route) -> Cell {
    match route.affinity.as_str() {
        "" => Cell::from(&route.balancing),
        affinity => Cell::from(format!("{}\naffinity {affinity}", route.balancing)),
    }
}

/// The tier that decides, the one asked for if it is another, and why.
fn tier(route: &Route) -> Cell {
    let mut text = match (route.served_tier, route.tier) {
        (None, None) => return Cell::new("-", Mood::Faint),
        (Some(served), Some(asked)) if served != asked => format!("{served} (asked {asked})"),
        (Some(tier), _) => tier.to_string(),
        (None, Some(asked)) => format!("asked {asked}"),
    };
    if !route.tier_reason.is_empty() {
        text = format!("{text}\n{}", route.tier_reason);
    }
    text.into()
}

/// The backends, a row for each endpoint.
pub(crate) fn backends(backends: &[Backend], wide: bool) -> Table {
    let narrow = ["backend", "endpoint", "state", "active", "requests", "failures"];
    let columns = if wide {
        [&narrow[..], &["weight", "protocol", "affinity", "rules", "policy"]].concat()
    } else {
        narrow.to_vec()
    };
    let mut table = Table::new("Backends", &columns, "No backends.");
    for backend in backends {
        let none = [Endpoint::default()];
        let endpoints = if backend.endpoints.is_empty() { &none[..] } else { &backend.endpoints };
        for (i, endpoint) in endpoints.iter().enumerate() {
            let name = if i == 0 { Cell::from(&backend.id) } else { Cell::default() };
            let mut row = vec![name];
            if backend.endpoints.is_empty() {
                row.push(Cell::new("no endpoints", Mood::Bad));
                row.extend(std::iter::repeat_n(Cell::default(), 4));
            } else {
                let failures = if endpoint.failures > 0 { Mood::Warn } else { Mood::Plain };
                row.extend([
                    addresses(endpoint),
                    endpoint_state(endpoint),
                    endpoint.active.to_string().into(),
                    endpoint.requests.to_string().into(),
                    Cell::new(endpoint.failures.to_string(), failures),
                ]);
            }
            if wide {
                let weight =
                    if backend.endpoints.is_empty() { String::new() } else { endpoint.weight.to_string() };
                row.push(weight.into());
                // What belongs to the backend stands in its first row.
                row.extend(match i {
                    0 => [
                        Cell::from(&backend.protocol),
                        Cell::from(&backend.affinity),
                        backend.routes.to_string().into(),
                        backend.policy.join("\n").into(),
                    ],
                    _ => [Cell::default(), Cell::default(), Cell::default(), Cell::default()],
                });
            }
            table.row(row);
        }
    }
    table
}

/// One, or the preferred one and below it the one of the other IP family.
fn addresses(endpoint: &Endpoint) -> Cell {
    match endpoint.other_address.as_str() {
        "" => Cell::from(&endpoint.address),
        other => Cell::from(format!("{}\n{other}", endpoint.address)),
    }
}

/// What is wrong with the configuration.
pub(crate) fn diagnostics(diagnostics: &[Diagnostic]) -> Table {
    let columns = ["severity", "place", "object", "message"];
    let mut table = Table::new("Diagnostics", &columns, "Nothing is wrong with the configuration.");
    for found in diagnostics {
        let mood = if found.severity == "error" { Mood::Bad } else { Mood::Warn };
        let place = match (found.file.as_str(), found.line, found.column) {
            ("", ..) => String::new(),
            (file, 0, _) => file.to_owned(),
            (file, line, 0) => format!("{file}:{line}"),
            (file, line, column) => format!("{file}:{line}:{column}"),
        };
        let field = if found.field.is_empty() { String::new() } else { format!("{}: ", found.field) };
        table.row([
            Cell::new(&found.severity, mood),
            place.into(),
            Cell::from(&found.object),
            format!("{field}{} ({})", found.message, found.reason).into(),
        ]);
    }
    table
}

/// The endpoints that a request may reach.
pub(crate) fn candidates(candidates: &[Candidate]) -> Table {
    let columns = ["endpoint", "backend", "share"];
    let mut table = Table::new("Endpoints", &columns, "No endpoint can take it.");
    for candidate in candidates {
        table.row([
            Cell::from(&candidate.address),
            Cell::from(&candidate.backend),
            format!("{:.1} %", candidate.share_percent).into(),
        ]);
    }
    table
}

fn targets(route: &Route) -> Cell {
    if !route.response.is_empty() {
        return Cell::new(format!("answers {}", route.response), Mood::Warn);
    }
    let alone = route.backends.len() == 1;
    let name = |target: &api::v1::RouteBackend| {
        let name = if target.broken { format!("500: {}", target.backend) } else { target.backend.clone() };
        if alone { name } else { format!("{name} (weight {})", target.weight) }
    };
    let mood = if route.backends.iter().any(|target| target.broken) { Mood::Bad } else { Mood::Plain };
    let lines: Vec<String> = route.backends.iter().map(name).collect();
    if lines.is_empty() {
        Cell::new("500: no backends", Mood::Bad)
    } else {
        Cell::new(lines.join("\n"), mood)
    }
}

fn endpoint_state(endpoint: &Endpoint) -> Cell {
    let mood = if endpoint.condition == "ready" { Mood::Good } else { Mood::Warn };
    Cell::new(&endpoint.condition, mood)
}

/// The text, or `*` where there is none: everything.
fn any(text: &str) -> Cell {
    if text.is_empty() { Cell::new("*", Mood::Faint) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use api::v1::RouteBackend;

    use super::*;

    fn route(backends: Vec<RouteBackend>) -> Route {
        Route {
            object: "HTTPRoute shop/web".into(),
            matches: vec!["/a/*".into(), "GET =/b".into()],
            backends,
            ..Route::default()
        }
    }

    #[test]
    fn a_route_with_shares_shows_them_one_below_the_other() {
        let backend = |name: &str, weight, broken| RouteBackend { backend: name.into(), weight, broken };
        let table = routes(
            &[route(vec![backend("shop/a:80", 9, false), backend("no such Service", 1, true)])],
            false,
        );
        assert_eq!(
            table.to_text(false),
            "ROUTE                      HOSTS  MATCHES  BACKENDS\n\
             HTTPRoute shop/web rule 0  *      /a/*     shop/a:80 (weight 9)\n\
             \u{20}                                 GET =/b  500: no such Service (weight 1)\n"
        );
        assert_eq!(table.rows[0][3].mood, Mood::Bad);
        let served =
            Route { served_tier: Some(2), tier: Some(1), tier_reason: "why".into(), ..route(vec![]) };
        assert_eq!(routes(std::slice::from_ref(&served), false).rows[0][4].text, "2");
        assert_eq!(routes(&[served], true).rows[0][5].text, "2 (asked 1)\nwhy");
        assert!(routes(&[route(vec![])], true).rows[0][3].text.contains("500"));
    }

    #[test]
    fn every_row_is_as_long_as_its_columns() {
        let empty = Backend { id: "a/b:80".into(), ..Backend::default() };
        let endpoint =
            Endpoint { address: "10.0.0.1:80".into(), condition: "ready".into(), ..Endpoint::default() };
        let full = Backend { endpoints: vec![endpoint.clone(), endpoint], ..empty.clone() };
        for wide in [false, true] {
            let tables = [backends(&[empty.clone(), full.clone()], wide), routes(&[route(vec![])], wide)];
            for table in tables {
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{table:?}");
            }
        }
        assert!(backends(&[empty], false).to_text(false).contains("no endpoints"));
    }

    #[test]
    fn listeners_that_do_not_serve_say_why() {
        let listener =
            Listener { id: "default/http".into(), problem: "port in use".into(), ..Listener::default() };
        let table = listeners(&[listener.clone(), Listener { problem: String::new(), ..listener }]);
        assert_eq!(table.rows[0][5], Cell::new("port in use", Mood::Bad));
        assert_eq!(table.rows[1][5], Cell::new("listening", Mood::Good));
    }
}
