//! Tickets between nodes, and while the store is away.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::support::gateway::{Gateway, Pair};
use crate::support::http::Message;

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

fn ticket(node: &Gateway, token: &str) -> Message {
    node.client().call("POST", "/ticket", Some(token), Some(&json!({"path": "/api/events"})))
}

fn open(node: &Gateway, ticket: &str) -> Message {
    node.client().send("GET", &format!("/api/events?access_ticket={ticket}&page=2"), &[EVENTS], None).unwrap()
}

#[test]
fn of_many_who_come_with_a_ticket_to_either_node_one_is_let_in_and_no_log_tells_of_it() {
    const COMERS: usize = 16;
    let pair = Pair::start(&[("endpoints.ticket", "/ticket"), ("log.level", "trace")]);
    let tokens = pair.a.client().log_in("ann");
    let mut tickets = Vec::new();
    for _ in 0..5 {
        let ticket = ticket(&pair.a, &tokens.access).expect(200).member("ticket");
        let barrier = Barrier::new(COMERS);
        let come = |comer: usize| {
            barrier.wait();
            open(pair.nodes()[comer % 2], &ticket)
        };
        let answers: Vec<Message> = thread::scope(|scope| {
            let comers: Vec<_> = (0..COMERS).map(|comer| scope.spawn(move || come(comer))).collect();
            comers.into_iter().map(|comer| comer.join().unwrap()).collect()
        });
        let (let_in, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|response| response.status() == 200);
        let [one] = &let_in[..] else { panic!("{} were let in", let_in.len()) };
        assert_eq!(one.json()["target"], "/api/events?page=2");
        assert_eq!(one.upstream_saw("x-auth-subject"), ["ann"]);
        assert!(refused.iter().all(|response| response.status() == 401));
        tickets.push(ticket);
    }
    for node in pair.nodes() {
        let log = node.log();
        assert!(tickets.iter().all(|ticket| !log.contains(ticket.as_str())) && !log.contains("tgt_"), "a log has a ticket");
    }
    let kept = pair.redis.cli(&["--scan", "--pattern", "*ticket:*"]);
    assert_eq!(kept.trim(), "", "what is spent is gone");
}

#[test]
fn while_the_store_is_away_no_ticket_is_issued_and_none_opens_anything() {
    let pair = Pair::start(&[("endpoints.ticket", "/ticket")]);
    let tokens = pair.a.client().log_in("ann");
    let bought = ticket(&pair.a, &tokens.access).expect(200).member("ticket");
    let Pair { a, b, mut redis, upstream, folder: _folder } = pair;
    redis.kill();
    let before = upstream.requests();
    for node in [&a, &b] {
        let refused = open(node, &bought).expect(503);
        assert_eq!(refused.json()["code"], "store_unavailable");
        assert!(refused.header("retry-after").is_some());
        ticket(node, &tokens.access).expect(503);
        node.client()
            .send("GET", "/api/events", &[EVENTS, ("authorization", &format!("Bearer {}", tokens.access))], None)
            .unwrap()
            .expect(200);
    }
    assert_eq!(upstream.requests(), before + 2, "those with the token itself");
}
