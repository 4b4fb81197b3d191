//! The injector's two programs and a neighbour's, instruction by instruction: some ninety, for which a compiler for another target would
//! cost every build of the tests a minute.

use std::os::fd::RawFd;

use super::Faults;

/// An instruction as the kernel reads it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// In `skb->mark`: leave this packet alone. The low bits hold the interface that it was about to leave by. The mark is
/// the kernel's to clear when the packet enters another namespace.
const LEAVE: i32 = 1 << 30;
/// In `skb->mark`: a copy that only keeps the token bucket empty.
const BALLAST: i32 = 1 << 29;

/// Fields of `struct __sk_buff`.
const MARK: i16 = 8;
const PROTOCOL: i16 = 16;
const INTERFACE: i16 = 40;

/// Helpers (enum bpf_func_id).
const GET_PRANDOM_U32: i32 = 7;
const CLONE_REDIRECT: i32 = 13;
const REDIRECT: i32 = 23;

/// Verdicts.
const NEXT: i32 = -1;
const SHOT: i32 = 2;

/// `ETH_P_IP` and `ETH_P_IPV6` as the field holds them, in network order.
const IPV4: i32 = u16::from_ne_bytes([0x08, 0x00]) as i32;
const IPV6: i32 = u16::from_ne_bytes([0x86, 0xdd]) as i32;

/// Where the protocol of the payload stands, behind Ethernet.
const IPV4_PROTOCOL: i32 = 14 + 9;
const IPV6_NEXT_HEADER: i32 = 14 + 6;
const TCP: i32 = 6;

/// Where the counter of each fault stands in the map's value.
const LOST: i32 = 0;
const DUPLICATED: i32 = 8;
const REORDERED: i32 = 16;

/// The context lives here throughout; `LD_ABS` wants it in this register, too.
const CONTEXT: u8 = 6;

/// Places to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Ipv6,
    Protocol,
    Duplicate,
    Reorder,
    Pass,
    Shot,
}

/// Strikes TCP packets that leave by a port of the switch; `delay` is the interface of the delaying wire, `counters` the
/// map of the three counters.
pub(super) fn injector(faults: Faults, delay: u32, counters: RawFd) -> Vec<Instruction> {
    let delay = delay.cast_signed();
    let mut code = Assembler::default();
    code.move_register(CONTEXT, 1);
    code.load_field(1, MARK);
    code.jump_if_set(1, LEAVE, Label::Pass);
    code.pass_unless_tcp();

    code.draw(faults.loss, Label::Duplicate);
    code.count(counters, LOST);
    code.jump(Label::Shot);

    code.label(Label::Duplicate);
    code.draw(faults.duplicate, Label::Reorder);
    code.count(counters, DUPLICATED);
    code.mark(LEAVE);
    code.move_register(1, CONTEXT);
    code.load_field(2, INTERFACE);
    code.set(3, 0);
    code.call(CLONE_REDIRECT);
    code.mark(0);

    code.label(Label::Reorder);
    code.draw(faults.reorder, Label::Pass);
    code.count(counters, REORDERED);
    code.mark(BALLAST);
    code.move_register(1, CONTEXT);
    code.set(2, delay);
    code.set(3, 0);
    code.call(CLONE_REDIRECT);
    code.load_field(1, INTERFACE);
    code.or(1, LEAVE);
    code.store_field(MARK, 1);
    code.set(1, delay);
    code.set(2, 0);
    code.call(REDIRECT);
    code.exit();

    code.label(Label::Pass);
    code.set(0, NEXT);
    code.exit();
    code.label(Label::Shot);
    code.set(0, SHOT);
    code.exit();
    code.finish()
}

/// At the far end of the delaying wire: puts packets back where they were, and ends ballast.
pub(super) fn returner() -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.move_register(CONTEXT, 1);
    code.load_field(1, MARK);
    code.jump_if_set(1, LEAVE, Label::Pass);
    code.set(0, SHOT);
    code.exit();
    code.label(Label::Pass);
    code.and(1, !LEAVE);
    code.set(2, 0);
    code.call(REDIRECT);
    code.exit();
    code.finish()
}

/// Counts TCP packets and says `verdict` of each; the rest is the next program's.
pub(crate) fn verdict_on_tcp(verdict: i32, counters: RawFd) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.move_register(CONTEXT, 1);
    code.pass_unless_tcp();
    code.count(counters, LOST);
    code.set(0, verdict);
    code.exit();
    code.label(Label::Pass);
    code.set(0, NEXT);
    code.exit();
    code.finish()
}

#[derive(Debug, Default)]
struct Assembler {
    code: Vec<Instruction>,
    labels: Vec<(Label, usize)>,
    jumps: Vec<(Label, usize)>,
}

