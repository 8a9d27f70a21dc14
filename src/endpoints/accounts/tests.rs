use http::Request;

use super::*;
use crate::config::Settings;

/// By the default names: a type (`""`: none), and a body.
fn read_as(content_type: &str, body: impl AsRef<[u8]>) -> Result<Reading, Unreadable> {
    let fields: &[(&str, &str)] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
    read_with("/login", fields, body)
}

fn read_with(target: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Result<Reading, Unreadable> {
    let settings = Settings::from_toml("upstreams.default.url = 'http://127.0.0.1:1'").unwrap();
    let mut request = Request::builder().method("POST").uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    read(&request.body(()).unwrap().into_parts().0, body.as_ref(), &settings.limits.login.account)
}

/// A reading without what is said of each account.
#[derive(PartialEq, Eq, Debug)]
struct Plain {
    accounts: Vec<String>,
    is_readable: bool,
}

fn plain(reading: Result<Reading, Unreadable>) -> Result<Plain, Unreadable> {
    reading.map(|Reading { accounts, is_readable }| Plain {
        accounts: accounts.into_iter().map(|named| named.account).collect(),
        is_readable,
    })
}

fn accounts(content_type: &str, body: impl AsRef<[u8]>) -> Vec<String> {
    let reading = plain(read_as(content_type, body)).unwrap();
    assert!(reading.is_readable);
    reading.accounts
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn every_account_in_json_counts() {
    for body in [
        r#"{"email":"ada"}"#,
        r#"{"EMAIL":" ADA "}"#,
        r#"{"e_mail":"ada"}"#,
        r#"{"\u0065mail":"\u0061d\u0061"}"#,
        r#"{"user":{"email":"ada","password":"x"}}"#,
        r#"{"data":{"attributes":{"username":"ada"}}}"#,
        r#"[{"login":"ada"}]"#,
        r#"{"email":["ada"]}"#,
        r#"{"email":{"$eq":"ada"}}"#,
        r#"{"email":{"value":"ada"}}"#,
        r#"{"name":"ada"}"#,
        "\u{feff}{\"email\":\"ada\"}",
        " \r\n\t{\"email\" : \"ada\"} \n",
        r#"{"email":"ada","email":"ada"}"#,
        r#"{"x":"\ud800","email":"ada","y":"\udc00\ud800"}"#,
        r#"{"email":"ada","password":"e=mail&email=p"}"#,
        r#"{"body":"{\"email\":\"ada\"}"}"#,
        r#"{"a":"[{\"b\":\"{\\\"user\\\":{\\\"email\\\":\\\"ada\\\"}}\"}]"}"#,
        r#"{"body":"{\"name\":\"ada\"}"}"#,
        r#"{"data":{"type":"sessions","attributes":{"email":"ada","password":"x"}}}"#,
        r#"{"email":"ada","redirect":"https://app.example.com/?user=1&login=2"}"#,
    ] {
        for content_type in [JSON, "application/vnd.api+json; charset=UTF-8", "text/plain", "text/json", ""] {
            assert_eq!(accounts(content_type, body), ["ada"], "{content_type} {body}");
        }
    }
    assert_eq!(accounts(JSON, b"{\"x\":\"\xff\",\"email\":\"ada\"}"), ["ada"], "bytes that are no UTF-8");
    assert_eq!(accounts(JSON, "{\"x\":\"\u{1}\",\"email\":\"ada\"}"), ["ada"], "a control character");
    assert_eq!(accounts(JSON, r#"{"email":"😀\ud83d\ude00"}"#), ["😀😀"]);
}

#[test]
fn a_decoy_counts_beside_the_account() {
    for body in [
        r#"{"email":"decoy","username":"ada"}"#,
        r#"{"email":"decoy","email":"ada"}"#,
        r#"{"email":"decoy","EMAIL":"ada"}"#,
        r#"{"email":["decoy","ada"]}"#,
        r#"{"email":"decoy","user":{"login":"ada"}}"#,
        r#"{"email":{"$in":["decoy","ada"]}}"#,
    ] {
        assert_eq!(accounts(JSON, body), ["decoy", "ada"], "{body}");
    }
}

#[test]
fn numbers_count_as_their_text() {
    for number in ["42", "42.0", "4.2e1", "420e-1", "\"42\"", "\" 42 \""] {
        assert_eq!(accounts(JSON, format!(r#"{{"phone":{number}}}"#)), ["42"], "{number}");
    }
    assert_eq!(
        accounts(JSON, r#"{"phone":-1.5,"userId":123456789012345678901234567890}"#),
        ["-1.5", "123456789012345678901234567890"]
    );
    assert!(accounts(JSON, r#"{"email":null,"login":true,"user":{},"username":""}"#).is_empty());
}

#[test]
fn what_is_the_same_for_many_users_is_no_account() {
    let body = r#"{"username":"ada","device":{"name":"iPhone","identifier":"com.example.app","user":"android"},
                   "app":{"login":"v2"},"company":{"name":"ACME"},"grant_type":"password"}"#;
    assert_eq!(accounts(JSON, body), ["ada"]);
}

#[test]
fn forms_and_queries_count() {
    for body in [
        "email=ada",
        "EMAIL=ADA&password=x",
        "user%5Bemail%5D=ada",
        "user[email]=ada",
        "user.email=ada",
        "user.name=ada",
        "email[]=ada",
        "email[0]=ada",
        "email%5B%24eq%5D=ada",
        "e%6Dail=a%64a+",
        "%u0065mail=ad%u0061",
        "a=1;email=ada",
        "email%00x=ada",
        "_username=ada&_password=x",
        "j_username=ada",
        "data={\"user\":{\"email\":\"ada\"}}",
        "data={\"name\":\"ada\"}&device={\"name\":\"iPhone\"}",
        "query=mutation{login(email:\"ada\",password:\"x\"){token}}",
        "+email=ada",
    ] {
        assert_eq!(accounts(FORM, body), ["ada"], "{body}");
        assert_eq!(accounts("application/x-www-form-urlencoded;charset=iso-8859-1", body), ["ada"], "{body}");
        for content_type in ["", "text/plain"] {
            assert_eq!(accounts(content_type, body), ["ada"], "{content_type} {body}");
        }
    }
    assert_eq!(accounts(FORM, "email=decoy&email=ada&username=eve"), ["decoy", "ada", "eve"]);
    assert_eq!(accounts(FORM, r#"{"email":"ada"}"#), ["ada"], "curl sends JSON so when it is not told otherwise");
    assert_eq!(accounts(FORM, r#"["&email=ada&"]"#), ["ada"], "JSON and a form at once");
    let reading = read_with("/login?email=ada", &[("content-type", JSON)], r#"{"email":"eve"}"#);
    assert_eq!(plain(reading).unwrap().accounts, ["ada", "eve"]);
}

#[test]
fn the_user_of_basic_and_digest_credentials_counts() {
    for field in [
        "Basic YWRhOnB3",
        "basic  YWRhOnB3",
        "BASIC YWRhOnB3==",
        "Basic\tYW Rh!OnB3",
        "Basic QURBOnB3",
        "Basic YWRhOnB3M",
        "Basic YWRhOnB",
        "Digest username=\"ada\", realm=\"api\", uri=\"/login\", response=\"0\"",
        "digest realm=\"a\",USERNAME = ada,nonce=\"b\"",
        "Digest username*=UTF-8''%61da, realm=\"api\"",
        "Digest username=\"a\\da\"",
    ] {
        let reading = plain(read_with("/login", &[("authorization", field)], ""));
        assert_eq!(reading, Ok(Plain { accounts: vec!["ada".to_owned()], is_readable: true }), "{field}");
    }
    let two = "Digest realm=\"username=eve\", username=\"ada\"";
    assert!(plain(read_with("/login", &[("authorization", two)], "")).unwrap().accounts.contains(&"ada".to_owned()));
    for field in ["Bearer YWRhOnB3", "Basic", "Digest realm=\"api\"", "Digest username", "Digest username*", "Digest"] {
        assert!(read_with("/login", &[("authorization", field)], "").unwrap().accounts.is_empty(), "{field}");
    }
    let many = format!("Digest {}", "username=".repeat(5000));
    assert!(read_with("/login", &[("authorization", &many)], "").is_ok());
}

fn multipart(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("--b\r\n{part}\r\n")).collect();
    format!("{}--b--\r\n", parts.concat())
}

#[test]
fn parts_count_by_their_names() {
    let read = |content_type: &str, parts: &[&str]| read_as(content_type, multipart(parts));
    let multi = "multipart/form-data; boundary=b";
    for part in [
        "Content-Disposition: form-data; name=\"email\"\r\n\r\nada",
        "content-disposition:form-data;name=email\r\n\r\nADA",
        "Content-Disposition: form-data; filename=\"x;y\"; name=\"user[email]\"\r\nContent-Type: text/plain\r\n\r\nada",
        "Content-Disposition: form-data; filename=\"x\\\"; name=\"email\"\r\n\r\nada",
        "Content-Disposition: form-data; name=\"decoy\"; name=\"email\"\r\n\r\nada",
        "Content-Disposition: form-data; NAME = \"email\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nada",
        "Content-Disposition: form-data; name=\"e\\mail\"\r\n\r\nada",
        "Content-Disposition: form-data; name=\"credentials\"\r\nContent-Type: application/json\r\n\r\n{\"email\":\"ada\"}",
    ] {
        for content_type in [multi, "Multipart/Form-Data; charset=utf-8; boundary=\"b\""] {
            let other = "Content-Disposition: form-data; name=\"password\"\r\n\r\n";
            let expected = Plain { accounts: vec!["ada".to_owned()], is_readable: true };
            assert_eq!(plain(read(content_type, &[other, part])), Ok(expected), "{part}");
        }
    }
}

#[test]
fn parts_that_readers_take_differently_are_refused() {
    let multi = "multipart/form-data; boundary=b";
    let plain = "Content-Disposition: form-data; name=\"email\"\r\n\r\nada";
    for part in [
        "Content-Disposition: form-data; name=\"email\"\n\nada",
        "Content-Disposition: form-data;\r\n name=\"email\"\r\n\r\nada",
        "Content-Disposition: form-data; name*=utf-8''email\r\n\r\nada",
        "Content-Disposition: form-data; name*0=em; name*1=ail\r\n\r\nada",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nada",
        "Content-Disposition: form-data; name=\"email\"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\nada",
        "X: y\r\n\r\nada",
        "ada",
    ] {
        assert!(matches!(read_as(multi, multipart(&[part])), Err(Unreadable::Malformed(_))), "{part}");
    }
    for encoded in ["Content-Transfer-Encoding: base64", "Content-Type: text/plain; charset=utf-16", "Content-Encoding: gzip"] {
        let part = format!("Content-Disposition: form-data; name=\"email\"\r\n{encoded}\r\n\r\nYWRh");
        assert_eq!(read_as(multi, multipart(&[&part])), Err(Unreadable::Encoded), "{encoded}");
    }
    for content_type in ["multipart/form-data", "multipart/form-data; boundary=b; boundary=c", "multipart/form-data; boundary*=b"]
    {
        assert!(matches!(read_as(content_type, multipart(&[plain])), Err(Unreadable::Malformed(_))), "{content_type}");
    }
    for body in ["--b\r\n\r\n", "", "x", "--c--\r\n", "preamble\r\n--b--\r\n"].iter().filter(|body| !body.is_empty()) {
        assert!(matches!(read_as(multi, body), Err(Unreadable::Malformed(_))), "{body}");
    }
}

#[test]
fn what_is_called_json_and_is_none_is_refused() {
    for body in [
        "email=ada",
        "{'email':'ada'}",
        "{email:\"ada\"}",
        "{\"email\":\"ada\"}x",
        "{\"email\":\"decoy\"}{\"email\":\"ada\"}",
        "{\"email\":\"ada\",}",
        "{\"email\":\"ada\"} //",
        "{\"email\":\"ad\\a\"}",
        "{\"phone\":042}",
        "{\"email\":\"ada\"",
        &"[".repeat(100_000),
    ] {
        assert!(matches!(read_as(JSON, body), Err(Unreadable::Malformed(_))), "{}", &body[..body.len().min(40)]);
    }
    let utf16: Vec<u8> = r#"{"email":"ada"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(matches!(read_as(JSON, utf16), Err(Unreadable::Malformed(_))));
}

#[test]
fn what_is_compressed_or_in_another_character_set_is_refused() {
    for encoding in ["gzip", "br", "deflate", "zstd", "x-gzip", "identity, gzip", "aes128gcm"] {
        let fields = [("content-type", JSON), ("content-encoding", encoding)];
        assert_eq!(read_with("/login", &fields, r#"{"email":"ada"}"#), Err(Unreadable::Encoded), "{encoding}");
    }
    let fields = [("content-type", JSON), ("content-encoding", "identity")];
    assert!(read_with("/login", &fields, r#"{"email":"ada"}"#).is_ok());
    for charset in ["utf-16", "utf-7", "UTF-32LE", "ibm037", "iso-2022-jp", "\"utf-16\""] {
        let content_type = format!("{JSON}; charset={charset}");
        assert_eq!(read_as(&content_type, r#"{"email":"ada"}"#), Err(Unreadable::Encoded), "{charset}");
    }
    for charset in ["utf-8", "UTF8", "\"utf-8\"", "us-ascii", "ISO-8859-1"] {
        assert_eq!(accounts(&format!("{JSON}; charset={charset}"), r#"{"email":"ada"}"#), ["ada"], "{charset}");
    }
}

#[test]
fn honest_bodies_without_an_account_are_readable_and_other_types_are_told_apart() {
    for (content_type, body) in [
        ("", ""),
        (JSON, ""),
        (JSON, "  \n"),
        (JSON, "{}"),
        (
            JSON,
            r#"{"id":"AbC","rawId":"AbC","type":"public-key","response":{"clientDataJSON":"e30","signature":"x","userHandle":"h"}}"#,
        ),
        (JSON, r#"{"mfaToken":"t","code":"123456"}"#),
        (FORM, "code=123456"),
        (FORM, "SAMLResponse=PHNhbWw%2B"),
        ("application/x-ndjson", "{}\n"),
        (JSON, r#"{"query":"what a name may be","password":"{[not json"}"#),
        (JSON, r#"{"query":"query Me { me { id email } }","variables":{}}"#),
    ] {
        let expected = Plain { accounts: Vec::new(), is_readable: true };
        assert_eq!(plain(read_as(content_type, body)), Ok(expected), "{content_type} {body}");
    }
    for (content_type, body) in [
        ("application/protobuf", "\x0a\x03ada"),
        ("application/octet-stream", "\0\0"),
        ("text/xml", "<login><email>ada</email></login>"),
        ("application/soap+xml; charset=utf-8", "<s:Envelope><s:Body><Login><email>ada</email></Login></s:Body></s:Envelope>"),
        ("application/x-ndjson", "{\"a\":1}\n{\"email\":\"ada\"}\n"),
        ("application/jsonl", "{\"email\":\"ada\"}\n{}"),
        ("application/json-seq", "\x1e{\"email\":\"ada\"}\n"),
        ("application/json5", "{email: 'ada'}"),
        ("application/yaml", "email: ada"),
        ("application/graphql", "mutation {"),
        (JSON, r#"{"query":"mutation { login(email: \"ada\" "}"#),
        (JSON, r#"{"query":"{ login(email: 'ada') }"}"#),
        ("text/plain", "ada secret"),
        ("", "\u{1}"),
    ] {
        assert_eq!(read_as(content_type, body).map(|reading| reading.is_readable), Ok(false), "{content_type} {body}");
    }
}

/// Some APIs read JSON whatever type they are told, in every encoding that Python knows, XML or binary formats.
#[test]
fn what_is_called_a_form_and_may_be_something_else_is_not_readable() {
    let utf16: Vec<u8> = r#"{"username":"ada"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [
        br#"{"z":nan,"username":"ada"}"#.as_slice(),
        br#"{"a&email=decoy&":1,'username':"ada"}"#,
        br#"{"email":"decoy"}{"username":"ada"}"#,
        b" [1,]&email=decoy",
        b"<login a='&email=decoy&'><email>ada</email></login>",
        b"\x82\xa8username\xa3ada\xa1z\xafx&email=decoy&y",
        b"email: ada",
        &utf16,
        &[b"\xff\xfe".as_slice(), &utf16].concat(),
    ] {
        for content_type in [FORM, "text/plain", ""] {
            let reading = read_as(content_type, body);
            assert_eq!(reading.map(|reading| reading.is_readable), Ok(false), "{content_type} {}", body.escape_ascii());
        }
    }
    for body in [r#"{"z":NaN,"username":"ada"}"#, r#"[Infinity,-Infinity,-1,{"username":"ada"}]"#] {
        for content_type in [FORM, "text/plain", "", JSON] {
            assert_eq!(accounts(content_type, body), ["ada"], "{content_type} {body}");
        }
    }
}

#[test]
fn a_part_that_says_its_name_again_and_again_is_refused_at_little_cost() {
    let read = |disposition: &str| {
        read_as("multipart/form-data; boundary=b", multipart(&[&format!("Content-Disposition: {disposition}\r\n\r\nada")]))
    };
    assert!(matches!(read(&format!("form-data; {}", "name=;".repeat(10_000))), Err(Unreadable::Malformed(_))));
    assert!(read(&format!("form-data; name=a; {}", "rename=;".repeat(10_000))).is_ok());
    assert_eq!(plain(read("form-data; name=\"email\"; filename=\"my name*.png\"")).unwrap().accounts, ["ada"], "an honest file");
}

#[test]
fn the_user_of_basic_may_be_a_client_where_a_grant_is_asked_for() {
    let with_basic = |body: &str| {
        let reading = read_with("/login", &[("content-type", FORM), ("authorization", "Basic YWRhOnB3")], body).unwrap();
        assert!(reading.is_readable);
        reading.accounts.into_iter().map(|named| (named.account, named.is_doubtful)).collect::<Vec<_>>()
    };
    let of = |accounts: &[(&str, bool)]| accounts.iter().map(|(name, doubt)| ((*name).to_owned(), *doubt)).collect::<Vec<_>>();
    assert_eq!(with_basic("grant_type=password&username=eve"), of(&[("eve", false), ("ada", true)]));
    assert_eq!(with_basic("grant_type=password&username=ada"), of(&[("ada", false)]));
    assert_eq!(with_basic("grant_type=password"), of(&[("ada", false)]));
    assert_eq!(with_basic("username=eve"), of(&[("eve", false), ("ada", false)]));
    assert_eq!(accounts(FORM, "grant_type=password&username=eve"), ["eve"]);
}

#[test]
fn the_text_of_a_button_is_in_doubt() {
    let doubtful = |body: &str| {
        let reading = read_as(FORM, body).unwrap();
        reading.accounts.iter().filter(|named| named.is_doubtful).count()
    };
    for text in [
        "Login",
        "LOG+IN",
        "Log-in",
        "Sign+in+to+Acme",
        "1",
        "Se+connecter",
        "Войти",
        "ログイン",
        "로그인",
        "→",
        "Login+»",
        "giriş",
    ] {
        assert_eq!(doubtful(&format!("username=ada&login={text}")), 1, "{text}");
        assert_eq!(doubtful(&format!("login={text}")), 1, "{text}");
        assert_eq!(doubtful(&format!("username={text}")), 0, "{text}");
    }
    for text in ["ada", "ada@example.com", "Ada+<ada@example.com>", "+49+170", "admin", "login1"] {
        assert_eq!(doubtful(&format!("login={text}")), usize::from(text == "+49+170"), "{text}");
    }
}

#[test]
fn a_login_names_few_accounts() {
    let body = |count: usize| {
        let accounts: Vec<String> = (0..count).map(|number| format!("\"a{number}\"")).collect();
        format!(r#"{{"email":[{}]}}"#, accounts.join(","))
    };
    assert_eq!(accounts(JSON, body(ACCOUNTS_MAX)).len(), ACCOUNTS_MAX);
    assert_eq!(read_as(JSON, body(ACCOUNTS_MAX + 1)), Err(Unreadable::TooManyAccounts));
    assert_eq!(read_as(JSON, body(5000)), Err(Unreadable::TooManyAccounts));
}

fn of_graphql(document: &str, variables: &str) -> Vec<(String, usize)> {
    let body = format!(r#"{{"query":{},"variables":{variables}}}"#, serde_json::to_string(document).unwrap());
    let other_order = format!(r#"{{"variables":{variables},"query":{}}}"#, serde_json::to_string(document).unwrap());
    let named = |body: &str| {
        let reading = read_as(JSON, body).unwrap();
        assert!(reading.is_readable, "{body}");
        reading.accounts.into_iter().map(|named| (named.account, named.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(named(&body), named(&other_order));
    named(&body)
}

#[test]
fn accounts_in_graphql_documents_count() {
    for document in [
        r#"mutation { login(email: "ada", password: "x") { token } }"#,
        r#"mutation{login(password:"email",email:"ada"){token}}"#,
        "mutation { login(input: {credentials: {email: \"ada\", password: \"x\"}}) { token } }",
        "mutation Login { login(emails: [\"x\"], email: [\"ada\"]) { token } }",
        r#"mutation { login(email: "\u0061d\u{61}") { token } }"#,
        "mutation { login(email: \"\"\"\n    ada\n  \"\"\", password: \"\"\"x \\\"\"\" email: \"\"\") { token } }",
        "\u{feff}# a comment: \"\n mutation # {\n { login(email: # (\n \"ada\") { token } }",
        "{ login(name: \"ada\") }",
        "query @client { me { ...F } } fragment F on User @a(b: 1) { login(email: \"ada\") @include(if: true) { t } }",
        "{ a: login(email: \"ADA\") { ... on T { x(first: 10, where: {o: null}) { y } } } }",
        "mutation ($x: String! = \"ada\") { login(email: $x) { token } }",
        "mutation ($x: In = {who: {email: \"ada\"}}) { login(input: $x) { token } }",
    ] {
        assert_eq!(of_graphql(document, "{}"), [("ada".to_owned(), 1)], "{document}");
        assert_eq!(accounts("application/graphql", document), ["ada"], "{document}");
        let form = format!("query={}", form_urlencoded::byte_serialize(document.as_bytes()).collect::<String>());
        assert_eq!(accounts(FORM, form), ["ada"], "{document}");
    }
    assert_eq!(of_graphql("{ login(phone: 4.2e1, userId: 7) }", "{}"), [("42".to_owned(), 1), ("7".to_owned(), 1)]);
    let in_the_query = read_with("/login?query=%7Blogin(email:%22ada%22)%7D", &[], "");
    assert_eq!(plain(in_the_query).unwrap().accounts, ["ada"]);
    let upload = "Content-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"{login(email:\\\"ada\\\")}\"}";
    assert_eq!(plain(read_as("multipart/form-data; boundary=b", multipart(&[upload]))).unwrap().accounts, ["ada"]);
}

#[test]
fn variables_of_graphql_count_by_what_they_are_used_for() {
    let ada = [("ada".to_owned(), 1)];
    for (document, variables) in [
        ("mutation ($a: String!, $b: String!) { login(email: $a, password: $b) { t } }", r#"{"a":"ada","b":"x"}"#),
        ("mutation ($email: String!) { login(email: $email) { t } }", r#"{"email":"ada"}"#),
        ("mutation ($i: In!) { login(input: $i) { t } }", r#"{"i":{"user":{"email":"ada"},"x":"y"}}"#),
        ("mutation ($i: String!) { login(input: {auth: {email: $i}}) { t } }", r#"{"i":"ada"}"#),
        ("mutation ($i: [String!]) { login(email: $i) { t } }", r#"{"i":["ada"]}"#),
        ("mutation ($n: String) { login(name: $n) { t } }", r#"{"n":"ada"}"#),
        ("mutation ($i: In) { login(where: $i) { t } }", r#""{\"i\":{\"email\":\"ada\"}}""#),
    ] {
        assert_eq!(of_graphql(document, variables), ada, "{document}");
    }
    assert!(of_graphql("mutation ($p: String) { login(password: $p) { t } }", r#"{"p":"secret"}"#).is_empty());
    let batch = r#"[{"query":"mutation($x:String){login(email:$x){t}}","variables":{"x":"ada"}}]"#;
    assert_eq!(accounts(JSON, batch), ["ada"]);
}

#[test]
fn each_login_of_one_request_counts() {
    let fields: Vec<String> = (0..5).map(|guess| format!("g{guess}: login(email: $e, password: \"{guess}\") {{ t }}")).collect();
    let document = format!("mutation ($e: String) {{ {} }}", fields.join(" "));
    assert_eq!(of_graphql(&document, r#"{"e":"ada"}"#), [("ada".to_owned(), 5)]);
    assert_eq!(of_graphql(&document.replace("$e,", "\"ada\","), "{}"), [("ada".to_owned(), 5)]);
    let both_names = r#"mutation { login(email: "ada", username: "ada") { t } }"#;
    assert_eq!(of_graphql(both_names, "{}"), [("ada".to_owned(), 1)]);
    let batch: Vec<String> = (0..3).map(|guess| format!(r#"{{"id":"q","variables":{{"email":"ada","p":"{guess}"}}}}"#)).collect();
    let batch = read_as(JSON, format!("[{}]", batch.join(","))).unwrap();
    assert_eq!(batch.accounts.iter().map(|named| named.attempts).collect::<Vec<_>>(), [3]);
    let many: Vec<String> = (0..=ACCOUNTS_MAX).map(|_| "login(email: \"ada\")".to_owned()).collect();
    let body = serde_json::json!({ "query": format!("{{ {} }}", many.join(" ")) });
    assert_eq!(read_as(JSON, body.to_string()), Err(Unreadable::TooManyAccounts));
}

#[test]
fn documents_are_followed_within_bounds() {
    let read_document = |document: String| read_as("application/graphql", document);
    for document in ["{a".repeat(30_000), format!("{{a(b:{}", "[".repeat(60_000)), format!("{{a(b:{}", "{c:".repeat(20_000))] {
        assert_eq!(plain(read_document(document)).map(|reading| reading.is_readable), Ok(false));
    }
    let uses: Vec<String> = (0..1000).map(|number| format!("f(x: $v{number})")).collect();
    let reading = plain(read_document(format!("{{ login(email: \"ada\") {} }}", uses.join(" ")))).unwrap();
    assert_eq!(reading, Plain { accounts: vec!["ada".to_owned()], is_readable: false });
}
