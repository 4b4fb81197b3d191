//! What stays from one compilation to the next.

use std::time::Duration;

use wire::{ROUTE_BACKENDS_MAX, RouteAction, WeightedBackend};

use super::adopt::Before;
use super::{ActionKey, Compiler, Tracked};
use crate::balancing::Found;
use crate::ids::REST;
use crate::{Sizes, Tables};

impl Compiler {
    /// For maps that hold the work of an agent before this one: endpoints keep their indices, so that flows live on, all that is wanted as it
    /// is there stays, and the rest until what is compiled now has taken over.
    pub fn resume(found: Tables) -> Self {
        Self::resume_with_sizes(found, Sizes::default())
    }

    /// The same for maps of these sizes.
    pub fn resume_with_sizes(found: Tables, sizes: Sizes) -> Self {
        let mut compiler = Self::with_sizes(sizes);
        for (index, record) in found.endpoints.iter().filter(|(_, record)| record.generation != 0) {
            compiler.pool.adopt(*index, record);
        }
        for (name, number) in &found.names {
            compiler.names.adopt(*name, *number);
        }
        compiler.reserve(&found);
        compiler.pool.found = Found::new(&found);
        let serials = found.maglev.values().map(|table| table.serial);
        let generations = found.actions.values().map(|action| action.generation);
        compiler.pool.serial = serials.chain(generations).fold(compiler.pool.serial, u32::max);
        compiler.hosts = Tracked::holding(found.hosts.clone());
        compiler.routes = Tracked::holding(found.routes.clone());
        compiler.prefixes = Tracked::holding(found.prefixes.clone());
        compiler.candidates = Tracked::holding(found.candidates.clone());
        compiler.conditions = Tracked::holding(found.conditions.clone());
        compiler.route_actions = Tracked::holding(found.actions.clone());
        compiler.small = Tables {
            vips: found.vips.clone(),
            names: found.names.clone(),
            copies: found.copies.clone(),
            backends: found.backends.clone(),
            members: found.members.clone(),
            maglev: found.maglev.clone(),
            endpoints: found.endpoints.clone(),
            ..Tables::default()
        };
        compiler.before = Some(Before::new(found));
        compiler
    }

    pub(super) fn begin(&mut self, now: Duration) {
        self.sockets.begin();
        self.listeners.begin();
        self.scopes.begin();
        self.actions.begin();
        self.names.begin();
        self.pool.begin();
        if let Some(before) = &mut self.before {
            before.until.get_or_insert(now + REST);
        }
        if let Some(before) = self.before.take_if(|before| before.until.is_some_and(|until| until <= now)) {
            self.give_back(&before.tables);
            self.kept = None;
        }
        let before =
            self.before.as_ref().map_or((0, 0), |b| (b.tables.routes.len(), b.tables.prefixes.len()));
        self.room = self.entries.values().fold(before, |(routes, prefixes), entries| {
            (routes + entries.routes.len(), prefixes + entries.prefixes.len())
        });
    }

