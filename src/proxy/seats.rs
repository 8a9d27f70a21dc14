//! Seats for client connections: so many for the whole process, and who gives one up when all are taken.
//!
//! Asked once when a connection comes and once when it goes. Between the two a connection notes in a cell of its own what it does;
//! whoever is asked to give its seat up finds that in the same cell with the next tick of its worker.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of the seats, how many connections may be on their way out while others sit already: an eighth, …
const LEAVING_SHARE: usize = 8;

/// … and at least so many.
const LEAVING_MIN: usize = 16;

/// How many of an address's connections are set in line at once, so that not each newcomer has to look at all of them.
const LINE_MAX: usize = 64;

/// Addresses with equally many connections that are looked at for an idle one.
const TIES_MAX: usize = 64;

/// In whose name a connection sits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holder {
    /// A proxy in front, with the connections of many: never counted, never asked to leave.
    Trusted,
    /// The same, before it has said whose the connection is. It may have as many as there are seats, but one that stays silent makes room
    /// as any idle one does.
    Unidentified(IpAddr),
    /// An IPv4 address, or an IPv6 network.
    Address(IpAddr),
}

impl Holder {
    /// Whose connections are counted together with this one. `None`: nobody's.
    fn party(self) -> Option<Self> {
        (self != Self::Trusted).then_some(self)
    }
}

/// What a connection does, the cheapest to lose first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Doing {
    /// Waits for a request.
    Nothing,
    /// Sends the head of a request.
    Head,
    /// Owes more of a request's body.
    Body,
    /// Waits for a response, or is getting one.
    Response,
}

/// What a connection is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    Stay,
    /// Close once nothing is asked, and soon in any case.
    Leave,
    /// Close now.
    LeaveNow,
    /// It is gone.
    Gone,
}

impl Notice {
    const ALL: [Self; 4] = [Self::Stay, Self::Leave, Self::LeaveNow, Self::Gone];
}

/// Why there is no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoSeat {
    /// The address has as many as one may have.
    AddressFull,
    /// Nobody could be asked to leave: worth another try.
    Full,
}

/// How many connections there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatLimits {
    /// Over all workers.
    pub connections_max: usize,
    /// Of one address; `None`: as many as there are seats.
    pub per_address_max: Option<usize>,
}

/// All seats of the process.
#[derive(Debug)]
pub struct Seats {
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    limits: SeatLimits,
    taken: usize,
    /// Since the beginning.
    seated: u64,
    /// Of these, those that were asked to leave.
    leaving: usize,
    parties: HashMap<Holder, Party>,
    /// By how many of their connections stay.
    by_size: BTreeSet<(usize, Holder)>,
}

/// The connections of one holder.
#[derive(Debug, Default)]
struct Party {
    members: Vec<Arc<Card>>,
    staying: usize,
    /// Some of the members that stay, and what they did when they were set in line; the first to go at the end.
    line: Vec<(Doings, Arc<Card>)>,
    lined_at: Option<u32>,
}

/// What the room and a connection know of each other.
#[derive(Debug)]
struct Card {
    /// [`Doing`], and since which tick.
    doing: AtomicU64,
    /// In the order in which seats were taken.
    number: u64,
    notice: AtomicU8,
    /// Position among the party's members.
    position: AtomicUsize,
}

/// What a connection does and since when, and its number: the least goes first.
type Doings = (u64, u64);

impl Card {
    fn doings(&self) -> Doings {
        (self.doing.load(Ordering::Relaxed), self.number)
    }

    fn notice(&self) -> Notice {
        Notice::ALL[usize::from(self.notice.load(Ordering::Relaxed))]
    }

    fn tell(&self, notice: Notice) {
        self.notice.store(notice as u8, Ordering::Relaxed);
    }

    const fn is_idle((doing, _): Doings) -> bool {
        doing >> u32::BITS == Doing::Nothing as u64
    }
}

