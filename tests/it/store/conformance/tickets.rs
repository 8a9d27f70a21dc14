//! Tickets: each is spent once, and lives no longer than it may.

use std::sync::Arc;
use std::time::Duration;

use tokengate::domain::ids::Partition;
use tokengate::domain::ticket::{KeptTicket, TicketDigest, TicketOwner, TicketTerms};
use tokengate::store::{Store, TicketKept};
use tokio::task::JoinSet;
use tokio::time::sleep;

const TERMS: TicketTerms = TicketTerms { lifetime: Duration::from_secs(60), per_owner_max: 2 };

/// Of bytes that are no text.
fn ticket(name: u8, owner: u8) -> KeptTicket {
    KeptTicket {
        home: Partition(u16::from(owner)),
        digest: TicketDigest::new([name; 32]),
        owner: TicketOwner([owner; 16]),
        subject: TicketOwner([owner.wrapping_add(100); 16]),
        sealed: vec![0, 0xff, name, b'\r', b'\n'],
    }
}

pub(crate) async fn a_ticket_is_spent_once_under_its_own_name(store: Arc<dyn Store>) {
    let (one, other) = (ticket(1, 1), ticket(2, 1));
    assert_eq!(store.keep_ticket(&one, TERMS).await.unwrap(), TicketKept::Kept);
    assert!(!store.spend_ticket(other.home, &other.digest).await.unwrap());
    assert_eq!(store.read_ticket(other.home, &other.digest).await.unwrap(), None);
    assert_eq!(store.keep_ticket(&other, TERMS).await.unwrap(), TicketKept::Kept);
    for _ in 0..2 {
        assert_eq!(store.read_ticket(one.home, &one.digest).await.unwrap().as_ref(), Some(&one.sealed), "to read spends nothing");
    }
    assert!(store.spend_ticket(one.home, &one.digest).await.unwrap());
    assert!(!store.spend_ticket(one.home, &one.digest).await.unwrap());
    assert_eq!(store.read_ticket(one.home, &one.digest).await.unwrap(), None);
    assert!(store.spend_ticket(other.home, &other.digest).await.unwrap());
}

/// Each session gets as many as it may, until all of the subject have got what the subject may have.
pub(crate) async fn a_subject_gets_so_many_tickets_however_many_sessions_it_has(store: Arc<dyn Store>) {
    let mut kept = 0;
    for session in 0..20 {
        for number in 0..2 {
            let ticket = KeptTicket {
                home: Partition(7),
                owner: TicketOwner([session; 16]),
                subject: TicketOwner([200; 16]),
                ..ticket(2 * session + number, 1)
            };
            kept += u32::from(store.keep_ticket(&ticket, TERMS).await.unwrap() == TicketKept::Kept);
        }
    }
    assert_eq!(kept, TERMS.per_subject_max());
    let others = KeptTicket { home: Partition(7), ..ticket(100, 50) };
    assert_eq!(store.keep_ticket(&others, TERMS).await.unwrap(), TicketKept::Kept, "another subject's");
}

pub(crate) async fn of_many_who_spend_a_ticket_one_gets_it(store: Arc<dyn Store>) {
    let kept = ticket(1, 1);
    store.keep_ticket(&kept, TERMS).await.unwrap();
    let mut spenders = JoinSet::new();
    for _ in 0..50 {
        let (store, kept) = (Arc::clone(&store), kept.clone());
        spenders.spawn(async move { store.spend_ticket(kept.home, &kept.digest).await.unwrap() });
    }
    let got = spenders.join_all().await.into_iter().filter(|is_spent| *is_spent).count();
    assert_eq!(got, 1);
}

pub(crate) async fn a_ticket_ends_and_makes_room_for_another(store: Arc<dyn Store>) {
    const LIFETIME: Duration = Duration::from_millis(400);
    let short = TicketTerms { lifetime: LIFETIME, ..TERMS };
    for name in [1, 2] {
        assert_eq!(store.keep_ticket(&ticket(name, 1), short).await.unwrap(), TicketKept::Kept);
    }
    let (spent, left) = (ticket(1, 1), ticket(2, 1));
    assert!(store.spend_ticket(spent.home, &spent.digest).await.unwrap());
    assert_eq!(store.keep_ticket(&ticket(3, 1), short).await.unwrap(), TicketKept::TooMany, "spent ones count for as long");
    assert_eq!(store.keep_ticket(&ticket(4, 2), short).await.unwrap(), TicketKept::Kept, "another owner's");
    sleep(2 * LIFETIME).await;
    assert_eq!(store.read_ticket(left.home, &left.digest).await.unwrap(), None);
    assert!(!store.spend_ticket(left.home, &left.digest).await.unwrap());
    assert_eq!(store.keep_ticket(&ticket(5, 1), short).await.unwrap(), TicketKept::Kept);
}
