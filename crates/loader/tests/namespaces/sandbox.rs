//! A gateway and a client, each in a network namespace of its own, and a bpf file system nobody else sees.
//!
//! Both namespaces belong to threads and have no names: they end with the test, also after a panic or a kill, and take
//! their interfaces, pins and mounts with them.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

pub(crate) const GATEWAY_V4: &str = "10.77.0.1";
pub(crate) const GATEWAY_V6: &str = "fd00:77::1";
/// The gateway's interface; the dot makes its pin's name need care.
pub(crate) const UPLINK: &str = "up.1";

/// The calling thread's view: it is the gateway.
pub(crate) struct Sandbox {
    pin_root: PathBuf,
    client: mpsc::Sender<Job>,
    client_thread: i32,
}

/// How long somebody else may hold what was listened on.
const LISTEN_MAX: Duration = Duration::from_secs(5);

/// Where to connect, and where to say how it went.
type Job = (SocketAddr, mpsc::Sender<std::io::Result<()>>);

/// Runs `test` on a thread inside a fresh sandbox.
pub(crate) fn in_sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    let thread = thread::spawn(move || test(&Sandbox::enter()));
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Sandbox {
    fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("bpf"), "/mnt", Some("bpf"), MsFlags::empty(), Some("mode=0700")).expect("mounts a bpffs");

        let (client, client_thread) = spawn_client();
        let sandbox = Self { pin_root: Path::new("/mnt").join("rauta"), client, client_thread };
        run("ip link set lo up");
        sandbox.plug_in();
        sandbox
    }

    /// Makes the gateway's interface and its peer in the client's namespace, with addresses.
    pub(crate) fn plug_in(&self) {
        run(&format!("ip link add {UPLINK} type veth peer name client netns {}", self.client_thread));
        for address in [format!("{GATEWAY_V4}/24"), format!("{GATEWAY_V6}/64 nodad")] {
            run(&format!("ip address add {address} dev {UPLINK}"));
        }
        run(&format!("ip link set {UPLINK} up"));
        let inside = format!("nsenter --net=/proc/{}/task/{}/ns/net", std::process::id(), self.client_thread);
        for address in ["10.77.0.2/24", "fd00:77::2/64 nodad"] {
            run(&format!("{inside} ip address add {address} dev client"));
        }
        run(&format!("{inside} ip link set client up"));
    }

    /// An interface with the uplink's name, while the one that had it lives on under another.
    pub(crate) fn plug_in_as_second(&self) {
        run(&format!("ip link add {UPLINK} type veth peer name other"));
        run(&format!("ip link set {UPLINK} up"));
    }

    pub(crate) fn unplug(&self) {
        run(&format!("ip link delete {UPLINK}"));
    }

    pub(crate) fn pin_root(&self) -> &Path {
        &self.pin_root
    }

    pub(crate) fn options(&self) -> loader::Options {
        loader::Options { pin_root: self.pin_root.clone(), ..loader::Options::default() }
    }

    /// Of the calling thread, for good, all but those with the bits in `kept` (capset(2)).
    #[allow(clippy::unused_self, reason = "only a sandbox's thread may give up its capabilities")]
    pub(crate) fn drop_capabilities(&self, kept: &[u8]) {
        const VERSION_3: u32 = 0x2008_0522;
        let header = [VERSION_3, 0];
        let set = kept.iter().fold(0u64, |set, bit| set | 1 << bit).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = set;
        let (low, high) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        // Effective, permitted, inheritable; the lower half of the bits, then the upper.
        let sets = [low, low, 0, high, high, 0];
        // SAFETY: version 3 reads a header of two words and two sets of three.
        let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
        assert_eq!(result, 0);
    }

    /// One connection from the client to `address`: a byte there, a byte back, closed. The gateway answers by itself.
    pub(crate) fn connect(&self, address: &str, port: u16) {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        let listener = listen(address);
        let (done, result) = mpsc::channel();
        self.client.send((address, done)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(&byte).unwrap();
        // Until the client's FIN is here, so that all its packets but the last ACK are.
        assert_eq!(stream.read(&mut byte).unwrap(), 0);
        result.recv().unwrap().expect("the client's side");
    }
}

/// The last listener of this address may be open for a moment longer, in what another test has forked and not executed yet.
fn listen(address: SocketAddr) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < LISTEN_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound.unwrap(),
        }
    }
}

/// A thread in a network namespace of its own that connects where it is told.
fn spawn_client() -> (mpsc::Sender<Job>, i32) {
    let (sender, jobs) = mpsc::channel::<Job>();
    let (started, ready) = mpsc::channel();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        started.send(gettid().as_raw()).unwrap();
        for (address, done) in jobs {
            let _ = done.send(exchange(address));
        }
    });
    (sender, ready.recv().unwrap())
}

fn exchange(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

/// Runs a command in the calling thread's namespaces.
pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Lays a wire beside the uplink: devices `left` and `right`.
pub(crate) fn lay_wire() {
    run("ip link add left type veth peer name right");
    run("ip link set left up");
    run("ip link set right up");
}

/// Names of the files directly in `folder`, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}