const fn doing_since(doing: Doing, tick: u32) -> u64 {
    (doing as u64) << u32::BITS | tick as u64
}

impl Seats {
    pub fn new(limits: SeatLimits) -> Arc<Self> {
        let room = Room { limits, taken: 0, seated: 0, leaving: 0, parties: HashMap::new(), by_size: BTreeSet::new() };
        Arc::new(Self { room: Mutex::new(room) })
    }

    /// Holds from the next newcomer on: whoever sits goes on sitting.
    pub fn limit(&self, limits: SeatLimits) {
        self.room().limits = limits;
    }

    /// A seat for a newcomer. When all are taken, the address that holds most gives up the connection that has been idle longest; if
    /// none is, and it holds clearly more than the newcomer's, the one that has been at its request longest.
    pub fn take(self: &Arc<Self>, holder: Holder, now: u32) -> Result<Seat, NoSeat> {
        let mut room = self.room();
        let held = room.held_by(holder)?;
        let is_full = room.taken - room.leaving >= room.limits.connections_max;
        if is_full && (room.leaving >= room.leaving_max() || !room.ask_one_to_leave(holder, held, now)) {
            return Err(NoSeat::Full);
        }
        Ok(self.seat(room, holder, now))
    }

    /// A seat for one of the last, whether there is any or not.
    pub fn squeeze_in(self: &Arc<Self>, holder: Holder, now: u32) -> Seat {
        self.seat(self.room(), holder, now)
    }

    fn seat(self: &Arc<Self>, mut room: MutexGuard<'_, Room>, holder: Holder, now: u32) -> Seat {
        let card = Arc::new(Card {
            doing: AtomicU64::new(doing_since(Doing::Nothing, now)),
            number: room.seated,
            notice: AtomicU8::new(Notice::Stay as u8),
            position: AtomicUsize::new(0),
        });
        room.taken += 1;
        room.seated += 1;
        room.enter(holder, &card);
        drop(room);
        Seat { seats: Arc::clone(self), holder: Cell::new(holder), card }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn leaving_max(&self) -> usize {
        (self.limits.connections_max / LEAVING_SHARE).max(LEAVING_MIN)
    }

    /// How many connections one has who wants one more.
    fn held_by(&self, holder: Holder) -> Result<usize, NoSeat> {
        let held = self.parties.get(&holder).map_or(0, |party| party.staying);
        match holder {
            Holder::Address(_) if self.limits.per_address_max.is_some_and(|max| held >= max) => Err(NoSeat::AddressFull),
            Holder::Address(_) | Holder::Unidentified(_) | Holder::Trusted => Ok(held),
        }
    }

    /// Counts one that stays among those of its holder.
    fn enter(&mut self, holder: Holder, card: &Arc<Card>) {
        let Some(holder) = holder.party() else { return };
        let party = self.parties.entry(holder).or_default();
        card.position.store(party.members.len(), Ordering::Relaxed);
        party.members.push(Arc::clone(card));
        self.resize(holder, |staying| staying + 1);
    }

    fn leave(&mut self, holder: Holder, card: &Card, stayed: bool) {
        let Some(holder) = holder.party() else { return };
        if stayed {
            self.resize(holder, |staying| staying - 1);
        }
        let Some(party) = self.parties.get_mut(&holder) else { return };
        let position = card.position.load(Ordering::Relaxed);
        party.members.swap_remove(position);
        if let Some(moved) = party.members.get(position) {
            moved.position.store(position, Ordering::Relaxed);
        }
        if party.members.is_empty() {
            self.parties.remove(&holder);
        }
    }

    /// Whether somebody was asked.
    fn ask_one_to_leave(&mut self, newcomer: Holder, held: usize, now: u32) -> bool {
        let Some(&(most, largest)) = self.by_size.last() else { return false };
        if let Some(newcomer) = newcomer.party()
            && held == most
        {
            // Its own connections make room, but not the only one that it has, and that is busy.
            return self.ask_one_of(newcomer, held == 1, now);
        }
        let ties = self.by_size.iter().rev().take_while(|(size, _)| *size == most).take(TIES_MAX).map(|(_, holder)| *holder);
        let ties: Vec<Holder> = ties.collect();
        let is_much = most > held + 1;
        let others_make_room =
            ties.into_iter().any(|holder| self.ask_one_of(holder, true, now)) || is_much && self.ask_one_of(largest, false, now);
        // Else its own do: it is not to stand in the way of those who come behind it.
        others_make_room || newcomer.party().is_some_and(|newcomer| self.ask_one_of(newcomer, held == 1, now))
    }

    fn ask_one_of(&mut self, holder: Holder, idle_only: bool, now: u32) -> bool {
        let Some(leaver) = self.parties.get_mut(&holder).and_then(|party| party.first_to_go(idle_only, now)) else {
            return false;
        };
        let is_idle = Card::is_idle(leaver.doings());
        leaver.tell(if is_idle { Notice::Leave } else { Notice::LeaveNow });
        self.leaving += 1;
        self.resize(holder, |staying| staying - 1);
        true
    }

    fn resize(&mut self, holder: Holder, change: impl FnOnce(usize) -> usize) {
        let Some(party) = self.parties.get_mut(&holder) else { return };
        self.by_size.remove(&(party.staying, holder));
        party.staying = change(party.staying);
        if party.staying > 0 {
            self.by_size.insert((party.staying, holder));
        }
    }
}

impl Party {
    fn first_to_go(&mut self, idle_only: bool, now: u32) -> Option<Arc<Card>> {
        loop {
            while let Some((doing, card)) = self.line.last() {
                let is_as_it_was = card.notice() == Notice::Stay && card.doings() == *doing;
                // Others may have become idle since the line was made.
                let is_due = Card::is_idle(*doing) || self.lined_at == Some(now);
                if !is_as_it_was || !is_due {
                    self.line.pop();
                    continue;
                }
                if idle_only && !Card::is_idle(*doing) {
                    return None;
                }
                return self.line.pop().map(|(_, card)| card);
            }
            if self.lined_at == Some(now) {
                return None;
            }
            self.line_up(now);
        }
    }

