//! Envoy's protocol of questions: `envoy.service.auth.v3.Authorization/Check`, one call of gRPC for each.
//!
//! Of each message, the fields are here that are read or written. What else comes is skipped, as protobuf has it.

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::{BufMut as _, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use prost::Message;

use crate::domain::cookies::NewCookies;
use crate::domain::field_list;
use crate::domain::headers::check_fields;
use crate::domain::headers::forwarded::X_FORWARDED_FOR;
use crate::domain::host::Host;
use crate::domain::question::{Dialect, Question};
use crate::proxy::reply::Reply;
use crate::proxy::request::grpc;

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Codes of gRPC (`google.rpc.Code`).
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

/// `APPEND_IF_EXISTS_OR_ADD`.
const APPEND: i32 = 0;
/// `OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Source>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
}

#[derive(Clone, PartialEq, Message)]
struct Source {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    /// With its query.
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "8")]
    fragment: String,
    /// In the place of `headers`, where Envoy is told so.
    #[prost(message, optional, tag = "13")]
    header_map: Option<Fields>,
}

#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(bytes = "vec", tag = "3")]
    raw_value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<FieldOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct HttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<FieldOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    /// Of the response to the client.
    #[prost(message, repeated, tag = "6")]
    response_headers_to_add: Vec<FieldOption>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Field>,
    /// For versions of Envoy that do not know the action.
    #[prost(message, optional, tag = "2")]
    append: Option<BoolValue>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BoolValue {
    #[prost(bool, tag = "1")]
    value: bool,
}

/// Whether a request is such a call.
pub(in crate::proxy) fn is_call(head: &Parts) -> bool {
    let is_at_path = head.version == Version::HTTP_2 && head.method == Method::POST && head.uri.path() == PATH;
    is_at_path && grpc::media_type(&head.headers).is_some()
}

/// The largest body of a call about a head of so many bytes, in which each field is framed.
pub(in crate::proxy) const fn bytes_max(header_bytes_max: usize) -> u64 {
    const BESIDE_FIELDS: u64 = 16 << 10;
    2 * header_bytes_max as u64 + BESIDE_FIELDS
}

/// The request in question, by the body of a call. Its fields take the place of those in `head`; it may have so many.
///
/// # Errors
/// Fixed text for the proxy's operator.
pub(in crate::proxy) fn read(body: &[u8], head: &mut Parts, fields_max: usize) -> Result<Question, &'static str> {
    const NO_MESSAGE: &str = "The call has not one uncompressed message.";
    let (prefix, message) = body.split_at_checked(PREFIX_BYTES).ok_or(NO_MESSAGE)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || usize::try_from(length) != Ok(message.len()) {
        return Err(NO_MESSAGE);
    }
    let request = CheckRequest::decode(message).map_err(|_| "The message is no CheckRequest.")?;
    let attributes = request.attributes.unwrap_or_default();
    let client = client(attributes.source).ok_or("The message does not say whose request it is: source.address is missing.")?;
    let http = attributes.request.and_then(|request| request.http);
    let http = http.ok_or("The message does not say about which request it is asked.")?;
    if !http.fragment.is_empty() {
        return Err("The path of the request in question is malformed.");
    }
    let question = Question {
        method: Method::from_bytes(http.method.as_bytes()).map_err(|_| "The method is none.")?,
        host: Host::parse(http.host.as_bytes()).map_err(|_| "The host is not valid.")?,
        target: http.path.clone(),
        dialect: Dialect::Grpc,
    };
    head.headers = fields(http, fields_max)?;
    tell_client(&mut head.headers, client);
    Ok(question)
}

fn client(source: Option<Source>) -> Option<IpAddr> {
    source?.address?.socket_address?.address.parse().ok()
}

