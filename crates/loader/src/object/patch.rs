//! Calls of kernel functions. A program cannot name one to our compiler; it calls a helper number that no kernel has, and
//! here that call becomes the real one.
//!
//! A call with `src_reg = BPF_PSEUDO_KFUNC_CALL` and a BTF id of the kernel as its immediate needs no type information of
//! the program (Documentation/bpf/kfuncs.rst; `add_kfunc_call`, kernel/bpf/verifier.c).

use object::{Object, ObjectSection, SectionKind};

/// Bytes of an instruction: opcode, registers (destination in the low half), offset (2), immediate (4).
const INSTRUCTION: usize = 8;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_ALU64 | BPF_MOV | BPF_K`.
const MOVE: u8 = 0xb7;
/// `BPF_PSEUDO_KFUNC_CALL` as the source register.
const KERNEL_FUNCTION: u8 = 2 << 4;

/// What becomes of a placeholder call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// A call of the kernel function with that BTF id.
    Function(u32),
    /// No call: the answer.
    Answer(i32),
}

impl Call {
    /// What a function that the kernel lacks answers: `-EOPNOTSUPP`.
    pub(super) const ABSENT: Self = Self::Answer(-95);
}

/// Rewrites each placeholder call in the executable sections of the little-endian ELF `object`. Returns how many there were.
///
/// # Errors
///
/// Not an ELF object.
pub(super) fn calls(object: &mut [u8], functions: &[(u32, Call)]) -> Result<usize, object::Error> {
    let code: Vec<(u64, u64)> = object::File::parse(&*object)?
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .filter_map(|section| section.file_range())
        .collect();
    let mut patched = 0;
    for (start, length) in code {
        let end = usize::try_from(start.saturating_add(length)).unwrap_or(usize::MAX);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        for instruction in object.get_mut(start..end).unwrap_or_default().chunks_exact_mut(INSTRUCTION) {
            patched += usize::from(call(instruction, functions));
        }
    }
    Ok(patched)
}

/// Whether `instruction` was a placeholder. The second half of a 16-byte load has opcode 0 and never is.
fn call(instruction: &mut [u8], functions: &[(u32, Call)]) -> bool {
    let [CALL, registers @ 0, _, _, immediate @ ..] = instruction else { return false };
    let Ok(number) = <[u8; 4]>::try_from(&*immediate).map(u32::from_le_bytes) else { return false };
    let Some((_, becomes)) = functions.iter().find(|(placeholder, _)| *placeholder == number) else {
        return false;
    };
    match becomes {
        Call::Function(id) => {
            *registers = KERNEL_FUNCTION;
            immediate.copy_from_slice(&id.to_le_bytes());
        }
        Call::Answer(answer) => {
            immediate.copy_from_slice(&answer.to_le_bytes());
            if let Some(opcode) = instruction.first_mut() {
                *opcode = MOVE;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACEHOLDER: u32 = 0x7ffe_0001;
    const OTHER: u32 = 0x7ffe_0002;

    fn instruction(opcode: u8, registers: u8, immediate: u32) -> Vec<u8> {
        let mut bytes = vec![opcode, registers, 0, 0];
        bytes.extend(immediate.to_le_bytes());
        bytes
    }

    /// A 64-bit little-endian relocatable ELF for BPF (ELF specification 1.2, figures 1-3 and 1-8) with two sections of the
    /// same bytes: one executable, one of data. Returns it and where each begins.
    fn elf(section: &[u8]) -> (Vec<u8>, usize, usize) {
        const HEADER: usize = 64;
        const NAMES: &[u8] = b"\0tc\0data\0names\0";
        let (code, data) = (HEADER, HEADER + section.len());
        let names = data + section.len();
        let table = (names + NAMES.len()).next_multiple_of(8);

        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend([1, 0, 247, 0, 1, 0, 0, 0]); // ET_REL, EM_BPF, EV_CURRENT
        file.extend([0u64, 0, table as u64].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([0u8; 4]);
        file.extend([64u16, 0, 0, 64, 4, 3].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(section);
        file.extend(section);
        file.extend(NAMES);
        file.resize(table, 0);
        // Name, type (PROGBITS, STRTAB), flags (ALLOC, EXECINSTR), place, size.
        for (name, kind, flags, at, size) in [
            (0u32, 0u32, 0u64, 0, 0),
            (1, 1, 6, code, section.len()),
            (4, 1, 2, data, section.len()),
            (9, 3, 0, names, NAMES.len()),
        ] {
            file.extend(name.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend(
                [flags, 0, at as u64, size as u64, 0, 8, 0].iter().flat_map(|word| word.to_le_bytes()),
            );
        }
        (file, code, data)
    }

    fn program() -> Vec<u8> {
        [
            instruction(CALL, 0, PLACEHOLDER),
            instruction(CALL, 0, 12),           // a helper
            instruction(CALL, 16, PLACEHOLDER), // a call within the program, by distance
            instruction(0x18, 0, PLACEHOLDER),  // a load of 16 bytes
            instruction(0, 0, PLACEHOLDER),
            instruction(CALL, 0, OTHER),
            instruction(0x95, 0, 0),
        ]
        .concat()
    }

    #[test]
    fn placeholders_become_calls_of_the_kernel_s_function() {
        let (mut file, code, data) = elf(&program());
        let before = file.clone();
        assert_eq!(
            calls(&mut file, &[(PLACEHOLDER, Call::Function(0x0102_0304)), (OTHER, Call::Function(7))])
                .unwrap(),
            2
        );
        let mut expected = before.clone();
        expected[code..code + 8].copy_from_slice(&[0x85, 0x20, 0, 0, 4, 3, 2, 1]);
        expected[code + 40..code + 48].copy_from_slice(&[0x85, 0x20, 0, 0, 7, 0, 0, 0]);
        assert_eq!(file, expected, "and nothing else changes");
        assert_eq!(file[data..], before[data..], "data is left alone");
    }

    #[test]
    fn a_function_that_the_kernel_lacks_answers_not_supported() {
        let (mut file, code, _) = elf(&program());
        assert_eq!(calls(&mut file, &[(PLACEHOLDER, Call::ABSENT)]).unwrap(), 1);
        assert_eq!(file[code..code + 8], [0xb7, 0, 0, 0, 0xa1, 0xff, 0xff, 0xff]);
        assert_eq!(file[code + 40..code + 48], instruction(CALL, 0, OTHER), "not in the table");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(calls(&mut [0; 64], &[]).is_err());
    }
}
