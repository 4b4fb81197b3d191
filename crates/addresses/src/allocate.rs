use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use model::ObjectRef;

use crate::claim::{Claim, Wanted};
use crate::pool::{Family, Pool};
use crate::problem::{Problem, ProblemReason};

/// What becomes of a Gateway's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Its addresses, in the order of what it asks for; where it asks for nothing, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// What it asks for and does not get, in the same order.
    pub problems: Vec<Problem>,
}

impl Assignment {
    /// The weightiest of the problems.
    pub fn reason(&self) -> Option<ProblemReason> {
        self.problems.iter().map(|problem| problem.reason).min()
    }
}

/// Gives every Gateway its addresses, of those that are in the pool.
///
/// What a Gateway has it keeps, as long as the pool has it and the Gateway does not ask for something else: even where another one
/// asks for it by its value. Then come those that ask by value, then those that take any, the oldest Gateway first. Where two
/// Gateways say that they have the same address, it is the older one's. Of free addresses the lowest is given, so that the
/// upper end of a pool is the place for those that are asked for by value.
///
/// A Gateway without entries gets one address of each family that the pool has; one is enough where a family is used up. The
/// same claims give the same result in any order, and a result that is held gives itself again.
///
/// Cost: O(n log n) for n addresses in use.
pub fn allocate(pool: &Pool, claims: &[Claim]) -> BTreeMap<ObjectRef, Assignment> {
    let claims = by_age(claims);
    let mut book = Book::new(pool, &claims);
    for claim in &claims {
        for wanted in &claim.wanted {
            if let Wanted::Address(address) = wanted {
                book.take(*address, claim);
            }
        }
    }
    claims.into_iter().map(|claim| (claim.gateway.clone(), book.assign(claim))).collect()
}

