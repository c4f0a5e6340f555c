//! Who may come in: the places of connections, in all and of each address, and which login gives way to a newer one.
//!
//! A flood of connections that do not log in must not lock out those that do. So it is not the newcomer that is refused
//! when there are too many, but the oldest of the address that has most of them: a flood from one address displaces
//! itself, and an initiator of another address keeps its place for as long as its login takes. Discovery sessions, which
//! anybody may open where nothing is to be proved, give way to each other in the same manner.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Limits;
use super::service::Place;

/// Who is behind an address. With IPv6 that is whoever has the /64 network, and so all its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Origin(IpAddr);

impl Origin {
    pub(super) fn of(peer: SocketAddr) -> Self {
        Self(match peer.ip().to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(network).into()
            }
            address => address,
        })
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are as many as there may be.
    Full,
    /// Its address has as many as one may have.
    Address,
}

#[derive(Debug)]
pub(super) struct Doorway {
    limits: Limits,
    table: Mutex<Table>,
}

/// Bounded by the number of connections.
#[derive(Debug, Default)]
struct Table {
    connections: usize,
    of: HashMap<Origin, usize>,
    /// Those that log in; without a place as long as they have not come to their shard.
    logins: Line,
    /// Discovery sessions.
    discoveries: Line,
    next: u64,
}

/// Connections that give way to newer ones, the oldest of each address first.
#[derive(Debug, Default)]
struct Line {
    all: usize,
    of: HashMap<Origin, BTreeMap<u64, Option<Place>>>,
}

impl Line {
    /// Takes one out if there are as many as may be, in all or of the address of a newcomer.
    fn make_room(&mut self, origin: Origin, most: usize, of_address: usize) -> Displaced {
        let own = self.of.get(&origin).map_or(0, BTreeMap::len);
        let victim = if own >= of_address {
            Some(origin)
        } else if self.all >= most {
            self.longest()
        } else {
            None
        };
        victim.and_then(|victim| self.displace(victim))
    }

    fn insert(&mut self, origin: Origin, ticket: u64, place: Option<Place>) {
        self.all += 1;
        self.of.entry(origin).or_default().insert(ticket, place);
    }

    /// Takes the oldest of an address out.
    fn displace(&mut self, origin: Origin) -> Displaced {
        let own = self.of.get_mut(&origin)?;
        let (_, place) = own.pop_first()?;
        if own.is_empty() {
            self.of.remove(&origin);
        }
        self.all -= 1;
        Some(place)
    }

    /// The address with most of them; among equals the one whose oldest is the oldest.
    fn longest(&self) -> Option<Origin> {
        let rank = |(_, own): &(&Origin, &BTreeMap<u64, Option<Place>>)| {
            let oldest = own.first_key_value().map_or(0, |(at, _)| *at);
            (own.len(), std::cmp::Reverse(oldest))
        };
        self.of.iter().max_by_key(rank).map(|(origin, _)| *origin)
    }

    fn forget(&mut self, origin: Origin, ticket: u64) {
        let Some(own) = self.of.get_mut(&origin) else {
            return;
        };
        self.all -= usize::from(own.remove(&ticket).is_some());
        if own.is_empty() {
            self.of.remove(&origin);
        }
    }
}

impl Doorway {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
        })
    }

    pub(super) fn connections(&self) -> usize {
        self.table.lock().connections
    }

    /// A place for a connection, and the login that has to give way for it, if it has come to its shard yet.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
    ) -> Result<(Permit, Displaced), Refusal> {
        let (origin, limits) = (Origin::of(peer), &self.limits);
        let mut table = self.table.lock();
        let of = table.of.get(&origin).copied().unwrap_or(0);
        if table.connections >= limits.connections {
            return Err(Refusal::Full);
        }
        if of >= limits.connections_per_address {
            return Err(Refusal::Address);
        }
        let displaced =
            table
                .logins
                .make_room(origin, limits.half_open, limits.half_open_per_address);
        let ticket = table.next;
        table.next += 1;
        table.connections += 1;
        *table.of.entry(origin).or_default() += 1;
        table.logins.insert(origin, ticket, None);
        let permit = Permit {
            doorway: Arc::clone(self),
            origin,
            ticket: Some(ticket),
            discovers: false,
        };
        Ok((permit, displaced))
    }
}

