//! A thread that may not splice, as in a sandbox.

/// Makes splice(2) fail with EPERM in this thread, and in those that it starts from now on (seccomp(2)).
pub(crate) fn deny() {
    let (load, equals) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let returns = libc::BPF_RET | libc::BPF_K;
    let step = |code, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let mut filter = [
        // `seccomp_data` begins with the number of the call.
        step(load, 0, 0, 0),
        step(equals, 0, 1, u32::try_from(libc::SYS_splice).unwrap()),
        step(returns, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        step(returns, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: this only sets a flag of the thread.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the kernel copies the program, which lives that long.
    let denied = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(denied, 0, "{}", std::io::Error::last_os_error());
}
