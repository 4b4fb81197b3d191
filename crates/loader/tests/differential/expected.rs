//! What must become of a request: by the pure scan, the compiled tables, and the matcher, which must agree.

use std::net::SocketAddr;

use dataplane::lookup::Decision;
use dataplane::request::{Names, scan};
use kernel::{Compiled, Tables};
use model::{BackendId, Snapshot};
use route::Table;
use wire::{HEADER_NAME_MAX, Payload, PayloadSpan, RequestFacts, RouteAction};

use crate::compiled::generate::Generated;
use crate::compiled::{Scanned, decide, matched, socket};

/// Tables, and what they were made from.
pub(crate) struct World<'s> {
    pub(crate) snapshot: &'s Snapshot,
    compiled: Compiled,
    table: Table,
    pub(crate) vip: SocketAddr,
    /// Some route of the kernel takes any request.
    decides_all: bool,
}

/// A request that the kernel decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    /// The one endpoint of its route.
    pub(crate) endpoint: SocketAddr,
    pub(crate) inserts: bool,
    /// Head and body are in the segment.
    pub(crate) is_whole: bool,
    /// The client said that it will close.
    pub(crate) closes: bool,
}

/// The longest request line that text is inserted behind (`dataplane::engine`).
const LINE_MAX: u16 = 843;

impl<'s> World<'s> {
    pub(crate) fn new(
        snapshot: &'s Snapshot,
        compiled: Compiled,
        vip: SocketAddr,
        decides_all: bool,
    ) -> Self {
        Self { table: Table::build(snapshot), snapshot, compiled, vip, decides_all }
    }

    /// None: it is for userspace.
    pub(crate) fn expect(&self, bytes: &[u8]) -> Option<Decided> {
        let tables = &self.compiled.tables;
        let mut read = Scanned {
            payload: Box::new(Payload { bytes: [0; size_of::<Payload>()] }),
            facts: RequestFacts::default(),
        };
        read.payload.bytes[..bytes.len()].copy_from_slice(bytes);
        let captures = tables.captures_headers();
        scan(&read.payload, bytes.len() as u32, captures, &Numbers(tables), &mut read.facts).ok()?;
        let facts = read.facts;
        if facts.flags & RequestFacts::FORWARDING != 0 {
            return None;
        }
        let number = socket(tables, self.vip.ip(), self.vip.port());
        let Decision::Route { action } = decide(tables, number, &read) else {
            assert!(!self.decides_all, "nested prefixes decide: {}", bytes.escape_ascii());
            return None;
        };
        let route = self.matched(bytes, &facts);
        assert_eq!(Some(&self.compiled.routes[&action]), route.as_ref(), "{}", bytes.escape_ascii());
        let name = route?.object.name;
        let backend = &self.snapshot.backends[&BackendId::service("test", &name, 80)];
        let inserts = tables.actions[&action].flags & RouteAction::FORWARDED_HEADERS != 0;
        if inserts && facts.line_len > LINE_MAX {
            return None;
        }
        Some(Decided {
            endpoint: backend.endpoints[0].address,
            inserts,
            is_whole: usize::from(facts.head_len) + facts.content_length as usize == bytes.len(),
            closes: facts.flags & RequestFacts::CLOSE != 0,
        })
    }

    /// The matcher's route, of a head that is read here once more, plainly.
    fn matched(&self, bytes: &[u8], facts: &RequestFacts) -> Option<model::RouteId> {
        let part = |span: PayloadSpan| &bytes[usize::from(span.start)..][..usize::from(span.len)];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let head = text(&bytes[..usize::from(facts.head_len) - 4]);
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?, first.next()?);
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        assert_eq!(text(part(facts.path)), path, "{}", bytes.escape_ascii());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> = fields
            .map(|(name, value)| (name.to_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
            .collect();
        let host = &headers.iter().find(|(name, _)| name == "host")?.1;
        let host = host.split(':').next()?.to_lowercase();
        let request = Generated {
            address: self.vip.ip(),
            port: self.vip.port(),
            host,
            path: path.to_owned(),
            method: method.to_owned(),
            headers,
            parameters: vec![],
        };
        matched(&self.table, &request, query)
    }
}

struct Numbers<'t>(&'t Tables);

impl Names for Numbers<'_> {
    fn number(&self, name: &[u8; HEADER_NAME_MAX]) -> Option<u8> {
        self.0.names.get(name).map(|&number| number as u8)
    }
}
