//! Which responses of an upstream become sessions, and what the log says of those that do not.

use bytes::Bytes;
use http::Response;

use crate::config::Settings;
use crate::endpoints::grant::{self, NoSession};
use crate::proxy::control::UpstreamResponse;

/// Whose session the response becomes, or why none.
fn judged(login: &str, status: u16, body: &str) -> Result<String, String> {
    let settings = Settings::from_toml(&format!("upstreams.default.url = 'http://127.0.0.1:1'\n[login]\n{login}")).unwrap();
    let head = Response::builder().status(status).header("content-type", "application/json").body(()).unwrap().into_parts().0;
    let response = UpstreamResponse { head, body: Bytes::copy_from_slice(body.as_bytes()) };
    grant::judge(&response, &settings.login, true).map(|granted| granted.subject.to_string()).map_err(|cause| match cause {
        NoSession::NobodyNamed { id_at } => format!("an id at {}", id_at.unwrap_or_default()),
        other => format!("{other:?}"),
    })
}

fn by_default(body: &str) -> Result<String, String> {
    judged("", 200, body)
}

#[test]
fn an_id_of_an_object_that_stands_for_the_user_makes_a_session() {
    for (body, subject) in [
        (r#"{"user":{"id":42}}"#, "42"),
        (r#"{"user":{"_id":"65a1"},"token":"t"}"#, "65a1"),
        (r#"{"data":{"user":{"uuid":"u-1"}}}"#, "u-1"),
        (r#"{"account":{"id":"a"}}"#, "a"),
        (r#"{"profile":{"userId":-7}}"#, "-7"),
        // As dj-rest-auth, Strapi, Supabase, allauth and Fortify's own front ends have it.
        (r#"{"access":"a","refresh":"r","user":{"pk":1,"username":"ada","email":"a@example.com"}}"#, "1"),
        (r#"{"jwt":"j","user":{"id":1,"confirmed":true,"blocked":false}}"#, "1"),
        (r#"{"access_token":"a","user":{"id":"5f","email_confirmed_at":"2026-01-01T00:00:00Z"}}"#, "5f"),
        (
            r#"{"status":200,"data":{"user":{"id":123},"methods":[{"method":"password"}]},"meta":{"is_authenticated":true}}"#,
            "123",
        ),
        (r#"{"two_factor":false,"user":{"id":3,"two_factor":true,"emailVerified":false}}"#, "3"),
        // A user who has second factors, and has shown one.
        (r#"{"user":{"id":"4","mfaInfo":[{"factorId":"totp"}],"twoFactor":true}}"#, "4"),
    ] {
        assert_eq!(by_default(body).as_deref(), Ok(subject), "{body}");
    }
}

#[test]
fn an_id_elsewhere_makes_none_until_it_is_named_and_the_warning_names_it() {
    for (body, pointer) in [
        (r#"{"id":"req-1"}"#, "/id"),
        (r#"{"id":"req-1","userId":"42"}"#, "/userId"),
        (r#"{"id":1,"data":{"id":"u","type":"user"}}"#, "/id"),
        (r#"{"data":{"id":"u","attributes":{"name":"Ada"}}}"#, "/data/id"),
        (r#"{"id":"req-1","result":{"member":{"id":5}}}"#, "/result/member/id"),
        (r#"{"localId":"firebase"}"#, "/localId"),
        (r#"{"user":"user-1","session":{"user_id":"u"}}"#, "/session/user_id"),
    ] {
        assert_eq!(by_default(body), Err(format!("an id at {pointer}")), "{body}");
        let named = judged(&format!("subject = ['{pointer}']"), 200, body);
        assert!(named.is_ok(), "{body}: what was advised works: {named:?}");
    }
}

/// What the advice is made of goes to the log.
#[test]
fn the_advice_holds_no_names_or_values_of_the_response_but_those_that_are_known() {
    for body in [
        r#"{"hunter2":{"id":"secret"}}"#,
        r#"{"users":{"ada@example.com":{"id":"secret"}}}"#,
        r#"{"user":{"ada@example.com":"secret"}}"#,
        r#"{"id":{"secret":1}}"#,
        r#"{"id":1.5,"userId":""}"#,
        "{}",
    ] {
        assert_eq!(by_default(body), Err("an id at ".to_owned()), "{body}");
    }
}

#[test]
fn the_first_pointer_that_leads_to_anything_decides() {
    let bad = ["1.5", "1e400", "12345678901234567890123", "\"\"", "\"a\\nb\"", "\"\\u0000\"", "true", "{}", "[1]", "null"];
    let long = format!("\"{}\"", "x".repeat(256));
    for id in bad.into_iter().chain([long.as_str()]) {
        let body = format!(r#"{{"user":{{"id":{id},"uuid":"other"}},"account":{{"id":"tenant"}}}}"#);
        let judged = by_default(&body);
        assert!(judged.as_ref().is_err_and(|cause| cause.contains("/user/id") || cause == "NotOneObject"), "{id}: {judged:?}");
    }
    assert_eq!(by_default(r#"{"user":{"uuid":"u"},"account":{"id":"tenant"}}"#).as_deref(), Ok("u"));
    assert_eq!(judged("subject = ['/b', '/a']", 200, r#"{"a":"first","b":"second"}"#).as_deref(), Ok("second"));
}

#[test]
fn challenges_pending_verifications_and_errors_make_no_session() {
    let user = r#""user":{"id":"42"}"#;
    for says in [
        r#""mfaRequired":true"#,
        r#""mfa_required":true"#,
        r#""MFARequired":1"#,
        r#""mfa":true,"ticket":"t","token":null"#,
        r#""requires2fa":"totp""#,
        r#""two_factor":true"#,
        r#""twoFactorRequired":true"#,
        r#""RequiresTwoFactor":true"#,
        r#""otp_required":true"#,
        r#""mfa_token":"m""#,
        r#""challenge":{"type":"webauthn"}"#,
        r#""ChallengeName":"SMS_MFA","Session":"s""#,
        r#""mfaPendingCredential":"p","mfaInfo":[{}]"#,
        r#""status":"MFA_REQUIRED","stateToken":"s""#,
        r#""data":{"mfa_required":true}"#,
        r#""verificationRequired":true"#,
        r#""email_verification_required":true"#,
        r#""UserConfirmed":false"#,
        r#""session":null"#,
        r#""status":"pending""#,
        r#""state":"verification_mail_sent""#,
        r#""success":false"#,
        r#""Success":false"#,
        r#""ok":false"#,
        r#""data":{"success":false}"#,
        r#""error":"locked""#,
        r#""errors":[{"code":1}]"#,
        r#""error":true"#,
        r#""data":{"error_code":"LOCKED"}"#,
        r#""meta":{"is_authenticated":false}"#,
        r#""success":"false""#,
        r#""ok":"FALSE""#,
        r#""status":"ERROR""#,
        r#""data":{"status":"Failed"}"#,
        r#""2fa":true"#,
        r#""two_factor_auth_required":true"#,
        r#""state":"pending""#,
        r#""pending":true"#,
    ] {
        let judged = by_default(&format!("{{{user},{says}}}"));
        assert!(judged.as_ref().is_err_and(|cause| cause.starts_with("Says")), "{says}: {judged:?}");
    }
    for inside in [
        r#""mfaRequired":true"#,
        r#""pending_verification":true"#,
        r#""error":"e""#,
        r#""confirmed":false"#,
        r#""status":"locked""#,
        r#""status":"pending_verification""#,
        r#""unverified":true"#,
    ] {
        assert!(by_default(&format!(r#"{{"user":{{"id":"42",{inside}}}}}"#)).is_err(), "{inside}");
    }
}

#[test]
fn what_says_that_all_is_well_is_believed() {
    let user = r#""user":{"id":"42"}"#;
    for says in [
        r#""error":null"#,
        r#""error":false"#,
        r#""error":"""#,
        r#""errors":[]"#,
        r#""errors":{}"#,
        r#""errorCode":0"#,
        r#""success":true"#,
        r#""success":1"#,
        r#""ok":true"#,
        r#""status":"ok""#,
        r#""status":"success""#,
        r#""status":200"#,
        r#""mfaRequired":false"#,
        r#""mfa_token":null"#,
        r#""challenge":null"#,
        r#""session":{"id":"s"}"#,
        r#""message":"error-free since 2019""#,
        r#""settings":{"mfaRequired":true,"error":"none"}"#,
        r#""error":0"#,
        r#""data":{"status":"active"}"#,
        r#""verified":false"#,
        r#""pending":3"#,
    ] {
        assert_eq!(by_default(&format!("{{{user},{says}}}")).as_deref(), Ok("42"), "{says}");
    }
}

#[test]
fn the_operator_decides_what_must_hold_and_what_must_not() {
    let login = "requires = ['/status=active', '/token']\nunless = ['/locked']";
    let body = |text: &str| format!(r#"{{"user":{{"id":"42"}},{text}}}"#);
    assert_eq!(judged(login, 200, &body(r#""status":"active","token":"t","mfaRequired":true"#)).as_deref(), Ok("42"));
    for (says, cause) in [
        (r#""status":"active""#, "Lacks(\"/token\")"),
        (r#""status":"frozen","token":"t""#, "Lacks(\"/status=active\")"),
        (r#""token":"t""#, "Lacks(\"/status=active\")"),
        (r#""status":"active","token":"t","locked":true"#, "Says(\"/locked\")"),
    ] {
        assert_eq!(judged(login, 200, &body(says)), Err(cause.to_owned()), "{says}");
    }
}

#[test]
fn a_response_without_room_for_the_tokens_makes_no_session() {
    let members = "members = { access_token = ['/data/token', '/tokens/access'], refresh_token = '/tokens/refresh' }";
    let body = |text: &str| format!(r#"{{"user":{{"id":"42"}},{text}}}"#);
    for room in [r#""data":{},"tokens":{}"#, r#""data":"x""#, r#""tokens":null"#, r#""tokens":{"access":1}"#] {
        assert_eq!(judged(members, 200, &body(room)).as_deref(), Ok("42"), "{room}");
    }
    for taken in [r#""tokens":"x""#, r#""data":1,"tokens":[]"#] {
        assert_eq!(judged(members, 200, &body(taken)), Err("NoRoom".to_owned()), "{taken}");
    }
}

#[test]
fn only_the_statuses_of_the_settings_make_sessions() {
    let body = r#"{"user":{"id":"42"}}"#;
    for (login, status, is_granted) in [
        ("", 200, true),
        ("", 201, true),
        ("", 202, false),
        ("", 203, false),
        ("", 207, false),
        ("", 299, false),
        ("", 302, false),
        ("", 401, false),
        ("statuses = [202]", 202, true),
        ("statuses = [202]", 200, false),
    ] {
        assert_eq!(judged(login, status, body).is_ok(), is_granted, "{login} {status}");
    }
    assert_eq!(judged("", 202, body), Err("Status".to_owned()), "which the warning names");
}

#[test]
fn a_response_that_says_a_thing_twice_makes_no_session() {
    for body in [
        r#"{"user":{"id":"1"},"user":{"id":"2"}}"#,
        r#"{"user":{"id":"1","id":"2"}}"#,
        r#"{"mfaRequired":true,"user":{"id":"1"},"mfaRequired":false}"#,
        r#"{"user":{"id":"1"},"us\u0065r":{"id":"1"}}"#,
    ] {
        assert_eq!(by_default(body), Err("Repeats".to_owned()), "{body}");
    }
}
