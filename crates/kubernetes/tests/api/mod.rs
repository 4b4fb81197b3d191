//! An API server as far as the source needs one: lists in pages, watches from a version on, writes of statuses and of the Lease, refusals,
//! cut connections.

mod write;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

pub(crate) use write::Statuses;

/// The running server; it ends with the process.
#[derive(Clone)]
pub(crate) struct Api {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By path of the collection of all namespaces.
    collections: BTreeMap<String, Collection>,
    /// Watches that began before this one are over.
    epoch: u64,
    is_down: bool,
    asked: Vec<String>,
    /// Statuses that were to be written: path and body.
    patches: Vec<(String, Value)>,
    page_size: usize,
    /// Writes that are being answered, and how many were at most.
    writes: (usize, usize),
}

#[derive(Default)]
struct Collection {
    objects: BTreeMap<String, Value>,
    /// Version and event.
    log: Vec<(u64, Value)>,
    /// Versions below are forgotten.
    oldest: u64,
    refusal: Option<u16>,
    /// Only watches are refused.
    lists: bool,
    statuses: Statuses,
}

impl State {
    /// Creates or changes an object; what it is then.
    fn put(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let collection = self.collections.entry(path.to_owned()).or_default();
        let old = collection.objects.insert(name(&object), object.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        collection.log.push((self.version, json!({"type": kind, "object": object})));
        object
    }
}

impl Api {
    /// Starts one that has no objects and no kinds refused.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { version: 1, page_size: 500, ..State::default() };
        let api = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new((Mutex::new(state), Condvar::new())),
        };
        let serving = api.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(&stream));
            }
        });
        api
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self) -> tempfile::NamedTempFile {
        let cluster = json!({"name": "a", "cluster": {"server": format!("http://{}", self.address)}});
        let config = json!({
            "clusters": [cluster], "users": [{"name": "b", "user": {"token": "t"}}], "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "b"}}],
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        file
    }

    /// Creates or changes an object of the collection at `path`.
    pub(crate) fn apply(&self, path: &str, object: Value) {
        self.change(|state| drop(state.put(path, object)));
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let collection = state.collections.entry(path.to_owned()).or_default();
            let mut object = collection.objects.remove(name).expect("an object to delete");
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            collection.log.push((state.version, json!({"type": "DELETED", "object": object})));
        });
    }

    /// Answers requests for a collection with this code from now on; none: as usual.
    pub(crate) fn refuse(&self, path: &str, code: Option<u16>) {
        self.change(|state| {
            state.collections.entry(path.to_owned()).or_default().refusal = code;
            state.epoch += 1;
        });
    }

    /// Answers watches of a collection with 403 from now on, and lists as usual.
    pub(crate) fn refuse_watches(&self, path: &str) {
        self.refuse(path, Some(403));
        self.change(|state| state.collections.entry(path.to_owned()).or_default().lists = true);
    }

    /// Ends all watches, and forgets what they could go on from.
    pub(crate) fn forget(&self) {
        self.change(|state| {
            state.version += 1;
            let version = state.version;
            for collection in state.collections.values_mut() {
                collection.oldest = version;
                collection.log.clear();
            }
            state.epoch += 1;
        });
    }

    /// Ends all watches.
    pub(crate) fn cut(&self) {
        self.change(|state| state.epoch += 1);
    }

    /// Whether connections are closed without an answer.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.change(|state| {
            state.is_down = is_down;
            state.epoch += 1;
        });
    }

    /// Objects in one answer.
    pub(crate) fn set_page_size(&self, objects: usize) {
        self.change(|state| state.page_size = objects);
    }

    /// Targets that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.shared.1.notify_all();
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some((method, target, body)) = request(&mut reader) {
            let is_alive = match write::one(&method, &target) {
                Some(one) => self.answer_one(stream, (&method, &target, &one), &body),
                None => self.answer(stream, &target),
            };
            if !is_alive {
                return;
            }
        }
    }

    /// Whether the connection can be used again.
    fn answer(&self, mut stream: &TcpStream, target: &str) -> bool {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().replace("%3D", "=")
        };
        let (all, namespace) = whole(path);
        let wanted = parameter("fieldSelector").strip_prefix("metadata.name=").map(str::to_owned);
        let is_meant = |object: &Value| {
            namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == **namespace)
                && wanted.as_ref().is_none_or(|name| object["metadata"]["name"] == **name)
        };
        let mut state = self.state();
        state.asked.push(target.to_owned());
        if state.is_down {
            return false;
        }
        let (version, page_size) = (state.version, state.page_size);
        let collection = state.collections.entry(all.clone()).or_default();
        if let Some(code) = collection.refusal.filter(|_| !collection.lists || parameter("watch") == "true") {
            return reply(stream, code, &failure(code)).is_ok();
        }
        if parameter("watch") != "true" {
            let from: usize = parameter("continue").parse().unwrap_or(0);
            let is_hidden = wanted.is_some() && matches!(collection.statuses, Statuses::Gone);
            let objects = collection.objects.values().filter(|one| is_meant(one) && !is_hidden);
            let objects: Vec<_> = objects.cloned().collect();
            let page: Vec<_> = objects.iter().skip(from).take(page_size).cloned().collect();
            let next = from + page.len();
            let token = if next < objects.len() { next.to_string() } else { String::new() };
            let metadata = json!({"resourceVersion": version.to_string(), "continue": token});
            return reply(stream, 200, &json!({"metadata": metadata, "items": page})).is_ok();
        }
        let mut seen: u64 = parameter("resourceVersion").parse().unwrap();
        if seen < collection.oldest {
            return reply(stream, 410, &failure(410)).is_ok();
        }
        let epoch = state.epoch;
        drop(state);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err() {
            return false;
        }
        let mut state = self.state();
        while state.epoch == epoch {
            let events: Vec<_> = state.collections[&all].log.clone();
            for (version, event) in events {
                if version <= seen {
                    continue;
                }
                seen = version;
                let line = format!("{event}\n");
                if is_meant(&event["object"]) && write!(stream, "{:x}\r\n{line}\r\n", line.len()).is_err() {
                    return false;
                }
            }
            state = self.shared.1.wait(state).unwrap();
        }
        drop(state);
        stream.write_all(b"0\r\n\r\n").is_ok()
    }
}

/// Method, target and body; none: there is no other.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut head = Vec::new();
    for line in reader.by_ref().lines() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let lengths = head.iter().filter_map(|line| line.split_once(": "));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = head.first()?.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?, body))
}

/// The path of the collection of all namespaces, and the namespace that was asked for.
fn whole(path: &str) -> (String, Option<String>) {
    let Some((before, after)) = path.split_once("/namespaces/") else { return (path.to_owned(), None) };
    let Some((namespace, plural)) = after.split_once('/') else { return (path.to_owned(), None) };
    (format!("{before}/{plural}"), Some(namespace.to_owned()))
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn failure(code: u16) -> Value {
    let message = format!("refused with {code}");
    json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "Scripted"})
}

fn reply(mut stream: &TcpStream, code: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {code} Scripted\r\nContent-Length: {}\r\n\r\n", body.len());
    // In one piece: the second would wait for the first to be acknowledged.
    stream.write_all((head + &body).as_bytes())
}
