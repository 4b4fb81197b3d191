//! What runs over the connections: a client with a script, and servers.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::http::{Ask, Log, read_response, response};
use crate::random::Random;
use crate::tcp::{End, MS};

/// What a client does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends requests, cut into writes at these places.
    Send(Vec<Ask>, Vec<usize>),
    /// Until all is answered.
    Wait,
    /// Lets some ms go by.
    Pause(u64),
    /// A keep-alive probe.
    Probe,
    /// No more requests; waits for answers.
    Shut,
    Abort,
    /// Waits for the other side's end.
    End,
}

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) steps: VecDeque<Step>,
    asked: VecDeque<u32>,
    parsed: usize,
    pub(crate) wake: Option<u64>,
    pub(crate) is_done: bool,
    /// Numbers of requests and who answered.
    pub(crate) answers: Vec<(u32, String)>,
    /// The connection may end with requests unanswered.
    pub(crate) may_be_cut: bool,
    pub(crate) was_cut: bool,
}

impl Client {
    pub(crate) fn poll(&mut self, end: &mut End, log: &mut Log) {
        if self.is_done {
            return;
        }
        while let Some(&id) = self.asked.front() {
            let ask = log.asked[&id].ask.clone();
            let at_end = end.is_at_end();
            let Some((len, by)) = read_response(&end.received[self.parsed..], at_end, id, &ask) else {
                break;
            };
            self.parsed += len;
            self.asked.pop_front();
            self.answers.push((id, by));
        }
        if self.asked.is_empty() && !self.was_cut {
            assert_eq!(end.received.len(), self.parsed, "{}: bytes that nobody asked for", end.describe());
        }
        let is_cut = end.death.is_some() || end.is_at_end();
        if is_cut && (!self.asked.is_empty() || self.steps.iter().any(|step| matches!(step, Step::Send(..))))
        {
            assert!(
                self.may_be_cut,
                "cut off with {:?} unanswered, {:?} left, {} answered: {}",
                self.asked,
                self.steps.len(),
                self.answers.len(),
                end.describe()
            );
            self.was_cut = true;
            self.asked.clear();
        }
        if is_cut && self.asked.is_empty() && (self.was_cut || end.death.is_some()) {
            self.steps.clear();
        }
        while self.step(end, log) {}
        if self.steps.is_empty() && self.asked.is_empty() {
            if end.death.is_none() {
                end.shut();
            }
            self.is_done = end.is_over();
        }
    }

    fn step(&mut self, end: &mut End, log: &mut Log) -> bool {
        if self.wake.is_some_and(|wake| end.now < wake) || !end.is_open() {
            return false;
        }
        self.wake = None;
        match self.steps.front() {
            Some(Step::Wait) if !self.asked.is_empty() => return false,
            Some(Step::End) if !end.is_at_end() => return false,
            _ => {}
        }
        let Some(step) = self.steps.pop_front() else { return false };
        match step {
            Step::Send(asks, mut cuts) => {
                let ids: Vec<u32> = asks.iter().map(|ask| log.ask(ask, end.local)).collect();
                let bytes: Vec<u8> = ids.iter().flat_map(|id| log.asked[id].bytes.clone()).collect();
                self.asked.extend(&ids);
                cuts.retain(|cut| *cut < bytes.len());
                cuts.extend([0, bytes.len()]);
                cuts.sort_unstable();
                cuts.dedup();
                cuts.windows(2).for_each(|pair| end.write(&bytes[pair[0]..pair[1]]));
            }
            Step::Pause(ms) => self.wake = Some(end.now + ms * MS),
            Step::Probe => end.probe(),
            Step::Shut => end.shut(),
            Step::Abort => {
                end.abort();
                self.asked.clear();
                self.steps.clear();
                self.is_done = true;
            }
            Step::Wait | Step::End => {}
        }
        true
    }
}

