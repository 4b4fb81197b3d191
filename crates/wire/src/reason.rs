//! What became of a packet or a request, and why: one enum from kernel counter to metric label to `rauta drops`.

/// A countable event in the kernel tier.
///
/// The discriminants are indices of map `REASONS`: append, never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A SYN was answered with a cookie.
    SynCookie = 0,
    /// The end of a handshake: nothing to do yet.
    BareAck = 1,
    /// A keep-alive probe was answered.
    Probe = 2,
    /// A request opened the first leg of its connection.
    Bound = 3,
    /// A request went on over the leg that was there.
    Reused = 4,
    /// A request left its leg for another endpoint.
    Rebound = 5,
    /// A SYN was sent again.
    Reopened = 6,
    /// Another endpoint was tried for a request that none had acknowledged.
    Replaced = 7,
    /// An endpoint closed an idle leg; its client stays.
    LegEnded = 8,
    /// A connection ended in both directions.
    Closed = 9,
    /// A connection was reset.
    Reset = 10,
    /// A connection on the same ports took the place of an old one.
    Superseded = 11,
    /// A response began; only in events.
    Answered = 12,
    /// An ICMP error was passed on to the end that it is for.
    TooBig = 13,
    /// A RST or SYN that may be somebody else's was answered with an acknowledgement.
    Challenged = 14,
    /// A response ended that began in an earlier segment; only in events.
    Ended = 15,
    /// An event was not told, since the ring buffer had no room.
    Untold = 16,
    /// A request went over a leg of the pool.
    Pooled = 17,
    /// A leg went to the pool.
    LegPooled = 18,
    /// A leg did not go to the pool: it is full.
    PoolFull = 19,
    /// An endpoint ended a leg of the pool.
    PoolEnded = 20,
    /// A failure was not told, since its CPU had told of enough of them.
    UntoldFailure = 21,

    /// Handed off: the request is not decidable here.
    HandUndecidable = 32,
    /// Handed off: it does not fit one segment.
    HandTooLong = 33,
    /// Handed off: forwarding headers from a client that is not trusted.
    HandForwarding = 34,
    /// Handed off: the route is Tier 3's, or there is none.
    HandRoute = 35,
    /// Handed off: no endpoint that the kernel may use.
    HandNoEndpoint = 36,
    /// Handed off: no way to the endpoint is known yet.
    HandNoWay = 37,
    /// Handed off: no room for the flow.
    HandNoRoom = 38,
    /// Handed off: a FIN, or odd control bits, with the first segment.
    HandFlags = 39,
    /// Handed off: IP options or extension headers with the first request.
    HandShape = 40,
    /// Handed off: the request is copied to other backends.
    HandCopied = 41,
    /// Handed off: no port of the SNAT pool, or no room for the leg.
    HandNoPort = 42,

    /// Held: responses of the leg are under way; the client sends the request again.
    HoldBusy = 64,

    /// Dropped: the checksum of a request, FIN, RST or endpoint's segment does not fit its bytes.
    DropChecksum = 96,
    /// Dropped: options that contradict their lengths.
    DropOptions = 97,
    /// Dropped: data ahead of what is decided.
    DropEarly = 98,
    /// Dropped: outside the window, or repeated without need.
    DropUseless = 99,
    /// Dropped: behind a gap that may hide the end of a response.
    DropGap = 100,
    /// Dropped: data of an endpoint that no request asked for; the leg was reset.
    DropSurplus = 101,
    /// Dropped: the record changed under it.
    DropRace = 102,
    /// Dropped: the packet could not be changed.
    DropMangle = 103,
    /// Dropped: no socket took the connection (the agent restarts).
    DropHandOff = 104,
    /// Dropped: a leg that nobody owns; its endpoint was reset.
    DropOrphan = 105,
    /// Dropped: the endpoint's SYN-ACK lacked an option that the client was promised.
    DropLacksOptions = 106,
    /// Dropped: control bits that no stack sends together.
    DropFlags = 107,
    /// Dropped: a late copy of the first request of a connection that is over.
    DropRepeated = 108,
    /// Dropped: a fragment, IP options or extension headers on a connection of the kernel tier.
    DropShape = 109,
    /// Dropped: an ICMP error about a connection of ours that cannot be true.
    DropTooBig = 112,
    /// Dropped: a segment of a leg by a device that the leg's segments do not come by.
    DropDevice = 113,

    /// Passed to the stack: it owns the connection.
    PassOwned = 128,
    /// Passed to the stack: no cookie of ours.
    PassForeign = 129,
    /// Passed to the stack: the kernel tier is passive.
    PassPassive = 130,
    /// Passed to the stack: IP options, VLAN tags or another shape that it does better.
    PassShape = 131,
    /// Left to TC by XDP: no room for a note in front of the frame.
    PassNoRoom = 132,
}

