//! A panic costs one request, never the process.

use tokengate::domain::stats::Counter;

use super::rig::Rig;
use super::upstream::Upstream;

#[test]
fn a_panic_is_500_on_its_request_alone() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let token = rig.log_in().access;
    let mut client = rig.client();
    let request = format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.send(&request);
    assert_eq!(client.answer().status, 200);

    rig.clock.panic_once_in_a_worker();
    client.send(&request);
    let answer = client.answer();
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal_error"), "{answer:?}");
    assert!(!answer.body.contains("wall"), "the cause is for the log: {answer:?}");
    assert_eq!(rig.counted(Counter::Panics), 1);

    client.send(&request);
    assert_eq!(client.answer().status, 200, "the same connection goes on");
    assert_eq!(rig.get("/api", &token).status, 200);
}
