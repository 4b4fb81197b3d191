use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::conditions::{Conditions, Value, header};
use crate::group::number;
use crate::hash::{Index, Seed};
use crate::{Headers, Request, query};

/// At most so many names are looked up per request; candidates that depend on others are visited one by one.
const NAMES_MAX: usize = 8;

/// Finds the candidates of a large group that a request can meet, by the value of one header or parameter each.
///
/// Ten thousand canaries on one path, told apart by a header, cost as much as ten.
#[derive(Debug)]
pub(crate) struct Selectors {
    seed: Seed,
    names: Vec<Values>,
    /// The positions of candidates without such a condition, ascending.
    rest: Box<[u32]>,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Header(Arc<str>),
    Query(Arc<str>),
}

/// The candidates that ask for an exact value under one name.
#[derive(Debug)]
struct Values {
    name: Name,
    index: Index,
    /// In the order of `index`.
    files: Box<[File]>,
}

/// The candidates that ask for one value.
#[derive(Debug)]
struct File {
    value: Arc<str>,
    /// Ascending.
    positions: Box<[u32]>,
}

/// The positions of candidates by value, for building.
type ByValue = HashMap<Arc<str>, Vec<u32>>;

impl Selectors {
    /// Takes the conditions of a group's candidates in order of precedence.
    pub(crate) fn new<'c>(group: impl Iterator<Item = Option<&'c Conditions>> + Clone) -> Self {
        let seed = Seed::random();
        let mut counts: HashMap<(Name, Arc<str>), usize> = HashMap::new();
        group.clone().flatten().flat_map(exact).for_each(|pair| *counts.entry(pair).or_default() += 1);
        // Each candidate is filed under the value that it shares with the fewest.
        let rarest = |conditions: &Conditions| exact(conditions).min_by_key(|pair| counts.get(pair).copied());
        let chosen: Vec<_> = group.map(|conditions| conditions.and_then(rarest)).collect();

        let mut sizes: HashMap<&Name, usize> = HashMap::new();
        chosen.iter().flatten().for_each(|(name, _)| *sizes.entry(name).or_default() += 1);
        let mut sizes: Vec<_> = sizes.into_iter().collect();
        sizes.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
        sizes.truncate(NAMES_MAX);
        let mut files: Vec<(Name, ByValue)> =
            sizes.into_iter().map(|(name, _)| (name.clone(), HashMap::new())).collect();

        let mut rest = Vec::new();
        for (position, choice) in chosen.into_iter().enumerate() {
            let file = choice.and_then(|(name, value)| {
                let (_, file) = files.iter_mut().find(|(filed, _)| *filed == name)?;
                Some(file.entry(value).or_default())
            });
            file.unwrap_or(&mut rest).push(number(position));
        }
        let names = files.into_iter().map(|(name, file)| Values::new(name, file, seed)).collect();
        Self { seed, names, rest: rest.into() }
    }

    /// The first position that `meets`, of those that the request can meet.
    pub(crate) fn find<H: Headers>(
        &self,
        request: &Request<'_, H>,
        meets: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut lists: [&[u32]; NAMES_MAX + 1] = [&[]; NAMES_MAX + 1];
        for (list, values) in lists.iter_mut().zip(&self.names) {
            *list = values.get(request, self.seed);
        }
        lists[NAMES_MAX] = &self.rest;
        loop {
            let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
            let (&position, later) = next.split_first()?;
            if meets(position) {
                return Some(position);
            }
            *next = later;
        }
    }
}

impl Values {
    fn new(name: Name, by_value: ByValue, seed: Seed) -> Self {
        let files: Box<[File]> =
            by_value.into_iter().map(|(value, list)| File { value, positions: list.into() }).collect();
        let index = Index::new(files.iter().map(|file| seed.hash(0, file.value.as_bytes())));
        Self { name, index, files }
    }

    fn get<H: Headers>(&self, request: &Request<'_, H>, seed: Seed) -> &[u32] {
        let value: Option<Cow<'_, [u8]>> = match &self.name {
            Name::Header(name) => header(request.headers, name),
            Name::Query(name) => request.query.and_then(|text| query::first(text, name)).map(query::decode),
        };
        let found = value.and_then(|value| {
            let is_it = |entry: u32| self.files[entry as usize].value.as_bytes() == &*value;
            self.index.find(seed.hash(0, &value), is_it)
        });
        found.map_or(&[], |entry| &self.files[entry as usize].positions)
    }
}

/// The conditions that ask for one exact value.
fn exact(conditions: &Conditions) -> impl Iterator<Item = (Name, Arc<str>)> {
    let headers = conditions.headers.iter().map(|h| (Name::Header(h.name.clone()), &h.value));
    let queries = conditions.queries.iter().map(|q| (Name::Query(q.name.clone()), &q.value));
    headers.chain(queries).filter_map(|(name, value)| match value {
        Value::Exact(text) => Some((name, text.clone())),
        Value::Regex(_) => None,
    })
}