/// A connection that gave way; with its place, if it has come to its shard and has to be told.
pub(super) type Displaced = Option<Option<Place>>;

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    doorway: Arc<Doorway>,
    origin: Origin,
    /// Its place in a line, while it gives way to newer ones.
    ticket: Option<u64>,
    /// It is in the line of discovery sessions.
    discovers: bool,
}

impl Permit {
    /// The connection has come to its shard. False: it has given way already.
    pub(super) fn placed(&self, place: Place) -> bool {
        let mut table = self.doorway.table.lock();
        let logins = table.logins.of.get_mut(&self.origin);
        let slot = self
            .ticket
            .zip(logins)
            .and_then(|(ticket, logins)| logins.get_mut(&ticket));
        slot.map(|slot| *slot = Some(place)).is_some()
    }

    /// The initiator is who it says, or need not prove it: it gives way to nobody any more.
    pub(super) fn established(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let table = &mut *self.doorway.table.lock();
            let line = if self.discovers {
                &mut table.discoveries
            } else {
                &mut table.logins
            };
            line.forget(self.origin, ticket);
        }
    }

    /// The login is done, and the session is one for discovery: such are few and soon over, and when there are too many,
    /// the oldest of the address with most of them gives way, as with logins. Returns that one.
    pub(super) fn discovers(&mut self, place: Place) -> Displaced {
        self.established();
        let table = &mut *self.doorway.table.lock();
        let limits = &self.doorway.limits;
        let displaced = table.discoveries.make_room(
            self.origin,
            limits.discovery_sessions,
            limits.discovery_sessions_per_address,
        );
        (self.ticket, self.discovers) = (Some(table.next), true);
        table
            .discoveries
            .insert(self.origin, table.next, Some(place));
        table.next += 1;
        displaced
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.established();
        let mut table = self.doorway.table.lock();
        table.connections -= 1;
        if let Some(of) = table.of.get_mut(&self.origin) {
            *of -= 1;
            if *of == 0 {
                table.of.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    fn doorway(half_open: usize, per_address: usize) -> Arc<Doorway> {
        Doorway::new(Limits {
            connections: 8,
            connections_per_address: 6,
            half_open,
            half_open_per_address: per_address,
            ..Limits::default()
        })
    }

    fn still_there(permit: &Permit) -> bool {
        let table = permit.doorway.table.lock();
        let of = table.logins.of.get(&permit.origin);
        of.is_some_and(|of| permit.ticket.is_some_and(|ticket| of.contains_key(&ticket)))
    }

    #[test]
    fn n30_a_flood_from_one_address_displaces_itself() {
        let doorway = doorway(4, 4);
        let (good, _) = doorway.admit(peer("192.0.2.1")).unwrap();
        let mut flood: Vec<_> = (0..3)
            .map(|_| doorway.admit(peer("192.0.2.66")).unwrap().0)
            .collect();
        for _ in 0..1000 {
            let (permit, displaced) = doorway.admit(peer("192.0.2.66")).unwrap();
            assert!(displaced.is_some() && still_there(&permit) && still_there(&good));
            flood.push(permit);
            flood.remove(0);
        }
        assert_eq!(doorway.table.lock().logins.all, 4);
        // A newcomer of a third address finds room too.
        let (other, displaced) = doorway.admit(peer("192.0.2.2")).unwrap();
        assert!(displaced.is_some() && still_there(&other) && still_there(&good));
    }

    #[test]
    fn n30_an_address_has_its_share_of_logins_and_of_connections() {
        let doorway = doorway(100, 2);
        let mut held: Vec<_> = (0..6)
            .map(|_| doorway.admit(peer("192.0.2.1")).unwrap().0)
            .collect();
        let there = |held: &[Permit]| held.iter().map(still_there).collect::<Vec<_>>();
        assert_eq!(there(&held), [false, false, false, false, true, true]);
        held.iter_mut().for_each(Permit::established);
        assert_eq!(
            doorway.admit(peer("192.0.2.1")).unwrap_err(),
            Refusal::Address
        );
        let more: Vec<_> = (0..2)
            .map(|_| doorway.admit(peer("192.0.2.2")).unwrap())
            .collect();
        assert_eq!(doorway.admit(peer("192.0.2.2")).unwrap_err(), Refusal::Full);
        drop((held, more));
        let table = doorway.table.lock();
        assert!(table.connections == 0 && table.of.is_empty() && table.logins.of.is_empty());
        assert_eq!(table.logins.all, 0);
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_are_one_and_mapped_addresses_are_those_of_ipv4() {
        let of = |address: &str| Origin::of(peer(address));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
