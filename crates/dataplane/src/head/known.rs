/// The field names that steer a gateway: routing, framing, connection and forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Known {
    /// Any other.
    #[default]
    Other,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Keep-Alive`
    KeepAlive,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
    /// `HTTP2-Settings`, which belongs to an upgrade to h2c
    Http2Settings,
    /// `Proxy-Connection`, which was never standard
    ProxyConnection,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy` (which CGI turns into `HTTP_PROXY`) and any other `Proxy-…`
    ProxyOther,
    /// `Forwarded`
    Forwarded,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// Any other `X-Forwarded-…`
    XForwardedOther,
    /// `X-Real-IP`
    XRealIp,
    /// One of the others with `_` for `-`: endpoints that make variables of header names (CGI, WSGI) cannot tell them
    /// apart, so it could pass for what the gateway wrote or framed by
    Disguised,
    /// `Date`
    Date,
    /// `Server`
    Server,
}

impl Known {
    /// Which one `name` is; case does not matter (RFC 9110 section 5.1).
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match Self::of_folded(name) {
            Self::Other => Self::Other,
            _ if name.contains(&b'_') => Self::Disguised,
            known => known,
        }
    }

    /// The same, with `_` for `-` let pass.
    #[inline]
    fn of_folded(name: &[u8]) -> Self {
        // The first byte parts the names well enough: few others start like one of ours.
        match name.first().map(|b| b | 0x20) {
            Some(b'h') => match name.len() {
                4 if is(name, b"host") => Self::Host,
                14 if is(name, b"http2-settings") => Self::Http2Settings,
                _ => Self::Other,
            },
            Some(b'c') => match name.len() {
                10 if is(name, b"connection") => Self::Connection,
                14 if is(name, b"content-length") => Self::ContentLength,
                _ => Self::Other,
            },
            Some(b't') => match name.len() {
                2 if is(name, b"te") => Self::Te,
                7 if is(name, b"trailer") => Self::Trailer,
                17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
                _ => Self::Other,
            },
            Some(b'k') if is(name, b"keep-alive") => Self::KeepAlive,
            Some(b'u') if is(name, b"upgrade") => Self::Upgrade,
            Some(b'e') if is(name, b"expect") => Self::Expect,
            Some(b'f') if is(name, b"forwarded") => Self::Forwarded,
            Some(b'd') if is(name, b"date") => Self::Date,
            Some(b's') if is(name, b"server") => Self::Server,
            Some(b'p') => proxy(name),
            Some(b'x') => forwarding(name),
            _ => Self::Other,
        }
    }

    /// Whether it tells who the client is or how it came: `Forwarded`, `X-Forwarded-…`, `X-Real-IP`.
    #[inline]
    pub fn is_forwarding(self) -> bool {
        matches!(
            self,
            Self::Forwarded
                | Self::XForwardedFor
                | Self::XForwardedProto
                | Self::XForwardedHost
                | Self::XForwardedPort
                | Self::XForwardedOther
                | Self::XRealIp
        )
    }
}

fn proxy(name: &[u8]) -> Known {
    match name.len() {
        5 if is(name, b"proxy") => Known::ProxyOther,
        16 if is(name, b"proxy-connection") => Known::ProxyConnection,
        18 if is(name, b"proxy-authenticate") => Known::ProxyAuthenticate,
        19 if is(name, b"proxy-authorization") => Known::ProxyAuthorization,
        _ if starts_with(name, b"proxy-") => Known::ProxyOther,
        _ => Known::Other,
    }
}

fn forwarding(name: &[u8]) -> Known {
    match name.len() {
        9 if is(name, b"x-real-ip") => Known::XRealIp,
        _ if !starts_with(name, b"x-forwarded-") => Known::Other,
        15 if is(name, b"x-forwarded-for") => Known::XForwardedFor,
        17 if is(name, b"x-forwarded-proto") => Known::XForwardedProto,
        16 if is(name, b"x-forwarded-host") => Known::XForwardedHost,
        16 if is(name, b"x-forwarded-port") => Known::XForwardedPort,
        _ => Known::XForwardedOther,
    }
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|front| is(front, prefix))
}

/// Whether they are equal but for case and `_` for `-`. `lower` is lower case.
#[inline]
fn is(name: &[u8], lower: &[u8]) -> bool {
    name.len() == lower.len()
        && name
            .iter()
            .zip(lower)
            .all(|(&is, &want)| is.to_ascii_lowercase() == want || (is == b'_' && want == b'-'))
}