impl Reason {
    /// Entries of map `REASONS`.
    pub const SLOTS: usize = 256;

    /// Every reason.
    pub const ALL: [Self; 55] = [
        Self::SynCookie,
        Self::BareAck,
        Self::Probe,
        Self::Bound,
        Self::Reused,
        Self::Rebound,
        Self::Reopened,
        Self::Replaced,
        Self::LegEnded,
        Self::Closed,
        Self::Reset,
        Self::Superseded,
        Self::Answered,
        Self::TooBig,
        Self::Challenged,
        Self::Ended,
        Self::Untold,
        Self::Pooled,
        Self::LegPooled,
        Self::PoolFull,
        Self::PoolEnded,
        Self::UntoldFailure,
        Self::HandUndecidable,
        Self::HandTooLong,
        Self::HandForwarding,
        Self::HandRoute,
        Self::HandNoEndpoint,
        Self::HandNoWay,
        Self::HandNoRoom,
        Self::HandFlags,
        Self::HandShape,
        Self::HandCopied,
        Self::HandNoPort,
        Self::HoldBusy,
        Self::DropChecksum,
        Self::DropOptions,
        Self::DropEarly,
        Self::DropUseless,
        Self::DropGap,
        Self::DropSurplus,
        Self::DropRace,
        Self::DropMangle,
        Self::DropHandOff,
        Self::DropOrphan,
        Self::DropLacksOptions,
        Self::DropFlags,
        Self::DropRepeated,
        Self::DropShape,
        Self::DropTooBig,
        Self::DropDevice,
        Self::PassOwned,
        Self::PassForeign,
        Self::PassPassive,
        Self::PassShape,
        Self::PassNoRoom,
    ];

