use super::*;

fn address(last: u8) -> Holder {
    Holder::Address(IpAddr::from([192, 0, 2, last]))
}

#[test]
fn new_limits_hold_from_the_next_newcomer_on() {
    let seats = Seats::new(SeatLimits { connections_max: 3, per_address_max: None });
    let mut taken: Vec<Seat> = (0..3).map(|_| seats.take(address(1), 0).unwrap()).collect();
    seats.limit(SeatLimits { connections_max: 3, per_address_max: Some(2) });
    assert_eq!(seats.take(address(1), 0).err(), Some(NoSeat::AddressFull));
    seats.limit(SeatLimits { connections_max: 4, per_address_max: None });
    taken.push(seats.take(address(1), 0).unwrap());
    assert!(taken.iter().all(|seat| seat.notice() == Notice::Stay));
    seats.limit(SeatLimits { connections_max: 2, per_address_max: None });
    taken.push(seats.take(address(2), 0).unwrap());
    assert!(taken.iter().any(|seat| seat.notice() != Notice::Stay), "somebody makes room");
}

#[test]
fn a_connection_that_turns_out_to_be_anothers_counts_as_that_ones() {
    let seats = Seats::new(SeatLimits { connections_max: 4, per_address_max: Some(2) });
    let taken: Vec<Seat> = (0..4).map(|_| seats.take(Holder::Trusted, 0).unwrap()).collect();
    for seat in &taken[..2] {
        seat.pass_to(address(1)).unwrap();
    }
    assert_eq!(taken[2].pass_to(address(1)), Err(NoSeat::AddressFull));
    taken[0].pass_to(address(1)).unwrap();
    let _newcomer = seats.take(address(2), 1).unwrap();
    assert_eq!(notices(&taken), [Leave, Stay, Stay, Stay], "the proxy's own are not asked");
    taken[0].pass_to(address(2)).unwrap();
    taken[2].pass_to(address(1)).unwrap();
    drop(taken);
    let room = seats.room();
    assert_eq!((room.taken, room.leaving, room.parties.len(), room.by_size.len()), (1, 0, 1, 1));
}

#[test]
fn a_proxy_that_stays_silent_makes_room_and_one_that_says_whose_it_is_has_no_bound_of_its_own() {
    let proxy = Holder::Unidentified(IpAddr::from([192, 0, 2, 100]));
    let seats = Seats::new(SeatLimits { connections_max: 4, per_address_max: Some(2) });
    let taken: Vec<Seat> = (0..4).map(|now| seats.take(proxy, now).unwrap()).collect();
    let newcomer = seats.take(address(1), 9).unwrap();
    assert_eq!(notices(&taken), [Leave, Stay, Stay, Stay], "the one that has been silent longest");
    let another = seats.take(proxy, 10).unwrap();
    another.pass_to(address(2)).unwrap();
    taken[3].pass_to(Holder::Trusted).unwrap();
    drop((taken, newcomer, another));
    let room = seats.room();
    assert_eq!((room.taken, room.leaving, room.parties.len(), room.by_size.len()), (0, 0, 0, 0));
}

fn full_of(holders: &[Holder]) -> (Arc<Seats>, Vec<Seat>) {
    let seats = Seats::new(SeatLimits { connections_max: holders.len(), per_address_max: None });
    let taken = (0..).zip(holders).map(|(tick, holder)| seats.take(*holder, tick).unwrap()).collect();
    (seats, taken)
}

fn notices(taken: &[Seat]) -> Vec<Notice> {
    taken.iter().map(Seat::notice).collect()
}

use Notice::{Leave, LeaveNow, Stay};

#[test]
fn the_address_with_most_gives_up_its_longest_idle_connection() {
    let (seats, taken) = full_of(&[address(1), address(2), address(2), address(2)]);
    taken[1].does(Doing::Response, 0);
    let newcomer = seats.take(address(3), 10).unwrap();
    assert_eq!(notices(&taken), [Stay, Stay, Leave, Stay]);
    assert_eq!(newcomer.notice(), Stay);
}

#[test]
fn if_none_is_idle_the_one_that_is_at_it_longest_goes() {
    let (seats, taken) = full_of(&[address(1), address(2), address(2), address(2)]);
    for (seat, doing, since) in [(1, Doing::Response, 1), (2, Doing::Body, 3), (3, Doing::Body, 2)] {
        taken[seat].does(doing, since);
    }
    let _newcomer = seats.take(address(3), 10).unwrap();
    assert_eq!(notices(&taken), [Stay, Stay, Stay, LeaveNow]);
}

