//! A connection that never was, in words.

use std::net::SocketAddr;

use api::v1::FlowStep;
use loader::dry_run::{Answer, Packet, PacketOptions, Remembered, Stage, Step, Verdict};
use wire::{Reason, TcpFlags};

use super::text::number;

/// What became of the connection, in one line; `route` and `endpoint` are the names of the flow's.
pub(crate) fn outcome(answer: &Answer, vip: SocketAddr, route: &str, endpoint: &str) -> String {
    let Some(last) = answer.steps.last() else { return "nothing was asked".to_owned() };
    let mut reasons = answer.steps.iter().flat_map(|step| &step.reasons);
    if let Some(reason) = reasons.find(|reason| reason.is_hand_off()) {
        return format!("the kernel tier hands it off to userspace (Tier 3): {}", reason.meaning());
    }
    let why = last.reasons.first().map_or("without a reason", |reason| reason.meaning());
    match (last.stage, last.verdict) {
        (Stage::Endpoint, Verdict::Sent) => {
            let route = if route.is_empty() { "a route that is gone" } else { route };
            format!("the kernel tier decides it: {route}, endpoint {endpoint}")
        }
        (_, Verdict::Passed) if last.reasons.is_empty() => {
            format!("it is not the kernel tier's, which does not route for {vip}: the host's stack gets it")
        }
        (_, Verdict::Passed) => format!("the host's stack gets it: {why}"),
        (_, Verdict::Dropped) => format!("the kernel tier drops {}: {why}", name(last.stage)),
        (_, Verdict::Sent) => format!("the kernel tier answers {} itself: {why}", name(last.stage)),
    }
}

/// What else there is to say of it; `length` is that of the request.
pub(crate) fn facts(answer: &Answer, device: &str, length: usize) -> Vec<String> {
    let mut facts = vec![format!("way: the client's packets are taken to come by {device}, its route")];
    let opened = answer.steps.iter().find(|step| step.stage == Stage::Request);
    if let Some(first) = opened.map(|step| step.arrived.payload.len()).filter(|first| *first < length) {
        facts.push(format!(
            "the request: {length} bytes, of which the first segment has {first}; the kernel decides what comes in one"
        ));
    }
    if let Some(open) =
        opened.and_then(|step| step.left.as_ref()).filter(|left| left.flags & TcpFlags::SYN != 0)
    {
        facts.push(format!(
            "leg: from {} to {}; the port is any free one of the pool (dataplane.snat.ports)",
            open.source, open.destination
        ));
        facts.push("the endpoint: its SYN-ACK is made up; nothing was sent to it, or to anybody".to_owned());
    }
    match answer.remembered {
        Some(Remembered::Kept(endpoint)) => {
            facts.push(format!("memory: the client has {endpoint} from before, and keeps it"));
        }
        Some(Remembered::New(endpoint)) => {
            facts.push(format!("memory: clients of this route keep their endpoint; this one is new, and would keep {endpoint}"));
        }
        None if answer.flow.is_some() => {
            facts.push("memory: none; another connection may get another endpoint".to_owned());
        }
        None => {}
    }
    facts
}

/// A step as it is told.
pub(crate) fn step(step: &Step) -> FlowStep {
    FlowStep {
        packet: name(step.stage).to_owned(),
        arrived: packet(&step.arrived),
        verdict: match step.verdict {
            Verdict::Passed => "goes on to the host's stack",
            Verdict::Dropped => "ends here",
            Verdict::Sent => "sent on",
        }
        .to_owned(),
        left: step.left.as_ref().map(packet).unwrap_or_default(),
        payload: step.left.as_ref().map(|left| left.payload.clone()).unwrap_or_default(),
        reasons: step.reasons.iter().map(|reason| reason.as_str().to_owned()).collect(),
    }
}

/// Steps for people: each packet as it came and as it left, and why.
pub(crate) fn text(steps: &[FlowStep]) -> String {
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!(
            "\n{}. {}: {}\n   in   {}\n",
            number + 1,
            step.packet,
            step.verdict,
            step.arrived
        ));
        if !step.left.is_empty() {
            text.push_str(&format!("   out  {}\n", step.left));
        }
        for line in String::from_utf8_lossy(&step.payload).lines().filter(|line| !line.is_empty()) {
            text.push_str(&format!("        {}\n", line.escape_debug()));
        }
        for label in &step.reasons {
            let meaning = Reason::ALL.into_iter().find(|reason| reason.as_str() == label);
            text.push_str(&format!("   why  {label}: {}\n", meaning.map_or("", Reason::meaning)));
        }
    }
    text
}

const fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Syn => "the client's SYN",
        Stage::Ack => "the client's ACK",
        Stage::Request => "the request",
        Stage::Endpoint => "the endpoint's SYN-ACK",
    }
}

fn packet(packet: &Packet) -> String {
    let bits =
        [(TcpFlags::SYN, "SYN"), (TcpFlags::FIN, "FIN"), (TcpFlags::RST, "RST"), (TcpFlags::ACK, "ACK")];
    let flags: Vec<&str> =
        bits.into_iter().filter(|(bit, _)| packet.flags & bit != 0).map(|(_, name)| name).collect();
    let mut text = format!(
        "{} > {} {} seq {} ack {} win {}",
        packet.source,
        packet.destination,
        flags.join(","),
        packet.sequence,
        packet.acknowledgement,
        packet.window
    );
    text.push_str(&options(&packet.options));
    if !packet.payload.is_empty() {
        text.push_str(&format!(
            ", {}",
            number(u32::try_from(packet.payload.len()).unwrap_or(u32::MAX), "byte")
        ));
    }
    text
}

fn options(options: &PacketOptions) -> String {
    let mut text = String::new();
    if let Some(mss) = options.mss {
        text.push_str(&format!(" mss {mss}"));
    }
    if let Some(shift) = options.window_scale {
        text.push_str(&format!(" scale {shift}"));
    }
    if options.sack {
        text.push_str(" sack");
    }
    if let Some((value, echo)) = options.timestamps {
        text.push_str(&format!(" ts {value}/{echo}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: &str = "192.0.2.1:80";

    fn one(stage: Stage, verdict: Verdict, reasons: &[Reason]) -> Step {
        let arrived = Packet {
            source: "192.0.2.9:50000".parse().unwrap(),
            destination: VIP.parse().unwrap(),
            flags: TcpFlags::SYN,
            sequence: 1,
            acknowledgement: 0,
            window: 3,
            options: PacketOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack: true,
                timestamps: Some((4, 0)),
            },
            payload: Vec::new(),
        };
        let left = (verdict == Verdict::Sent)
            .then(|| Packet { payload: b"GET / HTTP/1.1\r\n\r\n".into(), ..arrived.clone() });
        Step { stage, arrived, verdict, left, reasons: reasons.to_vec() }
    }

    fn said(steps: Vec<Step>) -> String {
        let answer = Answer { steps, flow: None, remembered: None };
        outcome(&answer, VIP.parse().unwrap(), "HTTPRoute shop/web rule 0", "10.0.0.1:8080")
    }

    #[test]
    fn each_end_of_a_connection_is_told() {
        for (steps, part) in [
            (vec![one(Stage::Syn, Verdict::Passed, &[])], "does not route for 192.0.2.1:80"),
            (
                vec![one(Stage::Syn, Verdict::Passed, &[Reason::PassPassive])],
                "host's stack gets it: the kernel tier takes nothing new",
            ),
            (
                vec![one(Stage::Request, Verdict::Passed, &[Reason::HandRoute])],
                "hands it off to userspace (Tier 3): the route is userspace's",
            ),
            (
                vec![one(Stage::Request, Verdict::Dropped, &[Reason::DropHandOff])],
                "drops the request: no socket took",
            ),
            (
                vec![
                    one(Stage::Request, Verdict::Sent, &[Reason::Bound]),
                    one(Stage::Endpoint, Verdict::Sent, &[]),
                ],
                "decides it: HTTPRoute shop/web rule 0, endpoint 10.0.0.1:8080",
            ),
            (
                vec![one(Stage::Endpoint, Verdict::Dropped, &[Reason::DropLacksOptions])],
                "drops the endpoint's SYN-ACK: an endpoint lacks",
            ),
        ] {
            let text = said(steps);
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }

    #[test]
    fn a_step_shows_what_came_what_left_and_why() {
        let shown = text(&[step(&one(Stage::Syn, Verdict::Sent, &[Reason::SynCookie]))]);
        let packet = "192.0.2.9:50000 > 192.0.2.1:80 SYN seq 1 ack 0 win 3 mss 1460 scale 7 sack ts 4/0";
        let expected = format!(
            "\n1. the client's SYN: sent on\n   in   {packet}\n   out  {packet}, 18 bytes\n        GET / HTTP/1.1\n   why  syn_cookie: {}\n",
            Reason::SynCookie.meaning()
        );
        assert_eq!(shown, expected);
    }
}