    /// The label in metrics, logs and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SynCookie => "syn_cookie",
            Self::BareAck => "bare_ack",
            Self::Probe => "keep_alive_probe",
            Self::Bound => "bound",
            Self::Reused => "reused",
            Self::Rebound => "rebound",
            Self::Reopened => "reopened",
            Self::Replaced => "endpoint_replaced",
            Self::LegEnded => "leg_ended",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Superseded => "superseded",
            Self::Answered => "answered",
            Self::TooBig => "too_big_passed_on",
            Self::Challenged => "challenged",
            Self::Ended => "ended",
            Self::Untold => "untold",
            Self::Pooled => "pooled",
            Self::LegPooled => "leg_pooled",
            Self::PoolFull => "pool_full",
            Self::PoolEnded => "pool_ended",
            Self::UntoldFailure => "untold_failure",
            Self::HandUndecidable => "hand_off_undecidable",
            Self::HandTooLong => "hand_off_too_long",
            Self::HandForwarding => "hand_off_forwarding_headers",
            Self::HandRoute => "hand_off_route",
            Self::HandNoEndpoint => "hand_off_no_endpoint",
            Self::HandNoWay => "hand_off_no_way",
            Self::HandNoRoom => "hand_off_no_room",
            Self::HandFlags => "hand_off_flags",
            Self::HandShape => "hand_off_shape",
            Self::HandCopied => "hand_off_copied",
            Self::HandNoPort => "hand_off_no_port",
            Self::HoldBusy => "hold_busy",
            Self::DropChecksum => "drop_checksum",
            Self::DropOptions => "drop_options",
            Self::DropEarly => "drop_early",
            Self::DropUseless => "drop_useless",
            Self::DropGap => "drop_gap",
            Self::DropSurplus => "drop_surplus",
            Self::DropRace => "drop_race",
            Self::DropMangle => "drop_mangle",
            Self::DropHandOff => "drop_hand_off",
            Self::DropOrphan => "drop_orphan",
            Self::DropLacksOptions => "drop_lacks_options",
            Self::DropFlags => "drop_flags",
            Self::DropRepeated => "drop_repeated",
            Self::DropShape => "drop_shape",
            Self::DropTooBig => "drop_too_big",
            Self::DropDevice => "drop_device",
            Self::PassOwned => "pass_owned",
            Self::PassForeign => "pass_foreign",
            Self::PassPassive => "pass_passive",
            Self::PassShape => "pass_shape",
            Self::PassNoRoom => "pass_no_room",
        }
    }

    /// What it is: `event`, `hand_off`, `hold`, `drop` or `pass`.
    pub const fn kind(self) -> &'static str {
        match self as u8 {
            0..32 => "event",
            32..64 => "hand_off",
            64..96 => "hold",
            96..128 => "drop",
            _ => "pass",
        }
    }

    /// What it means for whoever runs the gateway, in a short sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::SynCookie => "a client began a connection and was answered with a cookie",
            Self::BareAck => "a handshake ended; the request is still to come",
            Self::Probe => "a keep-alive probe was answered",
            Self::Bound => "a request opened the first leg of its connection",
            Self::Reused => "a request went on over the leg that was there",
            Self::Rebound => "a request left its leg for another endpoint",
            Self::Reopened => "an endpoint did not answer: its SYN was sent again",
            Self::Replaced => "an endpoint did not answer: another got the request",
            Self::LegEnded => "an endpoint closed its leg; the client stays connected",
            Self::Closed => "a connection ended in both directions",
            Self::Reset => "a connection was reset",
            Self::Superseded => "a client used its port again: a new connection took the place of an old one",
            Self::Answered => "a response began",
            Self::TooBig => "an ICMP \"packet too big\" was passed on to the end that it is for",
            Self::Challenged => "a RST or SYN that may be forged was answered with an acknowledgement",
            Self::Ended => "a response ended",
            Self::Untold => "the buffer of events was full: `rauta trace` and the access log lack one",
            Self::Pooled => "a request went over a leg that was connected already",
            Self::LegPooled => "a client left: its leg waits for the next request",
            Self::PoolFull => "a client left: its leg ended with it, for enough others wait",
            Self::PoolEnded => "an endpoint closed a leg that waited for a request",
            Self::UntoldFailure => {
                "a flood of failures: of those outside the sample the access log lacks one"
            }
            Self::HandUndecidable => "the request has something in it that only userspace decides",
            Self::HandTooLong => "the request does not fit one segment",
            Self::HandForwarding => "forwarding headers from a client that is no trusted proxy",
            Self::HandRoute => "the route is userspace's, or there is none",
            Self::HandNoEndpoint => "the backend has no endpoint that the kernel may use",
            Self::HandNoWay => "the way to the endpoint is not known yet",
            Self::HandNoRoom => "the table of connections is full",
            Self::HandFlags => "a FIN or odd control bits came with the first segment",
            Self::HandShape => "IP options or extension headers came with the first request",
            Self::HandCopied => "the request is among those of which a mirror gets a copy",
            Self::HandNoPort => "no port of the SNAT pool is free, or the table of legs is full",
            Self::HoldBusy => "responses are under way; the client sends the request again and then goes on",
            Self::DropChecksum => {
                "the checksum of a request, FIN, RST or endpoint's segment does not fit its bytes"
            }
            Self::DropOptions => "TCP options contradict their lengths",
            Self::DropEarly => "data came ahead of what is decided; the client sends it again",
            Self::DropUseless => "outside the window, or repeated without need",
            Self::DropGap => "behind a gap that may hide the end of a response; the endpoint sends it again",
            Self::DropSurplus => "an endpoint sent what no request asked for; its leg was reset",
            Self::DropRace => "the record changed meanwhile; the sender sends it again",
            Self::DropMangle => "the packet could not be changed or sent on",
            Self::DropHandOff => {
                "no socket took the connection; the client tries again (the agent restarts?)"
            }
            Self::DropOrphan => "a segment on a leg that nobody has any more; its endpoint was reset",
            Self::DropLacksOptions => "an endpoint lacks a TCP option that the client was promised",
            Self::DropFlags => "control bits that no stack sends together (SYN with FIN or RST)",
            Self::DropRepeated => "a late copy of the first request of a connection that is over",
            Self::DropShape => {
                "a fragment, IP options or extension headers on a connection of the kernel tier"
            }
            Self::DropTooBig => {
                "an ICMP \"packet too big\" about nothing under way, or with an MTU below all links"
            }
            Self::DropDevice => "an endpoint's segment by another device than its route's or its SYN-ACK's",
            Self::PassOwned => "the host's stack has the connection",
            Self::PassForeign => "no cookie of ours: not a connection of the kernel tier",
            Self::PassPassive => "the kernel tier takes nothing new: the agent is gone or stops",
            Self::PassShape => "IP options, fragments or another shape that the host's stack does better",
            Self::PassNoRoom => "XDP left a packet to TC: its driver has no room for a note in front of it",
        }
    }

    /// Whether the connection went to userspace.
    pub const fn is_hand_off(self) -> bool {
        self as u8 >= 32 && (self as u8) < 64
    }

    /// Whether the packet was dropped, for the peer to send it again or not.
    pub const fn is_drop(self) -> bool {
        self as u8 >= 64 && (self as u8) < 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_distinct_and_in_order() {
        assert!(Reason::ALL.windows(2).all(|pair| (pair[0] as u8) < pair[1] as u8));
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert_eq!(reason.is_hand_off(), name.starts_with("hand_off_"), "{name}");
            assert_eq!(reason.is_drop(), name.starts_with("drop_") || name.starts_with("hold_"), "{name}");
            let kind = reason.kind();
            assert_eq!(kind != "event", name.starts_with(kind), "{name}: {kind}");
            assert!((10..90).contains(&reason.meaning().len()), "{name}");
        }
    }
}
