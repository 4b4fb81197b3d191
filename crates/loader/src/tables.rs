//! What the agent tells the running programs, and what it reads from them.

use nix::time::{ClockId, clock_gettime};
use wire::{EndpointHealth, Flow, ListenerCounters, Metrics, Reason, Responses, Settings, Tuple};

use crate::{Answered, Datapath, Entry, ListenerAddress, MapError, Prefix, Write};

/// Nanoseconds on the programs' clock (`bpf_ktime_get_ns`, which is CLOCK_MONOTONIC).
pub fn now() -> u64 {
    let time =
        clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    let (seconds, rest) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

impl Datapath {
    /// Makes the kernel count exactly these listeners; what stays keeps its counters.
    ///
    /// # Errors
    ///
    /// [`MapError::Full`] when there are more than [`wire::LISTENERS_MAX`]; as many as fit are counted.
    pub fn set_listeners(&mut self, listeners: &[ListenerAddress]) -> Result<(), MapError> {
        self.maps.set_listeners(listeners)
    }

    /// Makes changes of maps in their order. Each is visible to programs at once.
    ///
    /// # Errors
    ///
    /// The first that fails, with none behind it made: [`MapError::NoRoom`] for a full map, [`MapError::Unknown`] and
    /// [`MapError::Shape`] for what does not fit the object.
    pub fn apply<'w>(&mut self, writes: impl IntoIterator<Item = Write<'w>>) -> Result<(), MapError> {
        self.maps.apply(writes)
    }

    /// Every entry of `map` as bytes, keys ascending: what an earlier run left.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn dump(&self, map: &str) -> Result<Vec<Entry>, MapError> {
        self.maps.dump(map)
    }

    /// What the programs go by; what an earlier run set, until [`Datapath::set_settings`].
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sets what the programs go by, with a fresh sign of life. A cookie key that is all zero is replaced: by the one in use, so
    /// that handshakes under way stay valid over a restart, else by a random one. So is the owner of notes.
    ///
    /// # Errors
    ///
    /// The kernel's answer to writing the map.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), MapError> {
        let mut settings = *settings;
        if settings.cookie_key == [0; 2] {
            settings.cookie_key = match self.settings.cookie_key {
                [0, 0] => random_key(),
                used => used,
            };
        }
        if settings.note_owner == 0 {
            settings.note_owner = match self.settings.note_owner {
                0 => random_key()[0].max(1),
                used => used,
            };
        }
        self.settings = settings;
        self.heartbeat()
    }

    /// Tells the programs that the agent lives.
    ///
    /// # Errors
    ///
    /// The kernel's answer to writing the map.
    pub fn heartbeat(&mut self) -> Result<(), MapError> {
        self.settings.heartbeat = now();
        self.maps.set_settings(&self.settings)
    }

    /// Makes these the networks whose forwarding headers are believed.
    ///
    /// # Errors
    ///
    /// [`MapError::NoRoom`] when there are too many.
    pub fn trusted_proxies(&mut self, networks: &[Prefix]) -> Result<(), MapError> {
        self.maps.set_trusted_proxies(networks)
    }

    /// The six counters, summed over CPUs, since the maps were first pinned.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn metrics(&self) -> Result<Metrics, MapError> {
        self.maps.metrics()
    }

    /// Packets and connections per listener, summed over CPUs, ordered by address and port.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn listener_counters(&self) -> Result<Vec<(ListenerAddress, ListenerCounters)>, MapError> {
        self.maps.listener_counters()
    }

    /// How often programs gave each reason to drop, hold or hand off, by its number; empty in a build that only counts packets.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn reasons(&self) -> Result<Vec<u64>, MapError> {
        self.maps.reasons()
    }

    /// How often programs gave this reason.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn counted(&self, reason: Reason) -> Result<u64, MapError> {
        self.maps.counted(reason)
    }

    /// Responses that were given, summed over CPUs; none where they are not counted by themselves.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn responses(&self, of: Answered) -> Result<Option<Responses>, MapError> {
        self.maps.responses(of)
    }

    /// Every spliced connection. One that comes or goes meanwhile may or may not be among them.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn flows(&self) -> Result<Vec<Flow>, MapError> {
        let mut flows = Vec::new();
        self.each_flow(|flow| flows.push(*flow))?;
        Ok(flows)
    }

    /// Shows every spliced connection to `see`, without keeping them all.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn each_flow(&self, see: impl FnMut(&Flow)) -> Result<(), MapError> {
        self.maps.each_flow(see)
    }

    /// The connection of that client (client to VIP), if it is spliced.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn flow(&self, client: &Tuple) -> Result<Option<Flow>, MapError> {
        self.maps.flow(client)
    }

    /// Removes legs without a connection that were opened before `before` on the programs' clock: until then they are answered.
    /// How many.
    ///
    /// # Errors
    ///
    /// The kernel's answer to changing the map.
    pub fn forget_legs(&mut self, before: u64) -> Result<usize, MapError> {
        self.maps.forget_legs(before)
    }

    /// Removes a connection and its leg; returns the record as it was in the end. Tells neither side: see
    /// [`Datapath::collect`].
    ///
    /// # Errors
    ///
    /// The kernel's answer to changing the maps.
    pub fn remove_flow(&mut self, client: &Tuple) -> Result<Option<Flow>, MapError> {
        self.maps.remove_flow(client)
    }

    /// What the programs noticed about the endpoint of that index.
    ///
    /// # Errors
    ///
    /// The kernel's answer to reading the map.
    pub fn endpoint_health(&self, endpoint: u32) -> Result<Option<EndpointHealth>, MapError> {
        self.maps.endpoint_health(endpoint)
    }
}

/// From the kernel's generator, which is ready long before any agent starts.
fn random_key() -> [u64; 2] {
    let mut key = [0u64; 2];
    // SAFETY: as many bytes as the array has, which outlives the call.
    let filled = unsafe { libc::getrandom(key.as_mut_ptr().cast(), size_of_val(&key), 0) };
    debug_assert_eq!(usize::try_from(filled), Ok(size_of_val(&key)), "up to 256 bytes come at once");
    key
}
