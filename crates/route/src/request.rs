/// What the matcher needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r, H> {
    /// The host in lower case, without port or trailing dot; empty if there is none.
    pub host: &'r str,
    /// The path as it came, without the query.
    pub path: &'r str,
    /// What follows the `?`, if there is one.
    pub query: Option<&'r str>,
    /// The method, exactly as it came (RFC 9110 section 9.1: case-sensitive).
    pub method: &'r str,
    /// The header fields.
    pub headers: &'r H,
}

/// A request's header fields.
pub trait Headers {
    /// The values of the field lines called `name`, in the order they came, without surrounding white space.
    ///
    /// `name` is in lower case; field names compare without case (RFC 9110 section 5.1).
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;
}

/// Header fields as a list of names and values; for requests that do not come from the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairs<'p>(pub &'p [(String, String)]);

impl Headers for Pairs<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pairs_compare_without_case() {
        let pairs = [("X-A".into(), "1".into()), ("b".into(), "2".into()), ("x-a".into(), "3".into())];
        let values: Vec<_> = Pairs(&pairs).values("x-a").map(<[u8]>::to_vec).collect();
        assert_eq!(values, [b"1", b"3"]);
    }
}