/// How a server behaves on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Closes after so many idle ms.
    pub(crate) idle_close: Option<u64>,
    /// And says so before (408).
    pub(crate) says_so: bool,
    /// Sends bytes that nobody asked for after so many idle ms, once.
    pub(crate) unsolicited: Option<u64>,
    /// Resets instead of closing.
    pub(crate) resets: bool,
    /// Closes at once, whatever still comes.
    pub(crate) is_rude: bool,
}

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) manners: Manners,
    /// For who the client is.
    waits: bool,
    /// Who it was told the client is.
    told: Option<SocketAddr>,
    parsed: usize,
    outbox: VecDeque<(u64, Vec<u8>)>,
    last: u64,
    ends: bool,
    idle_since: u64,
    has_spoken: bool,
    pub(crate) wake: Option<u64>,
}

impl Server {
    pub(crate) fn new(name: &'static str, manners: Manners, waits: bool, now: u64) -> Self {
        Self {
            name,
            manners,
            waits,
            told: None,
            parsed: 0,
            outbox: VecDeque::new(),
            last: now,
            ends: false,
            idle_since: now,
            has_spoken: false,
            wake: None,
        }
    }

    /// Ends, or speaks, at the next idle moment.
    pub(crate) fn leave_as(&mut self, manners: Manners) {
        self.idle_since = 0;
        self.manners = manners;
        if manners.unsolicited.is_none() {
            self.manners.idle_close = Some(0);
        }
    }

    pub(crate) fn poll(&mut self, end: &mut End, log: &mut Log, random: &Random) {
        if end.death.is_some() || end.is_orphan {
            self.wake = None;
            return;
        }
        if self.waits
            && let Some((len, client)) = Log::told(&end.received)
        {
            self.parsed = len;
            self.told = Some(client);
            self.waits = false;
        }
        while !self.waits && !self.ends {
            let Some((id, len, is_last)) = log.take(&end.received[self.parsed..], self.name) else { break };
            self.parsed += len;
            assert!(self.told.is_none_or(|told| told == log.asked[&id].client), "{id} is another client's");
            let ask = log.asked[&id].ask.clone();
            // Some say that they stay, as nginx does, and some do not, as Go.
            let says = match (is_last, self.name) {
                (true, _) => "Connection: close\r\n",
                (false, "e1" | "e3") => "Connection: keep-alive\r\n",
                _ => "",
            };
            let (pieces, ends) = response(id, &ask, self.name, says, random);
            self.ends = ends || is_last;
            for (n, piece) in pieces.into_iter().enumerate() {
                let pause = if n > 0 { ask.delay.max(5) } else { ask.delay };
                self.last = self.last.max(end.now) + pause * MS;
                self.outbox.push_back((self.last, piece));
            }
        }
        while self.outbox.front().is_some_and(|(at, _)| *at <= end.now) {
            let (_, piece) = self.outbox.pop_front().unwrap();
            end.write(&piece);
            self.idle_since = end.now;
        }
        self.wake = self.outbox.front().map(|(at, _)| *at);
        if !self.outbox.is_empty() {
            return;
        }
        if self.ends && self.manners.is_rude {
            return end.close();
        }
        if self.ends || end.is_at_end() {
            return end.shut();
        }
        self.idle(end);
    }

    fn idle(&mut self, end: &mut End) {
        // A request that has begun is waited for.
        if end.received.len() > self.parsed || !end.is_open() {
            return;
        }
        let due = |after: Option<u64>| after.map(|ms| self.idle_since + ms * MS);
        if let Some(at) = due(self.manners.unsolicited)
            && !self.has_spoken
        {
            if at <= end.now {
                self.has_spoken = true;
                end.write(b"HTTP/1.1 200 OK\r\nX-Id: 0\r\nX-By: nobody\r\nContent-Length: 3\r\n\r\nabc");
            } else {
                self.wake = Some(at);
            }
        }
        let Some(at) = due(self.manners.idle_close) else { return };
        if at > end.now {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
            return;
        }
        // With bytes on the way a lost reset would leave a silence that no stack can tell from thought.
        if self.manners.resets && !end.is_acked() {
            return;
        }
        if self.manners.resets {
            return end.abort();
        }
        if self.manners.says_so {
            end.write(
                b"HTTP/1.1 408 Request Timeout\r\nX-Id: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        end.close();
    }
}