#[test]
fn a_newcomer_whose_own_address_holds_most_costs_nobody_else_anything() {
    let (seats, taken) = full_of(&[address(1), address(2), address(2)]);
    let _newcomer = seats.take(address(2), 10).unwrap();
    assert_eq!(notices(&taken), [Stay, Leave, Stay]);
}

#[test]
fn nobody_loses_a_request_to_one_who_would_then_hold_as_many() {
    let (seats, taken) = full_of(&[address(1), address(2)]);
    for seat in &taken {
        seat.does(Doing::Response, 1);
    }
    assert_eq!(seats.take(address(3), 10).unwrap_err(), NoSeat::Full);
    assert_eq!(seats.take(address(1), 10).unwrap_err(), NoSeat::Full);
    taken[0].does(Doing::Nothing, 11);
    let _newcomer = seats.take(address(3), 11).unwrap();
    assert_eq!(notices(&taken), [Leave, Stay]);
}

#[test]
fn an_address_that_holds_nearly_most_makes_room_for_its_own_and_blocks_nobody() {
    let (seats, taken) = full_of(&[address(1), address(1), address(1), address(2), address(2)]);
    for seat in &taken {
        seat.does(Doing::Response, 1);
    }
    let _second = seats.take(address(2), 10).unwrap();
    assert_eq!(notices(&taken), [Stay, Stay, Stay, LeaveNow, Stay]);
    let (seats, taken) = full_of(&[address(1), address(1), address(2)]);
    for seat in &taken {
        seat.does(Doing::Response, 1);
    }
    assert_eq!(seats.take(address(2), 10).unwrap_err(), NoSeat::Full, "not the only one that it has");
    taken[2].does(Doing::Nothing, 11);
    let _second = seats.take(address(2), 12).unwrap();
    assert_eq!(notices(&taken), [Stay, Stay, Leave]);
}

#[test]
fn trusted_peers_are_neither_counted_nor_asked_to_leave() {
    let (seats, taken) = full_of(&[Holder::Trusted, Holder::Trusted, Holder::Trusted, address(1)]);
    let _newcomer = seats.take(Holder::Trusted, 10).unwrap();
    assert_eq!(notices(&taken), [Stay, Stay, Stay, Leave]);
    assert_eq!(seats.take(address(2), 11).unwrap_err(), NoSeat::Full);
}

#[test]
fn an_address_takes_no_more_than_one_may_have_and_trusted_peers_as_many_as_there_are() {
    let seats = Seats::new(SeatLimits { connections_max: 100, per_address_max: Some(2) });
    let mut taken: Vec<Seat> = (0..2).map(|_| seats.take(address(1), 0).unwrap()).collect();
    assert_eq!(seats.take(address(1), 0).unwrap_err(), NoSeat::AddressFull);
    let _others = [address(2), Holder::Trusted, Holder::Trusted, Holder::Trusted].map(|holder| seats.take(holder, 0).unwrap());
    taken.pop();
    assert!(seats.take(address(1), 0).is_ok());
}

#[test]
fn those_on_their_way_out_are_bounded_and_each_seat_is_counted_once() {
    let (seats, mut taken) = full_of(&[address(1); 40]);
    let newcomers: Vec<Seat> = (0..LEAVING_MIN).map(|_| seats.take(address(2), 100).unwrap()).collect();
    assert_eq!(notices(&taken).iter().filter(|notice| **notice == Leave).count(), LEAVING_MIN);
    assert_eq!(seats.take(address(2), 100).unwrap_err(), NoSeat::Full);
    assert_eq!(notices(&taken[..LEAVING_MIN]), [Leave; LEAVING_MIN], "the longest idle");
    taken.retain(|seat| seat.notice() == Stay);
    let _further = seats.take(address(2), 100).unwrap();
    drop((newcomers, taken));
    let room = seats.room();
    assert_eq!((room.taken, room.leaving, room.parties.len(), room.by_size.len()), (1, 0, 1, 1));
}

#[test]
fn one_that_became_idle_goes_before_those_that_were_in_line() {
    let (seats, taken) = full_of(&[address(1); 3]);
    (1..).zip(&taken).for_each(|(since, seat)| seat.does(Doing::Response, since));
    let _first = seats.take(address(2), 10).unwrap();
    taken[2].does(Doing::Nothing, 11);
    let _second = seats.take(address(3), 12).unwrap();
    assert_eq!(notices(&taken), [LeaveNow, Stay, Leave]);
}
