//! The packets of a connection up to its first request, and what the programs make of each.

use std::net::{Ipv6Addr, SocketAddr};

use wire::{BackendRecord, CachedClient, CachedEndpoint, EndpointRecord, Flow, Reason, TcpFlags};

use super::{
    DryRun, DryRunPlan,
    packet::{Options, Packet, octets},
};
use crate::DryRunError;

/// RFC 9293 section 3.1; not among the bits that the programs look at.
const PSH: u8 = 0x08;

/// What a client on an Ethernet announces: its largest segment over IPv4 and IPv6, its window and the shift of it.
const MSS: (u16, u16) = (1460, 1440);
const WINDOW: u16 = 64_240;
const SCALE: u8 = 7;

/// Where the client and the endpoint begin to count.
const CLIENT_ISN: u32 = 1_000_000;
const ENDPOINT_ISN: u32 = 2_000_000;
const CLIENT_CLOCK: u32 = 10_000;
const ENDPOINT_CLOCK: u32 = 20_000;

/// How old the memory of a client may be to be of this run, in seconds.
const JUST_NOW: u32 = 2;

/// A connection and its first request.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client's address and port.
    pub client: SocketAddr,
    /// What it dials.
    pub vip: SocketAddr,
    /// Index of the device that its packets come by.
    pub device: u32,
    /// The request as it is sent.
    pub request: Vec<u8>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Packet by packet; the last one is where the programs decided.
    pub steps: Vec<Step>,
    /// The connection, where the programs made one.
    pub flow: Option<Flow>,
    /// What they remember of the client, on a route whose clients keep their endpoint.
    pub remembered: Option<Remembered>,
}

/// Why a client on a route that keeps clients has its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// It had it before.
    Kept(SocketAddr),
    /// It is given it now.
    New(SocketAddr),
}

/// A packet and what the programs did with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which of them.
    pub stage: Stage,
    /// What came.
    pub arrived: Packet,
    /// What became of it.
    pub verdict: Verdict,
    /// What leaves in its place, if it is sent on.
    pub left: Option<Packet>,
    /// Why, as counted.
    pub reasons: Vec<Reason>,
}

/// Packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The client's SYN.
    Syn,
    /// The client's acknowledgement of the SYN-ACK.
    Ack,
    /// The request, or as much of it as fits into one segment.
    Request,
    /// The SYN-ACK of the endpoint, which is made up.
    Endpoint,
}

/// What the programs tell the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The host's stack gets it, if no other program takes it.
    Passed,
    /// It ends here.
    Dropped,
    /// It leaves, changed.
    Sent,
}

impl Verdict {
    /// Of what a program returns (`TCX_NEXT`, `TCX_DROP`, `TCX_REDIRECT`, include/uapi/linux/bpf.h).
    pub(super) const fn of(code: u32) -> Option<Self> {
        match code {
            u32::MAX => Some(Self::Passed),
            2 => Some(Self::Dropped),
            7 => Some(Self::Sent),
            _ => None,
        }
    }
}

impl DryRun {
    /// Plays the client, and then the endpoint, up to the request that the endpoint gets. Once for each [`DryRun`].
    ///
    /// # Errors
    ///
    /// [`DryRunError::Families`]; what the kernel answers to running the programs and to reading maps.
    pub fn ask(mut self, plan: &DryRunPlan, question: &Question) -> Result<Answer, DryRunError> {
        self.remember(plan, &octets(question.client.ip()))?;
        let mut steps = Vec::new();
        self.play(question, &mut steps)?;
        let key = syn(question).tuple();
        let flow = self.flow(&key)?;
        let remembered = match &flow {
            Some(flow) => self.remembered(plan, flow)?,
            None => None,
        };
        Ok(Answer { steps, flow, remembered })
    }

    /// As far as the programs go along.
    fn play(&mut self, question: &Question, steps: &mut Vec<Step>) -> Result<(), DryRunError> {
        let syn = syn(question);
        let Some(answer) = self.step(Stage::Syn, question.device, syn.clone(), steps)? else { return Ok(()) };
        let ack = ack(&syn, &answer);
        let is_known = |steps: &[Step]| steps.last().is_some_and(|step| step.verdict == Verdict::Dropped);
        self.step(Stage::Ack, question.device, ack.clone(), steps)?;
        if !is_known(steps) {
            return Ok(());
        }
        let request =
            Packet { flags: ack.flags | PSH, payload: first_segment(question, &ack, &answer), ..ack };
        let Some(open) = self.step(Stage::Request, question.device, request, steps)? else { return Ok(()) };
        // Only an endpoint is sent a SYN.
        if open.flags & TcpFlags::SYN == 0 {
            return Ok(());
        }
        let Some(flow) = self.flow(&syn.tuple())? else { return Ok(()) };
        let endpoint = self.endpoints.get::<u32, EndpointRecord>(&flow.endpoint, 0)?;
        let device = endpoint.map_or(question.device, |endpoint| endpoint.device);
        self.step(Stage::Endpoint, device, syn_ack(&open), steps)?;
        Ok(())
    }

