//! Sockets of the host.

use core::{ffi::c_void, mem};

use aya_ebpf::{
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
};
use wire::Tuple;

/// States of a socket (`include/net/tcp_states.h`).
pub const TCP_TIME_WAIT: u32 = 6;
pub const TCP_LISTEN: u32 = 10;

/// A socket that we hold, if there is one.
pub struct Socket(pub *mut bpf_sock);

impl Socket {
    #[inline(always)]
    pub fn find(ctx: *mut c_void, tuple: &Tuple, is_v6: bool) -> Self {
        let netns = BPF_F_CURRENT_NETNS as i64 as u64;
        let ports = [u16::from_ne_bytes(tuple.source_port), u16::from_ne_bytes(tuple.destination_port)];
        // SAFETY: the helper reads as many bytes as it is told, all of them written before.
        unsafe {
            let mut key: bpf_sock_tuple = mem::zeroed();
            if is_v6 {
                let v6 = &mut key.__bindgen_anon_1.ipv6;
                v6.saddr = mem::transmute::<[u8; 16], [u32; 4]>(tuple.source);
                v6.daddr = mem::transmute::<[u8; 16], [u32; 4]>(tuple.destination);
                v6.sport = ports[0];
                v6.dport = ports[1];
                return Self(bpf_skc_lookup_tcp(ctx, &raw mut key, 36, netns, 0));
            }
            let v4 = &mut key.__bindgen_anon_1.ipv4;
            let [.., a, b, c, d] = tuple.source;
            v4.saddr = u32::from_ne_bytes([a, b, c, d]);
            let [.., a, b, c, d] = tuple.destination;
            v4.daddr = u32::from_ne_bytes([a, b, c, d]);
            v4.sport = ports[0];
            v4.dport = ports[1];
            Self(bpf_skc_lookup_tcp(ctx, &raw mut key, 12, netns, 0))
        }
    }

    #[inline(always)]
    pub fn state(&self) -> Option<u32> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: a socket that we hold.
        Some(unsafe { (*self.0).state })
    }
}

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: held since it was found, and used no more.
            unsafe { bpf_sk_release(self.0.cast()) };
        }
    }
}
