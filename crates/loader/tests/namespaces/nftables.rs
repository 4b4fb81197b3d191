//! Chains of nftables, made without its tool (include/uapi/linux/netfilter/nf_tables.h).

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Policy of a chain: `NF_DROP`.
pub(crate) const DROP: u32 = 0;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const REQUEST: u16 = 1;
const REQUEST_ACK: u16 = 1 | 4;
const REQUEST_ACK_CREATE: u16 = 1 | 4 | 0x400;
const INET: u8 = 1;
const FORWARD: u32 = 2;

/// Adds a chain, and its table if there is none. With a policy forwarded packets enter by it.
pub(crate) fn add(table: &str, chain: &str, policy: Option<u32>) {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let mut body = [attribute(1, &text(table)), attribute(3, &text(chain))].concat();
    if let Some(policy) = policy {
        let hook = [attribute(1, &FORWARD.to_be_bytes()), attribute(2, &0_u32.to_be_bytes())].concat();
        body.extend(attribute(4 | 0x8000, &hook));
        body.extend(attribute(5, &policy.to_be_bytes()));
        body.extend(attribute(7, &text("filter")));
    }
    ask(&[
        message(NEW_TABLE, REQUEST_ACK_CREATE, INET, 0, &attribute(1, &text(table))),
        message(NEW_CHAIN, REQUEST_ACK_CREATE, INET, 0, &body),
    ]);
}

/// Removes a table with its chains.
pub(crate) fn remove(table: &str) {
    let name = attribute(1, &[table.as_bytes(), &[0]].concat());
    ask(&[message(DELETE_TABLE, REQUEST_ACK, INET, 0, &name)]);
}

/// Has the kernel do all of it or nothing.
fn ask(messages: &[Vec<u8>]) {
    let begin = message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, &[]);
    let end = message(BATCH_END, REQUEST, 0, SUBSYSTEM, &[]);
    let batch = [begin, messages.concat(), end].concat();
    let netlink = SockProtocol::NetlinkNetFilter;
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, Some(netlink)).unwrap();
    send(socket.as_raw_fd(), &batch, MsgFlags::empty()).unwrap();
    // An answer for each: no errors.
    let mut answer = [0; 4096];
    for _ in messages {
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        let code = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
        assert!(length >= 20 && code == 0, "nftables: {}", std::io::Error::from_raw_os_error(-code));
    }
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + body.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(body);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}