    /// Runs the programs on a packet; what leaves in its place.
    fn step(
        &mut self,
        stage: Stage,
        device: u32,
        arrived: Packet,
        steps: &mut Vec<Step>,
    ) -> Result<Option<Packet>, DryRunError> {
        let frame = arrived.frame().ok_or(DryRunError::Families)?;
        let (verdict, left, reasons) = self.run(device, frame)?;
        let left = if verdict == Verdict::Sent { Packet::read(&left) } else { None };
        steps.push(Step { stage, arrived, verdict, left: left.clone(), reasons });
        Ok(left)
    }

    /// What is remembered of the client of `flow` now, and whether it was before.
    fn remembered(&self, plan: &DryRunPlan, flow: &Flow) -> Result<Option<Remembered>, DryRunError> {
        let Some(backend) = self.backends.get::<u32, BackendRecord>(&flow.backend, 0)? else {
            return Ok(None);
        };
        let key = CachedClient { client: flow.client.source, subject: backend.subject };
        let Some(now) = self.clients.get::<_, CachedEndpoint>(&key, 0)? else { return Ok(None) };
        let seconds = u32::try_from(crate::now() / 1_000_000_000).unwrap_or(u32::MAX);
        let is_used = seconds.saturating_sub(now.used_s) <= JUST_NOW;
        let is_its = (now.address, now.port) == (flow.leg.source, flow.leg.source_port);
        if !is_used || !is_its {
            return Ok(None);
        }
        let before = super::running(plan, &[self.clients.shape().clone()], super::FLOW_CACHE)?
            .get::<_, CachedEndpoint>(&key, 0)?;
        let endpoint =
            SocketAddr::new(Ipv6Addr::from(now.address).to_canonical(), u16::from_be_bytes(now.port));
        let is_kept = before.is_some_and(|before| (before.address, before.port) == (now.address, now.port));
        Ok(Some(if is_kept { Remembered::Kept(endpoint) } else { Remembered::New(endpoint) }))
    }
}

fn syn(question: &Question) -> Packet {
    let mss = if question.vip.is_ipv4() { MSS.0 } else { MSS.1 };
    Packet {
        source: question.client,
        destination: question.vip,
        flags: TcpFlags::SYN,
        sequence: CLIENT_ISN,
        acknowledgement: 0,
        window: WINDOW,
        options: Options {
            mss: Some(mss),
            window_scale: Some(SCALE),
            sack: true,
            timestamps: Some((CLIENT_CLOCK, 0)),
        },
        payload: Vec::new(),
    }
}

/// The end of the handshake that `answer` went on with.
fn ack(syn: &Packet, answer: &Packet) -> Packet {
    let timestamps = answer.options.timestamps.map(|(value, _)| (CLIENT_CLOCK + 1, value));
    Packet {
        flags: TcpFlags::ACK,
        sequence: syn.sequence.wrapping_add(1),
        acknowledgement: answer.sequence.wrapping_add(1),
        window: WINDOW >> SCALE,
        options: Options { timestamps, ..Options::default() },
        ..syn.clone()
    }
}

/// As much of the request as a client sends in its first segment: what both sides take, less the options of each segment.
fn first_segment(question: &Question, ack: &Packet, answer: &Packet) -> Vec<u8> {
    let ours = if question.vip.is_ipv4() { MSS.0 } else { MSS.1 };
    let promised = answer.options.mss.unwrap_or(536).min(ours);
    let options = if ack.options.timestamps.is_some() { 12 } else { 0 };
    let most = usize::from(promised.saturating_sub(options));
    question.request.get(..most).unwrap_or(&question.request).to_vec()
}

/// What an endpoint would answer that takes whatever it is offered.
fn syn_ack(open: &Packet) -> Packet {
    let echo = open.options.timestamps.map(|(value, _)| (ENDPOINT_CLOCK, value));
    Packet {
        source: open.destination,
        destination: open.source,
        flags: TcpFlags::SYN | TcpFlags::ACK,
        sequence: ENDPOINT_ISN,
        acknowledgement: open.sequence.wrapping_add(1),
        window: WINDOW,
        options: Options {
            mss: Some(if open.source.is_ipv4() { MSS.0 } else { MSS.1 }),
            window_scale: open.options.window_scale.map(|_| SCALE),
            sack: open.options.sack,
            timestamps: echo,
        },
        payload: Vec::new(),
    }
}
