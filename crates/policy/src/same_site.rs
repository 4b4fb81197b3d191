/// Whether a browser knows `SameSite=None`: some of before 2020 take it for Strict, or refuse the cookie. Who says nothing knows it.
///
/// Source: <https://www.chromium.org/updates/same-site/incompatible-clients/>, as `same_site.lua` of ingress-nginx has it.
pub fn knows_same_site_none(agent: &str) -> bool {
    !(is_old_webkit(agent) || is_old_uc(agent) || is_old_chromium(agent))
}

/// All browsers of iOS 12, and Safari and embedded ones of macOS 10.14: they take it for Strict.
fn is_old_webkit(agent: &str) -> bool {
    let is_ios_12 = agent
        .split("(iP")
        .skip(1)
        .filter_map(|part| part.split(')').next())
        .any(|part| part.contains("CPU iPhone OS 12_") || part.contains("CPU OS 12_"));
    let is_mojave = agent.contains("Macintosh;") && agent.contains("Mac OS X 10_14");
    let is_safari = agent.contains("Version/") && agent.contains("Safari") && !is_chromium(agent);
    let is_embedded = agent.starts_with("Mozilla/") && agent.ends_with("(KHTML, like Gecko)");
    is_ios_12 || (is_mojave && (is_safari || is_embedded))
}

/// Before 12.13.2.
fn is_old_uc(agent: &str) -> bool {
    version(agent, "UCBrowser/").is_some_and(|version| version < [12, 13, 2])
}

/// From 51 to 66.
fn is_old_chromium(agent: &str) -> bool {
    let major = ["Chrome/", "Chromium/"].iter().find_map(|name| version(agent, name));
    !agent.contains("UCBrowser/") && major.is_some_and(|[major, ..]| (51..=66).contains(&major))
}

fn is_chromium(agent: &str) -> bool {
    agent.contains("Chrome/") || agent.contains("Chromium/")
}

fn version(agent: &str, name: &str) -> Option<[u32; 3]> {
    let text = agent.split_once(name)?.1;
    let text = text.split(|one: char| !one.is_ascii_digit() && one != '.').next()?;
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    Some(std::array::from_fn(|_| numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_browsers_are_told_from_new_ones() {
        let webkit = "AppleWebKit/605.1.15 (KHTML, like Gecko)";
        for (agent, expected) in [
            (format!("Mozilla/5.0 (iPhone; CPU iPhone OS 12_1 like Mac OS X) {webkit} Version/12.0 Safari/604.1"), false),
            (format!("Mozilla/5.0 (iPad; CPU OS 12_4 like Mac OS X) {webkit} CriOS/78.0 Safari/605.1"), false),
            (format!("Mozilla/5.0 (iPhone; CPU iPhone OS 13_1 like Mac OS X) {webkit} Version/13.0 Safari/604.1"), true),
            (format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) {webkit} Version/12.1.2 Safari/605.1.15"), false),
            (format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) {webkit}"), false),
            (format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_1) {webkit} Version/13.0 Safari/605.1.15"), true),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/78.0 Safari/537.36".to_owned(), true),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/50.0 Safari/537.36".to_owned(), true),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/51.0.2704 Safari/537.36".to_owned(), false),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chromium/66.0 Safari/537.36".to_owned(), false),
            ("Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/67.0 Safari/537.36".to_owned(), true),
            ("Mozilla/5.0 (Linux) Chrome/57.0 UCBrowser/12.13.1.1189 Mobile".to_owned(), false),
            ("Mozilla/5.0 (Linux) Chrome/57.0 UCBrowser/12.13.2.1005 Mobile".to_owned(), true),
            ("curl/8.5.0".to_owned(), true),
            (String::new(), true),
        ] {
            assert_eq!(knows_same_site_none(&agent), expected, "{agent}");
        }
    }
}
