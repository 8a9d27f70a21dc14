//! Calls of gRPC are refused in their own form, and have the time that the caller gives.

use super::super::rig::{BODY_BYTES_MAX, Rig};
use super::super::upstream::Upstream;
use super::client::{End, Http2Client, Response, get, post};

fn call(rig: &Rig, path: &str, further: &[(&str, &str)]) -> Response {
    let mut client = Http2Client::connect(rig.address());
    let stream = client.begin(&[&post(path)[..], &[("content-type", "application/grpc"), ("te", "trailers")], further].concat());
    let response = client.response(stream);
    assert_eq!((response.end, response.body.as_str()), (End::Whole, ""), "{response:?}");
    response
}

fn status(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.field("grpc-status"))
}

#[test]
fn a_refusal_is_one_of_trailers_alone() {
    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let response = call(&rig, "/api", &[]);
    assert_eq!(status(&response), (200, Some("16")));
    assert_eq!(response.field("grpc-message"), Some("token_missing: This resource needs an access token."));
    assert_eq!((response.field("content-type"), response.field("www-authenticate")), (Some("application/grpc"), Some("Bearer")));
    assert!(response.field("x-request-id").is_some());
    let bearer = format!("Bearer {}", rig.log_in().access);
    assert_eq!(status(&call(&rig, "/scoped", &[("authorization", bearer.as_str())])), (200, Some("7")));
    assert_eq!(status(&call(&rig, "/nowhere", &[])), (200, Some("12")));
    let long = (BODY_BYTES_MAX + 1).to_string();
    assert_eq!(status(&call(&rig, "/public", &[("content-length", long.as_str())])), (200, Some("8")));
    let nobody = Rig::start(Upstream::nowhere());
    let mut client = Http2Client::connect(nobody.address());
    let unreachable = client.ask(&[&post("/public")[..], &[("content-type", "application/grpc+proto")]].concat());
    assert_eq!((status(&unreachable), unreachable.field("retry-after")), ((200, Some("14")), Some("1")));
    let other = client.ask(&[&get("/api")[..], &[("content-type", "application/json")]].concat());
    assert_eq!((other.status, other.field("grpc-status")), (401, None), "others are refused as ever");
}

#[test]
fn the_callers_time_counts_if_it_is_shorter_than_the_routes() {
    let upstream = Upstream::start(|conversation| {
        conversation.head();
        conversation.wait_for_end();
    });
    let rig = Rig::start(upstream.address);
    let began_at = tokio::time::Instant::now();
    let mut client = Http2Client::connect(rig.address());
    let fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "300m")];
    let response = client.ask(&[&post("/public")[..], &fields].concat());
    assert_eq!(status(&response), (200, Some("4")), "{response:?}");
    assert!(began_at.elapsed() < std::time::Duration::from_secs(5));
}