/// The fields of the request in question. Those that HTTP/2 has in the place of a line must say what the message says.
fn fields(http: HttpRequest, fields_max: usize) -> Result<HeaderMap, &'static str> {
    let HttpRequest { method, headers, path, host, header_map, .. } = http;
    let from_map = headers.into_iter().map(|(key, value)| (key, value.into_bytes()));
    let raw = header_map.into_iter().flat_map(|map| map.headers).map(|Field { key, value, raw_value }| {
        let value = if raw_value.is_empty() { value.into_bytes() } else { raw_value };
        (key, value)
    });
    let mut fields = HeaderMap::new();
    for (key, value) in from_map.chain(raw) {
        let said = match key.to_ascii_lowercase().as_str() {
            ":method" => &method,
            ":path" => &path,
            ":authority" | "host" => &host,
            key if key.starts_with(':') => continue,
            key => {
                if fields.len() == fields_max {
                    return Err("The request in question has more fields than are taken here.");
                }
                let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| "The name of a field is none.")?;
                fields.append(name, HeaderValue::from_bytes(&value).map_err(|_| "The value of a field is none.")?);
                continue;
            }
        };
        if said.as_bytes() != value {
            return Err("The message says in two ways about which request it is asked.");
        }
    }
    check_fields(&fields)?;
    Ok(fields)
}

/// The proxy's own word is the last of X-Forwarded-For, whether it has added that or not.
fn tell_client(headers: &mut HeaderMap, client: IpAddr) {
    let last = field_list::members(headers, &X_FORWARDED_FOR).next_back();
    let told = last.and_then(|last| std::str::from_utf8(last).ok()?.parse::<IpAddr>().ok());
    if told != Some(client) {
        let value = HeaderValue::try_from(client.to_string()).expect("an address is a field value");
        headers.append(X_FORWARDED_FOR, value);
    }
}

/// Yes: these fields tell who calls, and whichever is empty is taken out. The response to the client brings the cookies, and no shared
/// cache keeps it then.
pub(in crate::proxy) fn allowing(identity: &HeaderMap, cookies: Option<&NewCookies>) -> (Reply, HeaderMap) {
    let set = cookies.into_iter().flat_map(NewCookies::fields).map(|field| (SET_COOKIE, field.clone()));
    let private = cookies.map(|_| (CACHE_CONTROL, HeaderValue::from_static("private")));
    let (told, nothing): (Vec<_>, Vec<_>) = identity.iter().partition(|(_, value)| !value.is_empty());
    let ok = Allowed {
        headers: told.into_iter().map(|(name, value)| option(name, value)).collect(),
        response_headers_to_add: set.chain(private).map(|(name, value)| option(&name, &value)).collect(),
        headers_to_remove: nothing.into_iter().map(|(name, _)| name.as_str().to_owned()).collect(),
    };
    response(&CheckResponse { status: Some(Status { code: OK }), denied: None, ok: Some(ok) })
}

/// No: the client is told this.
pub(in crate::proxy) fn denying(reply: &Reply) -> (Reply, HeaderMap) {
    let denied = Denied {
        status: Some(HttpStatus { code: reply.status().as_u16().into() }),
        headers: reply.headers().iter().map(|(name, value)| option(name, value)).collect(),
        body: String::from_utf8_lossy(reply.body()).into_owned(),
    };
    response(&CheckResponse { status: Some(Status { code: PERMISSION_DENIED }), denied: Some(denied), ok: None })
}

/// Takes the place of a field that is there, but for cookies, of which each has a field of its own.
fn option(name: &HeaderName, value: &HeaderValue) -> FieldOption {
    let is_cookie = name == SET_COOKIE;
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    FieldOption {
        header: Some(Field { key: name.as_str().to_owned(), value, raw_value: Vec::new() }),
        append: Some(BoolValue { value: is_cookie }),
        append_action: if is_cookie { APPEND } else { OVERWRITE },
    }
}

/// The response to a call, and what comes behind its body.
fn response(message: &CheckResponse) -> (Reply, HeaderMap) {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).expect("a reply of ours is far below 4 GiB"));
    message.encode(&mut body).expect("there is room");
    let mut response = Reply::new(body.freeze());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    (response, [(GRPC_STATUS, HeaderValue::from(0))].into_iter().collect())
}

#[cfg(any(test, fuzzing))]
pub mod fuzz {
    //! What must hold for the body of a call.

    use http::Request;

    use super::{X_FORWARDED_FOR, field_list, read};

