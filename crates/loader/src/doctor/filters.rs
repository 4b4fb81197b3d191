//! Filters where packets enter by an interface (tc(8), include/uapi/linux/pkt_cls.h).

use std::io;

use nix::sys::socket::SockProtocol;

use netlink::{Socket, attribute};

const RTM_GETTFILTER: u16 = 46;
/// Length of `struct tcmsg`: family, interface, handle, parent, info.
const TCMSG_LENGTH: usize = 20;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)`.
const CLSACT_INGRESS: u32 = 0xffff_fff2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;

/// Their names: of BPF programs as they were given, of other kinds the kind.
///
/// # Errors
///
/// The kernel's answer.
pub(crate) fn ingress(interface: u32) -> io::Result<Vec<String>> {
    let mut body = [0; TCMSG_LENGTH];
    body[4..8].copy_from_slice(&interface.to_ne_bytes());
    body[12..16].copy_from_slice(&CLSACT_INGRESS.to_ne_bytes());
    let entries = Socket::open(SockProtocol::NetlinkRoute)?.dump(RTM_GETTFILTER, &body)?;
    let mut names: Vec<String> =
        entries.iter().filter_map(|entry| name(entry.get(TCMSG_LENGTH..)?)).collect();
    names.dedup();
    Ok(names)
}

/// None for the entry that only stands for a priority.
fn name(attributes: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    let kind = text(attribute(attributes, TCA_KIND)?);
    let options = attribute(attributes, TCA_OPTIONS)?;
    Some(attribute(options, TCA_BPF_NAME).map_or(kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::push_attribute;

    #[test]
    fn filters_are_named_by_their_program_or_kind() {
        let mut options = Vec::new();
        push_attribute(&mut options, TCA_BPF_NAME, b"cil_from_netdev\0");
        let mut bpf = Vec::new();
        push_attribute(&mut bpf, TCA_KIND, b"bpf\0");
        assert_eq!(name(&bpf), None);
        push_attribute(&mut bpf, TCA_OPTIONS, &options);
        assert_eq!(name(&bpf).as_deref(), Some("cil_from_netdev"));
        let mut flower = Vec::new();
        push_attribute(&mut flower, TCA_KIND, b"flower\0");
        push_attribute(&mut flower, TCA_OPTIONS, &[]);
        assert_eq!(name(&flower).as_deref(), Some("flower"));
    }
}
