//! One request, told by every protocol that clients speak: no door takes what another one refuses, or takes it for something else.

use super::client::Client;
use super::http2::client::{END_HEADERS, END_STREAM, Event, HEADERS, Http2Client, PROTOCOL_ERROR, literal};
use super::rig::Rig;
use super::upstream::Upstream;
use crate::support::request_cases::{RequestCase, Verdict, cases, sweep};

/// By which a request comes in.
type Door = fn(&Rig, &Upstream, &RequestCase) -> Verdict;

/// What the upstream was told last.
fn heard(upstream: &Upstream, before: usize) -> Option<Verdict> {
    let heard = upstream.heard();
    assert!(heard.len() <= before + 1, "one request became several: {heard:?}");
    let head = heard.get(before)?;
    let mut line = head.lines().next().unwrap().split(' ').map(str::to_owned);
    let hosts: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("host: ")).collect();
    let [host] = hosts[..] else { panic!("not one host: {head}") };
    Some(Verdict::Passes { method: line.next().unwrap(), target: line.next().unwrap(), host: host.to_owned() })
}

/// By bytes of HTTP/1.1: with a URL as target where a Host field alone cannot say the same.
fn by_http1(rig: &Rig, upstream: &Upstream, case: &RequestCase) -> Verdict {
    let RequestCase { method, scheme, authority, hosts, path, fields } = case;
    let mut head = [&method[..], b" "].concat();
    let is_url = authority.is_some() && (!hosts.is_empty() || scheme != b"http");
    if is_url {
        head.extend([scheme, &b"://"[..], authority.as_ref().unwrap()].concat());
    }
    head.extend([path, &b" HTTP/1.1\r\n"[..]].concat());
    for host in hosts.iter().chain(authority.iter().filter(|_| hosts.is_empty())) {
        head.extend([b"Host: ", &host[..], b"\r\n"].concat());
    }
    for (name, value) in fields {
        head.extend([&name[..], b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    let before = upstream.heard().len();
    let mut client = rig.client();
    client.send(&head);
    client.end_sending();
    let answer = client.response();
    verdict(answer.status, heard(upstream, before), case)
}

/// By frames of HTTP/2.
fn by_http2(rig: &Rig, upstream: &Upstream, case: &RequestCase) -> Verdict {
    let RequestCase { method, scheme, authority, hosts, path, fields } = case;
    let pseudo = [(&b":method"[..], Some(method)), (b":scheme", Some(scheme)), (b":authority", authority.as_ref())];
    let pseudo = pseudo.into_iter().chain([(&b":path"[..], Some(path))]);
    let hosts = hosts.iter().map(|host| (&b"host"[..], &host[..]));
    let fields = fields.iter().map(|(name, value)| (&name[..], &value[..]));
    let all = pseudo.filter_map(|(name, value)| Some((name, &value?[..]))).chain(hosts).chain(fields);
    let block: Vec<u8> = all.flat_map(|(name, value)| literal(name, value)).collect();
    let before = upstream.heard().len();
    let mut client = Http2Client::connect(rig.address());
    let stream = client.new_stream();
    client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
    let status = match client.event_of(stream) {
        Event::Headers { fields, .. } => {
            fields.iter().find(|(name, _)| name == ":status").map(|(_, status)| status.parse().unwrap()).unwrap()
        }
        Event::Reset { code: PROTOCOL_ERROR, .. } | Event::Closed => 400,
        other => panic!("{other:?} to {case:?}"),
    };
    verdict(status, heard(upstream, before), case)
}

fn verdict(status: u16, heard: Option<Verdict>, case: &RequestCase) -> Verdict {
    match (status, heard) {
        (200, Some(passes)) => passes,
        (400, None) => Verdict::Refused,
        other => panic!("{other:?} to {case:?}"),
    }
}

#[test]
fn every_door_judges_a_request_alike() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let doors: [(&str, Door); 2] = [("http/1.1", by_http1), ("h2", by_http2)];
    let mut faults = Vec::new();
    for (case, expected) in cases() {
        for (door, judge) in doors {
            let verdict = judge(&rig, &upstream, &case);
            if verdict != expected {
                faults.push(format!("{door}: {verdict:?} instead of {expected:?} for {case:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_byte_in_any_part_of_a_request_is_judged_differently_by_another_door() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let mut faults = Vec::new();
    for case in sweep() {
        let both = [by_http1, by_http2].map(|judge| judge(&rig, &upstream, &case));
        if both[0] != both[1] {
            faults.push(format!("{both:?} for {case:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What a proxy says of a request; `None` where it is nothing that a field can carry, or where a proxy has one host alone to tell of.
fn question(case: &RequestCase) -> Option<Vec<u8>> {
    let RequestCase { method, scheme, authority, hosts, path, fields } = case;
    let hosts: Vec<&Vec<u8>> = authority.iter().chain(hosts).collect();
    let is_told_as_it_is = |part: &[u8]| part.trim_ascii() == part && !part.iter().any(|byte| b"\r\n".contains(byte));
    let parts = [method, path].into_iter().chain(hosts.iter().copied());
    let is_of_one_host = authority.is_none() || hosts.len() == 1;
    if scheme != b"http" || !is_of_one_host || !parts.into_iter().all(|part| is_told_as_it_is(part)) {
        return None;
    }
    let mut head = b"GET / HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 192.0.2.7\r\n".to_vec();
    let told = [(&b"X-Forwarded-Method"[..], method), (b"X-Forwarded-Uri", path)];
    let hosts = hosts.into_iter().map(|host| (&b"X-Forwarded-Host"[..], host));
    let fields = fields.iter().map(|(name, value)| (&name[..], value));
    for (name, value) in told.into_iter().chain(hosts).chain(fields) {
        head.extend([name, b": ", &value[..], b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    Some(head)
}

/// A proxy that asks is told yes where the gateway's own door would have passed the request on, but for fragments: a proxy does not cut
/// them off.
#[test]
fn a_question_is_judged_as_the_request_itself() {
    let upstream = Upstream::echo();
    let rig = Rig::start_from(upstream.address, "[store]\nkind = \"memory\"\n[decision]\naddress = \"127.0.0.1:0\"\n", |_| {});
    let written = cases().into_iter().map(|(case, expected)| (expected != Verdict::Refused, case));
    let swept = sweep().map(|case| (by_http1(&rig, &upstream, &case) != Verdict::Refused, case));
    let (mut asked, mut faults) = (0, Vec::new());
    for (passes, case) in written.chain(swept) {
        let Some(question) = question(&case) else { continue };
        let mut client = Client::connect(rig.decision_address());
        client.send(&question);
        client.end_sending();
        let status = client.response().status;
        let expected = if passes && !case.path.contains(&b'#') { 200 } else { 400 };
        asked += 1;
        if status != expected {
            faults.push(format!("{status} instead of {expected} for {case:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(asked > 1000, "{asked}");
}