/// Operation codes are the sums of the parts in include/uapi/linux/bpf_common.h and bpf.h.
impl Assembler {
    fn push(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: destination | source << 4, offset, immediate });
    }

    /// `BPF_ALU64 | BPF_MOV | BPF_X`
    fn move_register(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `BPF_ALU64 | BPF_MOV | BPF_K`
    fn set(&mut self, to: u8, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    /// `BPF_ALU64 | BPF_OR | BPF_K`
    fn or(&mut self, to: u8, value: i32) {
        self.push(0x47, to, 0, 0, value);
    }

    /// `BPF_ALU64 | BPF_AND | BPF_K`
    fn and(&mut self, to: u8, value: i32) {
        self.push(0x57, to, 0, 0, value);
    }

    /// `BPF_LDX | BPF_MEM | BPF_W`
    fn load_field(&mut self, to: u8, field: i16) {
        self.push(0x61, to, CONTEXT, field, 0);
    }

    /// `BPF_STX | BPF_MEM | BPF_W`
    fn store_field(&mut self, field: i16, from: u8) {
        self.push(0x63, CONTEXT, from, field, 0);
    }

    fn mark(&mut self, value: i32) {
        self.set(1, value);
        self.store_field(MARK, 1);
    }

    /// `BPF_LD | BPF_ABS | BPF_B`: into register 0; ends the program where the packet is too short.
    fn load_packet_byte(&mut self, at: i32) {
        self.push(0x30, 0, 0, 0, at);
    }

    /// `BPF_JMP | BPF_CALL`
    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    /// `BPF_JMP | BPF_EXIT`
    fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    /// `BPF_JMP | BPF_JA`
    fn jump(&mut self, to: Label) {
        self.conditional(0x05, 0, 0, to);
    }

    /// `BPF_JMP32 | BPF_JNE | BPF_K`
    fn jump_unless_equal(&mut self, register: u8, value: i32, to: Label) {
        self.conditional(0x56, register, value, to);
    }

    /// `BPF_JMP32 | BPF_JSET | BPF_K`
    fn jump_if_set(&mut self, register: u8, bits: i32, to: Label) {
        self.conditional(0x46, register, bits, to);
    }

    /// Draws, and jumps with probability `1 - probability`. (`BPF_JMP32 | BPF_JGE | BPF_K`)
    fn draw(&mut self, probability: f64, otherwise: Label) {
        self.call(GET_PRANDOM_U32);
        self.conditional(0x36, 0, threshold(probability).cast_signed(), otherwise);
    }

    /// Jumps to [`Label::Pass`] where the packet is not TCP.
    fn pass_unless_tcp(&mut self) {
        self.load_field(1, PROTOCOL);
        self.jump_unless_equal(1, IPV4, Label::Ipv6);
        self.load_packet_byte(IPV4_PROTOCOL);
        self.jump(Label::Protocol);
        self.label(Label::Ipv6);
        self.jump_unless_equal(1, IPV6, Label::Pass);
        self.load_packet_byte(IPV6_NEXT_HEADER);
        self.label(Label::Protocol);
        self.jump_unless_equal(0, TCP, Label::Pass);
    }

    /// Adds one to a counter. (`BPF_LD | BPF_IMM | BPF_DW` of a map's value, then `BPF_STX | BPF_ATOMIC | BPF_DW`)
    fn count(&mut self, map: RawFd, at: i32) {
        const PSEUDO_MAP_VALUE: u8 = 2;
        self.push(0x18, 1, PSEUDO_MAP_VALUE, 0, map);
        self.push(0, 0, 0, 0, at);
        self.set(2, 1);
        self.push(0xdb, 1, 2, 0, 0);
    }

    fn conditional(&mut self, code: u8, register: u8, value: i32, to: Label) {
        self.jumps.push((to, self.code.len()));
        self.push(code, register, 0, 0, value);
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (label, at) in self.jumps {
            let target =
                self.labels.iter().find(|(known, _)| *known == label).map_or(at, |&(_, target)| target);
            let distance = target.cast_signed() - at.cast_signed() - 1;
            // Programs of a hundred instructions: it fits. One that did not would not load.
            self.code[at].offset = i16::try_from(distance).unwrap_or(i16::MAX);
        }
        self.code
    }
}

/// Draws of 32 bits below this happen with `probability`.
fn threshold(probability: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a u32 holds"
    )]
    let draws = (probability.clamp(0.0, 1.0) * f64::from(u32::MAX)).round() as u32;
    draws
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_become_thresholds() {
        assert_eq!([threshold(0.0), threshold(-1.0), threshold(2.0)], [0, 0, u32::MAX]);
        assert_eq!(threshold(0.5), 1 << 31);
    }

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut code = Assembler::default();
        code.jump(Label::Pass);
        code.set(0, 1);
        code.label(Label::Pass);
        code.exit();
        assert_eq!(code.finish()[0].offset, 1);
    }
}