    /// The body of a call: what is read of it are fields of HTTP, the last of which tells of a client.
    pub fn ext_authz_call(bytes: &[u8]) {
        let (mut head, ()) = Request::new(()).into_parts();
        let Ok(question) = read(bytes, &mut head, 100) else { return };
        assert!(head.headers.len() <= 101, "with the address of the client");
        let told = field_list::members(&head.headers, &X_FORWARDED_FOR).next_back().map(<[u8]>::to_vec);
        let client = String::from_utf8(told.unwrap_or_default()).ok().and_then(|told| told.parse::<std::net::IpAddr>().ok());
        assert!(client.is_some(), "nobody is told of");
        assert!(!head.headers.contains_key("host"));
        let asked = question.target.clone();
        if question.put_into(&mut head).is_ok() {
            assert_eq!(head.uri.to_string(), asked, "what was asked about is judged");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const FIELDS_MAX: usize = 4;

    fn message(http: HttpRequest) -> CheckRequest {
        let address = Some(Address { socket_address: Some(SocketAddress { address: "192.0.2.7".to_owned() }) });
        let request = Some(Asked { http: Some(http) });
        CheckRequest { attributes: Some(Attributes { source: Some(Source { address }), request }) }
    }

    fn asked(headers: &[(&str, &str)]) -> HttpRequest {
        HttpRequest {
            method: "POST".to_owned(),
            headers: headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            path: "/x?y".to_owned(),
            host: "A.example:80".to_owned(),
            ..HttpRequest::default()
        }
    }

    fn framed(message: &CheckRequest) -> Vec<u8> {
        let message = message.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
        body
    }

    /// The question, and the fields of the request.
    fn read_body(body: &[u8]) -> Result<(String, HeaderMap), &'static str> {
        let mut head = Request::builder().header("x-of-call", "1").body(()).unwrap().into_parts().0;
        let question = read(body, &mut head, FIELDS_MAX)?;
        let told = format!("{} {} {}", question.method, question.host.field().to_str().unwrap(), question.target);
        Ok((told, head.headers))
    }

    fn read_message(http: HttpRequest) -> Result<(String, HeaderMap), &'static str> {
        read_body(&framed(&message(http)))
    }

    #[test]
    fn a_message_says_it_all() {
        let headers =
            [(":method", "POST"), (":path", "/x?y"), (":authority", "A.example:80"), (":scheme", "https"), ("cookie", "a=1")];
        let (told, fields) = read_message(asked(&headers)).unwrap();
        assert_eq!(told, "POST a.example:80 /x?y");
        assert_eq!((&fields["cookie"], fields.len()), (&"a=1".parse().unwrap(), 2), "{fields:?}");
        assert_eq!(fields[X_FORWARDED_FOR], "192.0.2.7");
        let raw = Field { key: "x-a".to_owned(), value: String::new(), raw_value: vec![0xe9] };
        let header_map = Some(Fields { headers: vec![raw.clone(), raw] });
        let (_, fields) = read_message(HttpRequest { header_map, ..asked(&[]) }).unwrap();
        assert_eq!(fields.get_all("x-a").iter().count(), 2);
    }