    /// Writes down what is new and what only rests, and lets go of what has rested. `is_whole`: everything was compiled.
    pub(super) fn finish(&mut self, now: Duration, is_whole: bool, small: &mut Tables) -> Option<Duration> {
        let mut again =
            vec![self.sockets.finish(now).1, self.listeners.finish(now).1, self.names.finish(now)];
        again.push(self.pool.finish(now, small));
        small.names.extend(self.names.iter());
        let fresh: Vec<_> = std::mem::take(&mut self.fresh_actions);
        for index in fresh {
            let generation = self.generations.get(&index).copied().unwrap_or(0);
            if let Some(key) = self.actions.key(index) {
                self.route_actions.put(index, record(key, generation));
            }
        }
        let (left, next) = self.actions.finish(now);
        for (_, index) in &left {
            self.generations.remove(index);
            self.route_actions.remove(index);
        }
        again.push(next);
        let copied = self.actions.iter().filter(|(key, ..)| key.copied_below != 0);
        small.copies.extend(copied.map(|(key, index, _)| (index, key.copied_below)));
        // Actions that were found serve until what is compiled now has taken over.
        let found = self.before.iter().flat_map(|before| &before.tables.copies);
        let found = found.filter(|(index, _)| self.actions.key(**index).is_none());
        small.copies.extend(found.map(|(index, below)| (*index, *below)));
        for id in std::mem::take(&mut self.fresh_scopes) {
            if let Some(entries) = self.entries.get(&id) {
                entries.routes.iter().for_each(|(key, record)| self.routes.put(*key, *record));
                entries.prefixes.iter().for_each(|(key, record)| self.prefixes.put(*key, *record));
                entries.candidates.iter().for_each(|(at, record)| self.candidates.put(*at, *record));
                entries.conditions.iter().for_each(|(at, record)| self.conditions.put(*at, *record));
            }
        }
        let (left, next) = self.scopes.finish(now);
        again.push(next);
        for (_, id) in left {
            if let Some(entries) = self.entries.remove(&id) {
                entries.routes.keys().for_each(|key| self.routes.remove(key));
                entries.prefixes.iter().for_each(|(key, _)| self.prefixes.remove(key));
                entries.candidates.iter().for_each(|(at, _)| self.candidates.remove(at));
                entries.conditions.iter().for_each(|(at, _)| self.conditions.remove(at));
                self.pools.give_back(&entries);
            }
        }
        if is_whole {
            self.write_whole(small);
        }
        if let Some(before) = &self.before {
            again.push(before.until);
        }
        again.into_iter().flatten().min()
    }

    /// Writes all scopes and actions down, with what an agent before has left.
    fn write_whole(&mut self, small: &mut Tables) {
        let all = || self.entries.values();
        let mut tables = Tables {
            // Collected at once: a map is built faster from a whole than entry by entry.
            routes: all().flat_map(|entries| entries.routes.iter().map(|(key, r)| (*key, *r))).collect(),
            prefixes: all().flat_map(|entries| entries.prefixes.iter().copied()).collect(),
            candidates: all().flat_map(|entries| entries.candidates.iter().copied()).collect(),
            conditions: all().flat_map(|entries| entries.conditions.iter().copied()).collect(),
            hosts: self.hosts.now().clone(),
            ..std::mem::take(small)
        };
        for (key, index, _) in self.actions.iter() {
            let generation = self.generations.get(&index).copied().unwrap_or(0);
            tables.actions.insert(index, record(key, generation));
        }
        if let Some(before) = &mut self.before {
            // Of what was taken over there is no more than is wanted.
            before.tables.members.retain(|member, _| self.pool.backends.key(member.backend).is_none());
            tables.add_missing(&before.tables);
        }
        self.hosts.replace(std::mem::take(&mut tables.hosts));
        self.routes.replace(std::mem::take(&mut tables.routes));
        self.prefixes.replace(std::mem::take(&mut tables.prefixes));
        self.candidates.replace(std::mem::take(&mut tables.candidates));
        self.conditions.replace(std::mem::take(&mut tables.conditions));
        self.route_actions.replace(std::mem::take(&mut tables.actions));
        *small = tables;
    }
}

/// The record of an action.
pub(super) fn record(key: &ActionKey, generation: u32) -> RouteAction {
    let unused = WeightedBackend { up_to: u32::MAX, backend: WeightedBackend::TIER3, affinity_s: 0 };
    let mut record = RouteAction {
        flags: key.flags,
        generation,
        // Rules of one object draw alike, so that a client does not change sides between them.
        subject: balance::subject(&key.route.object.to_string()),
        backends: [unused; ROUTE_BACKENDS_MAX],
        ..RouteAction::default()
    };
    for (place, share) in record.backends.iter_mut().zip(&key.shares) {
        record.total += share.up_to;
        record.backends_used += 1;
        *place = WeightedBackend { up_to: record.total, ..*share };
    }
    record
}