/// What of the Gateways' statuses holds: the addresses that [`allocate`] would let them keep, for those who do not decide.
pub fn confirm(pool: &Pool, claims: &[Claim]) -> BTreeMap<ObjectRef, Vec<IpAddr>> {
    let claims = by_age(claims);
    let mut book = Book::new(pool, &claims);
    let confirmed = claims.iter().map(|claim| {
        let named = claim.held.iter().map(IpAddr::to_canonical).filter(|address| claim.names(*address));
        let named = named.filter(|address| book.owners.get(address) == Some(&&claim.gateway));
        let mut addresses: Vec<_> =
            named.chain(book.kept.remove(&claim.gateway).unwrap_or_default()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        (claim.gateway.clone(), addresses)
    });
    confirmed.collect()
}

fn by_age(claims: &[Claim]) -> Vec<&Claim> {
    let mut claims: Vec<_> = claims.iter().collect();
    claims.sort_by(|a, b| a.rank().cmp(&b.rank()));
    claims
}

/// Which address is whose.
struct Book<'a> {
    pool: &'a Pool,
    owners: HashMap<IpAddr, &'a ObjectRef>,
    /// What Gateways had and keep, without having asked for it by value.
    kept: HashMap<&'a ObjectRef, Vec<IpAddr>>,
    /// Addresses that were not looked at yet, in ascending order: those before are in use.
    free: [Box<dyn Iterator<Item = IpAddr> + 'a>; 2],
}

impl<'a> Book<'a> {
    /// As the statuses have it.
    fn new(pool: &'a Pool, claims: &[&'a Claim]) -> Self {
        let free = Family::BOTH
            .map(|family| -> Box<dyn Iterator<Item = IpAddr>> { Box::new(pool.addresses(family)) });
        let mut book = Self { pool, owners: HashMap::new(), kept: HashMap::new(), free };
        for claim in claims {
            let mut kept = Vec::new();
            for address in claim.held.iter().map(IpAddr::to_canonical) {
                let is_named = claim.names(address);
                let may_keep = is_named || has_room(claim, &kept, Family::of(address));
                if may_keep && book.take(address, claim) {
                    kept.extend((!is_named).then_some(address));
                }
            }
            book.kept.insert(&claim.gateway, kept);
        }
        book
    }

    /// Makes an address a Gateway's, if the pool has it and nobody else; whether it was free.
    fn take(&mut self, address: IpAddr, claim: &'a Claim) -> bool {
        let is_free = self.pool.contains(address) && !self.owners.contains_key(&address);
        if is_free {
            self.owners.insert(address, &claim.gateway);
        }
        is_free
    }

    fn take_any(&mut self, family: Family, claim: &'a Claim) -> Option<IpAddr> {
        let free = self.free.get_mut(usize::from(family == Family::V6))?;
        let address = free.find(|address| !self.owners.contains_key(address))?;
        self.owners.insert(address, &claim.gateway);
        Some(address)
    }

    fn assign(&mut self, claim: &'a Claim) -> Assignment {
        let mut kept = self.kept.remove(&claim.gateway).unwrap_or_default();
        if claim.wanted.is_empty() {
            return self.assign_default(claim, kept);
        }
        let named = claim.wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Address(address) if self.owners.get(address) == Some(&&claim.gateway) => Some(*address),
            _ => None,
        });
        let mut has: Vec<_> = kept.iter().copied().chain(named).collect();
        let anys = claim.wanted.iter().filter(|wanted| **wanted == Wanted::Any).count();
        while kept.len() < anys
            && let Some(found) = self.any(&has, claim)
        {
            has.push(found);
            kept.push(found);
        }
        // In the order in which they would be kept.
        kept.sort_unstable();
        let mut any = kept.into_iter();
        let mut assignment = Assignment::default();
        for (i, wanted) in claim.wanted.iter().enumerate() {
            let found = match wanted {
                Wanted::Any => match any.next() {
                    Some(address) => Ok(address),
                    None => Err(self.exhausted(format!("spec.addresses[{i}]"))),
                },
                Wanted::Address(address) => self.had(*address, claim).map_err(|message| Problem {
                    field: format!("spec.addresses[{i}].value"),
                    reason: ProblemReason::AddressNotUsable,
                    message,
                }),
                Wanted::Unreadable(text) => Err(Problem::unreadable(i, text)),
                Wanted::Hostname(_) => Err(other_type(i, "Hostname")),
                Wanted::OtherType(kind) => Err(other_type(i, kind)),
            };
            match found {
                Ok(address) if assignment.addresses.contains(&address) => {}
                Ok(address) => assignment.addresses.push(address),
                Err(problem) => assignment.problems.push(problem),
            }
        }
        assignment
    }

    /// One of each family, or at least one.
    fn assign_default(&mut self, claim: &'a Claim, mut addresses: Vec<IpAddr>) -> Assignment {
        for family in Family::BOTH {
            if !addresses.iter().any(|address| Family::of(*address) == family) {
                addresses.extend(self.take_any(family, claim));
            }
        }
        addresses.sort_unstable();
        let problems = match addresses.is_empty() {
            true => vec![self.exhausted("spec.addresses".to_owned())],
            false => vec![],
        };
        Assignment { addresses, problems }
    }

    /// Any address, of the family of which the Gateway has fewer, if there is one.
    fn any(&mut self, has: &[IpAddr], claim: &'a Claim) -> Option<IpAddr> {
        let count = |family| has.iter().filter(|address| Family::of(**address) == family).count();
        let mut families = Family::BOTH;
        families.sort_by_key(|family| count(*family));
        families.into_iter().find_map(|family| self.take_any(family, claim))
    }

    /// An address that is asked for by its value, if it is the Gateway's by now, or why not.
    fn had(&self, address: IpAddr, claim: &Claim) -> Result<IpAddr, String> {
        match self.owners.get(&address) {
            Some(owner) if **owner == claim.gateway => Ok(address),
            Some(owner) => {
                Err(format!("{address} is used by {owner}: ask for another one, or delete that Gateway"))
            }
            None if self.pool.is_empty() => {
                Err(format!("{address} is not to be had, because there is no pool: set addresses.pool"))
            }
            None => Err(format!(
                "{address} is not in the pool ({}): ask for one of those, or have addresses.pool enlarged",
                self.pool
            )),
        }
    }

    fn exhausted(&self, field: String) -> Problem {
        let message = if self.pool.is_empty() {
            "there is no pool to give addresses from: set addresses.pool".to_owned()
        } else {
            let pool = self.pool;
            format!(
                "all addresses of the pool ({pool}) are in use: enlarge addresses.pool, or delete Gateways"
            )
        };
        Problem { field, reason: ProblemReason::AddressNotAssigned, message }
    }
}

fn other_type(i: usize, kind: &str) -> Problem {
    Problem::other_type(i, kind, "IPAddress, the type of the pool's addresses")
}

/// Whether a Gateway that keeps `kept` may keep one more of this family without having asked for it by value.
fn has_room(claim: &Claim, kept: &[IpAddr], family: Family) -> bool {
    if claim.wanted.is_empty() {
        !kept.iter().any(|address| Family::of(*address) == family)
    } else {
        kept.len() < claim.wanted.iter().filter(|wanted| **wanted == Wanted::Any).count()
    }
}

#[cfg(test)]
mod tests;