    #[test]
    fn the_proxy_tells_last_of_the_client_and_once() {
        let told = |sent: &str| {
            let (_, fields) = read_message(asked(&[("x-forwarded-for", sent)])).unwrap();
            field_list::members(&fields, &X_FORWARDED_FOR)
                .map(|member| String::from_utf8_lossy(member).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(told("203.0.113.9"), ["203.0.113.9", "192.0.2.7"]);
        assert_eq!(told("203.0.113.9, 192.0.2.7"), ["203.0.113.9", "192.0.2.7"]);
        assert_eq!(told("192.0.2.7, unknown"), ["192.0.2.7", "unknown", "192.0.2.7"]);
    }

    #[test]
    fn what_leaves_room_for_doubt_is_no_question() {
        for headers in [
            (":path", "/other"),
            (":method", "GET"),
            (":authority", "b"),
            ("host", "b"),
            ("Host", "b"),
            ("a b", "1"),
            ("authorization", " Bearer x"),
            ("authorization", "Bearer x\t"),
            ("x-a", "1\r\nx-b: 2"),
            ("", "1"),
        ] {
            assert!(read_message(asked(&[headers])).is_err(), "{headers:?}");
        }
        let many: Vec<_> = (0..=FIELDS_MAX).map(|n| format!("x-{n}")).collect();
        let pairs = |count: usize| many.iter().take(count).map(|name| (name.as_str(), "1")).collect::<Vec<_>>();
        assert!(read_message(asked(&pairs(FIELDS_MAX))).is_ok() && read_message(asked(&pairs(FIELDS_MAX + 1))).is_err());
        let wrong = [
            HttpRequest { method: String::new(), ..asked(&[]) },
            HttpRequest { host: String::new(), ..asked(&[]) },
            HttpRequest { host: "a, b".to_owned(), ..asked(&[]) },
            HttpRequest { fragment: "x".to_owned(), ..asked(&[]) },
        ];
        assert!(wrong.into_iter().all(|http| read_message(http).is_err()));
        let mut nobody = message(asked(&[]));
        nobody.attributes.as_mut().unwrap().source = None;
        assert!(read_body(&framed(&nobody)).is_err());
        assert!(read_body(&framed(&CheckRequest { attributes: None })).is_err());
    }

    #[test]
    fn a_call_has_one_whole_message() {
        let good = framed(&message(asked(&[])));
        assert!(read_body(&good).is_ok());
        let compressed = [&[1][..], &good[1..]].concat();
        let twice = [&good[..], &good[..]].concat();
        let noise = [&[0, 0, 0, 0, 3][..], b"\xff\xff\xff"].concat();
        for bad in [&[][..], &good[..4], &good[..good.len() - 1], &compressed, &twice, &noise, b"{\"attributes\":{}}"] {
            assert!(read_body(bad).is_err(), "{bad:?}");
        }
        // Fields that are not read are skipped.
        let mut longer = good;
        longer.extend([0x72, 1, b'x']);
        longer[4] += 3;
        assert!(read_body(&longer).is_ok());
    }

    #[test]
    fn yes_sets_what_there_is_and_takes_out_the_rest_and_no_is_no_yes() {
        let decoded = |(reply, trailers): (Reply, HeaderMap)| {
            assert_eq!((reply.status().as_u16(), &trailers[GRPC_STATUS]), (200, &"0".parse().unwrap()));
            CheckResponse::decode(&reply.body()[PREFIX_BYTES..]).unwrap()
        };
        let identity = [("x-auth-subject", "ada"), ("x-auth-scopes", "")];
        let identity = identity.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let yes = decoded(allowing(&identity.into_iter().collect(), None));
        let ok = yes.ok.unwrap();
        assert!(ok.response_headers_to_add.is_empty());
        let set: Vec<_> = ok.headers.iter().map(|option| option.header.clone().unwrap()).collect();
        assert_eq!((yes.status.unwrap().code, yes.denied), (OK, None));
        assert_eq!((set[0].key.as_str(), set[0].value.as_str(), set.len()), ("x-auth-subject", "ada", 1));
        assert_eq!(ok.headers_to_remove, ["x-auth-scopes"]);
        let mut reply = Reply::new("no".into());
        *reply.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
        let no = decoded(denying(&reply));
        let denied = no.denied.unwrap();
        assert_eq!((no.status.unwrap().code, no.ok), (PERMISSION_DENIED, None));
        assert_eq!((denied.status.unwrap().code, denied.body.as_str()), (429, "no"));
    }

    #[test]
    fn cookies_go_to_the_client_each_in_a_field_of_its_own_and_past_shared_caches() {
        let field = HeaderValue::from_static;
        let cookies = NewCookies { access: field("a=1"), refresh: Some(field("r=2")), others_emptied: vec![field("o=")] };
        let (reply, _) = allowing(&HeaderMap::new(), Some(&cookies));
        let ok = CheckResponse::decode(&reply.body()[PREFIX_BYTES..]).unwrap().ok.unwrap();
        assert!(ok.headers.is_empty(), "none of them goes to the API");
        let told = ok.response_headers_to_add.into_iter().map(|option| {
            let Field { key, value, .. } = option.header.unwrap();
            (key, value, option.append_action, option.append.unwrap().value)
        });
        let set = |value: &str| ("set-cookie".to_owned(), value.to_owned(), APPEND, true);
        let private = ("cache-control".to_owned(), "private".to_owned(), OVERWRITE, false);
        assert_eq!(told.collect::<Vec<_>>(), [set("o="), set("a=1"), set("r=2"), private]);
    }
}
