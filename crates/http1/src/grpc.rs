/// Whether a message with these values of `Content-Type` is one of gRPC: `application/grpc`, alone or with `+proto` and the like or
/// with parameters.
///
/// Source: gRPC over HTTP2 (grpc/grpc doc/PROTOCOL-HTTP2.md), Content-Type. gRPC-Web is not gRPC: its status is in the body.
pub fn is_grpc<'v>(mut content_types: impl Iterator<Item = &'v [u8]>) -> bool {
    const MEDIA_TYPE: &[u8] = b"application/grpc";
    let (Some(value), None) = (content_types.next(), content_types.next()) else { return false };
    value.split_at_checked(MEDIA_TYPE.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(MEDIA_TYPE)
            && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_from_its_cousins() {
        let of = |values: &[&'static str]| is_grpc(values.iter().map(|value| value.as_bytes()));
        for yes in
            ["application/grpc", "application/grpc+proto", "Application/GRPC; a=b", "application/grpc ;a=b"]
        {
            assert!(of(&[yes]), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "text/plain", ""]
        {
            assert!(!of(&[no]), "{no}");
        }
        assert!(!of(&[]) && !of(&["application/grpc", "text/plain"]));
    }
}
