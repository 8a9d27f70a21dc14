//! A user with many sessions, who asks for the list of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::rig::Rig;
use super::upstream::Upstream;

#[test]
fn a_list_of_sessions_is_told_page_by_page_from_the_newest_on() {
    let rig = Rig::start(Upstream::echo().address);
    let tokens: Vec<String> = (0..5).map(|_| rig.log_in().access).collect();
    let ask = |query: &str| {
        let response = rig.get(&format!("/sessions{query}"), &tokens[0]);
        assert_eq!(response.status, 200, "{query}: {response:?}");
        let page: Value = serde_json::from_str(&response.body).unwrap();
        let ids: Vec<String> =
            page["sessions"].as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap().to_owned()).collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    let (all, none) = ask("");
    assert_eq!((all.len(), none), (5, None));
    // An id begins with its time; as bytes, for Base64 keeps no order.
    let bytes = |id: &String| URL_SAFE_NO_PAD.decode(id).unwrap();
    assert!(all.iter().map(bytes).is_sorted_by(|newer, older| newer > older), "newest first: {all:?}");
    let (first, next) = ask("?limit=2&_=1700000000");
    assert_eq!((&first[..], next.as_deref()), (&all[..2], Some(all[1].as_str())));
    let (second, next) = ask(&format!("?after={}&limit=2", next.unwrap()));
    assert_eq!((&second[..], next.as_deref()), (&all[2..4], Some(all[3].as_str())));
    assert_eq!(ask(&format!("?limit=2&after={}", next.unwrap())), (all[4..].to_vec(), None));
    for bad in
        ["limit=0", "limit=201", "limit=", "limit=x", "after=", "after=x", "limit=1&limit=2", "after=zzzzzzzzzzzzzzzzzzzzzg"]
    {
        let response = rig.get(&format!("/sessions?{bad}"), &tokens[0]);
        assert_eq!((response.status, response.code().as_str()), (400, "request_malformed"), "{bad}");
    }
}

#[test]
fn a_subject_has_a_thousand_sessions_and_no_more() {
    let settings = tokengate::config::Settings::from_toml("upstreams.default.url = 'http://127.0.0.1:1'").unwrap();
    assert_eq!(settings.sessions.per_subject_max, Some(1000));
}
