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
    /// `Date`
    Date,
    /// `Server`
    Server,
}

impl Known {
    /// Which one `name` is; case does not matter (RFC 9110 section 5.1).
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        // The first byte parts the names well enough: few others start like one of ours.
        match name.first().map(|b| b | 0x20) {
            Some(b'h') => match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => Self::Host,
                14 if name.eq_ignore_ascii_case(b"http2-settings") => Self::Http2Settings,
                _ => Self::Other,
            },
            Some(b'c') => match name.len() {
                10 if name.eq_ignore_ascii_case(b"connection") => Self::Connection,
                14 if name.eq_ignore_ascii_case(b"content-length") => Self::ContentLength,
                _ => Self::Other,
            },
            Some(b't') => match name.len() {
                2 if name.eq_ignore_ascii_case(b"te") => Self::Te,
                7 if name.eq_ignore_ascii_case(b"trailer") => Self::Trailer,
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Self::TransferEncoding,
                _ => Self::Other,
            },
            Some(b'k') if name.eq_ignore_ascii_case(b"keep-alive") => Self::KeepAlive,
            Some(b'u') if name.eq_ignore_ascii_case(b"upgrade") => Self::Upgrade,
            Some(b'e') if name.eq_ignore_ascii_case(b"expect") => Self::Expect,
            Some(b'f') if name.eq_ignore_ascii_case(b"forwarded") => Self::Forwarded,
            Some(b'd') if name.eq_ignore_ascii_case(b"date") => Self::Date,
            Some(b's') if name.eq_ignore_ascii_case(b"server") => Self::Server,
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
        5 if name.eq_ignore_ascii_case(b"proxy") => Known::ProxyOther,
        16 if name.eq_ignore_ascii_case(b"proxy-connection") => Known::ProxyConnection,
        18 if name.eq_ignore_ascii_case(b"proxy-authenticate") => Known::ProxyAuthenticate,
        19 if name.eq_ignore_ascii_case(b"proxy-authorization") => Known::ProxyAuthorization,
        _ if starts_with(name, b"proxy-") => Known::ProxyOther,
        _ => Known::Other,
    }
}

fn forwarding(name: &[u8]) -> Known {
    match name.len() {
        9 if name.eq_ignore_ascii_case(b"x-real-ip") => Known::XRealIp,
        _ if !starts_with(name, b"x-forwarded-") => Known::Other,
        15 if name.eq_ignore_ascii_case(b"x-forwarded-for") => Known::XForwardedFor,
        17 if name.eq_ignore_ascii_case(b"x-forwarded-proto") => Known::XForwardedProto,
        16 if name.eq_ignore_ascii_case(b"x-forwarded-host") => Known::XForwardedHost,
        16 if name.eq_ignore_ascii_case(b"x-forwarded-port") => Known::XForwardedPort,
        _ => Known::XForwardedOther,
    }
}

fn starts_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|front| front.eq_ignore_ascii_case(prefix))
}