    fn line_up(&mut self, now: u32) {
        self.lined_at = Some(now);
        let staying = self.members.iter().filter(|card| card.notice() == Notice::Stay);
        self.line = staying.map(|card| (card.doings(), Arc::clone(card))).collect();
        if self.line.len() > LINE_MAX {
            self.line.select_nth_unstable_by_key(LINE_MAX, |(doing, _)| *doing);
            self.line.truncate(LINE_MAX);
            self.line.shrink_to_fit();
        }
        self.line.sort_unstable_by_key(|(doing, _)| std::cmp::Reverse(*doing));
    }
}

/// A connection's seat; free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    holder: Cell<Holder>,
    card: Arc<Card>,
}

impl Seat {
    pub fn does(&self, doing: Doing, since: u32) {
        self.card.doing.store(doing_since(doing, since), Ordering::Relaxed);
    }

    pub fn notice(&self) -> Notice {
        self.card.notice()
    }

    /// Goes on in another's name. Whoever was asked to leave does so in the old one.
    pub fn pass_to(&self, holder: Holder) -> Result<(), NoSeat> {
        let mut room = self.seats.room();
        if self.notice() == Notice::Stay && holder != self.holder.get() {
            room.held_by(holder)?;
            room.leave(self.holder.replace(holder), &self.card, true);
            room.enter(holder, &self.card);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        Seats::new(SeatLimits { connections_max: 1, per_address_max: None }).squeeze_in(Holder::Trusted, 0)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = self.seats.room();
        room.taken -= 1;
        let stayed = self.card.notice() == Notice::Stay;
        self.card.tell(Notice::Gone);
        if !stayed {
            room.leaving -= 1;
        }
        room.leave(self.holder.get(), &self.card, stayed);
    }
}

#[cfg(test)]
mod tests;
