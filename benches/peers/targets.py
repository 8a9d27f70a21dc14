#!/usr/bin/env python3
"""What clients notice while servers of an upstream fail: the same scenario before each proxy, on loopback.

  targets.py [options]                   a table: requests that failed, of GET and POST, by scenario and proxy
    --proxies gateway,haproxy,envoy      what `peers.py setup` installed
    --scenarios killed,hung,...          default: all
    --seconds N (8)  --rate N (300)      of each scenario, and requests a second; the fault begins after a quarter of the time and
                                         lasts for a half
    --gateway 'COMMAND'                  default: the release build; {config} becomes a file made here
    --work DIR                           default: target/peers

Four servers, of which one has the fault. Half of the requests are GET, half POST with a body and a number; each server notes the
numbers that it has read whole. So a POST that was sent twice, and one that failed for the client and was done, are known. A request has
failed without a 200 within two seconds. Every proxy probes each second, gives up a server after three failures in a row, repeats what
was not sent, and GET that were lost: as their manuals say. Where the servers move, their name leads to others from one second to the
next: the gateway and Envoy read it from a file that stands in for /etc/hosts in a namespace of their own, HAProxy asks a DNS server that
runs here, each once a second. Ends only the processes that it started.
"""
import argparse, asyncio, collections, os, shlex, signal, socket, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers

SERVERS, PROXY_PORT, SERVER_PORT, DNS_PORT = 4, 8100, 9101, 9153
# Which leads to the servers where they move.
NAME = "api.test"
CLIENT_TIMEOUT = 2
SCENARIOS = ("none", "killed", "hung", "slow", "flapping", "draining", "failing", "moved")


def address(n):
    return f"127.0.0.{2 + n}"


# --- one server of the upstream ---------------------------------------------------------------------------------------------

def serve(host, notes):
    """SIGUSR1: each response takes 500 ms more; SIGUSR2: each is a 503; again: as before. SIGTERM: ends in order."""
    state = {"slow": False, "failing": False, "draining": False}
    connections = set()

    async def converse(reader, writer):
        connections.add(writer)
        with open(notes, "a", buffering=1) as log:
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
                    body = await reader.readexactly(length)
                    is_probe = " /healthz" in head.split("\r\n")[0]
                    if body:
                        log.write(body.decode() + "\n")
                    await asyncio.sleep(0.5 if state["slow"] and not is_probe else 0.002)
                    status = "503 Service Unavailable" if state["failing"] else "200 OK"
                    close = "connection: close\r\n" if state["draining"] else ""
                    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 2\r\n{close}\r\nok".encode())
                    await writer.drain()
                    if close:
                        break
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, asyncio.CancelledError):
                pass
            finally:
                connections.discard(writer)
                writer.close()

    async def run():
        server = await asyncio.start_server(converse, host, SERVER_PORT, backlog=512)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        toggle = lambda what: state.__setitem__(what, not state[what])
        loop.add_signal_handler(signal.SIGUSR1, toggle, "slow")
        loop.add_signal_handler(signal.SIGUSR2, toggle, "failing")
        loop.add_signal_handler(signal.SIGTERM, over.set)
        await over.wait()
        # As servers do that are replaced: nothing new, and a last response on each connection.
        state["draining"] = True
        server.close()
        await asyncio.sleep(1)

    asyncio.run(run())


class Servers:
    """Four that are in use, and one that takes the place of the first where they move."""

    def __init__(self, work):
        self.notes = [f"{work}/out/notes-{n}" for n in range(SERVERS + 1)]
        for note in self.notes:
            open(note, "w").close()
        self.processes = [self._start(n) for n in range(SERVERS + 1)]
        for n in range(SERVERS + 1):
            peers.wait_for(SERVER_PORT, host=address(n))

    def _start(self, n):
        return subprocess.Popen([sys.executable, os.path.abspath(__file__), "--serve", address(n), self.notes[n]])

    def signal(self, which):
        self.processes[0].send_signal(which)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.processes[0].wait()

    def start(self):
        self.processes[0] = self._start(0)

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def numbers(self):
        return collections.Counter(line for note in self.notes for line in open(note).read().split())


class Names:
    """Where the name leads: a file of hosts, and a DNS server for whoever does not read it."""

    def __init__(self, work):
        self.hosts = f"{work}/conf/targets-hosts"
        self.lead_to(range(SERVERS))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", DNS_PORT))
        threading.Thread(target=self._answer, daemon=True).start()

    def lead_to(self, servers):
        self.addresses = [address(n) for n in servers]
        # In place: the file is mounted.
        with open(self.hosts, "w") as file:
            file.write("".join(f"{address} {NAME}\n" for address in self.addresses))

    def _answer(self):
        while True:
            query, client = self.socket.recvfrom(512)
            question = query[12:query.index(b"\0", 12) + 5]
            found = self.addresses if question[-4:-2] == b"\0\x01" else []
            records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) for address in found)
            head = query[:2] + b"\x85\x80\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
            self.socket.sendto(head + question + records, client)


async def fail(servers, names, scenario, seconds):
    await asyncio.sleep(seconds / 4)
    lasting = seconds / 2
    if scenario == "none":
        return
    if scenario == "killed":
        servers.kill()
        await asyncio.sleep(lasting)
        servers.start()
    elif scenario == "hung":
        servers.signal(signal.SIGSTOP)
        await asyncio.sleep(lasting)
        servers.signal(signal.SIGCONT)
    elif scenario in ("slow", "failing"):
        which = signal.SIGUSR1 if scenario == "slow" else signal.SIGUSR2
        servers.signal(which)
        await asyncio.sleep(lasting)
        servers.signal(which)
    elif scenario == "flapping":
        for _ in range(int(lasting)):
            servers.kill()
            await asyncio.sleep(0.5)
            servers.start()
            await asyncio.sleep(0.5)
    elif scenario == "draining":
        servers.signal(signal.SIGTERM)
        await asyncio.to_thread(servers.processes[0].wait)
        await asyncio.sleep(lasting)
        servers.start()
    elif scenario == "moved":
        names.lead_to(range(1, SERVERS + 1))
        # So long a server that has left its name is kept, as those that are replaced are.
        await asyncio.sleep(lasting / 2)
        servers.signal(signal.SIGTERM)


# --- the proxies ------------------------------------------------------------------------------------------------------------

def command(name, moves, o):
    """`moves`: the servers are known by their name."""
    hosts = [NAME] if moves else [address(n) for n in range(SERVERS)]
    reading = ["unshare", "-rm", "sh", "-c", f"mount --bind {shlex.quote(o.work)}/conf/targets-hosts /etc/hosts && exec \"$@\"", "sh"] if moves else []
    def write(file, text):
        path = f"{o.work}/conf/{file}"
        open(path, "w").write(text)
        return path
    if name == "gateway":
        urls = ", ".join(f'"http://{host}:{SERVER_PORT}"' for host in hosts)
        config = write("targets.toml", f"""[listen]
address = "127.0.0.1:{PROXY_PORT}"
workers = 2
[upstreams.default]
urls = [{urls}]
eject_after = 3
resolve_interval = "1s"
response_timeout = "1s"
[upstreams.default.health]
path = "/healthz"
interval = "1s"
timeout = "500ms"
[[routes]]
name = "all"
prefix = "/"
access = "public"
[endpoints]
login = []
[store]
kind = "memory"
[admin]
address = ""
[log]
level = "error"
""")
        return reading + ["sh", "-c", "exec " + o.gateway.format(config=config)]
    if name == "haproxy":
        checked = "check inter 1s fall 3 rise 2 observe layer7 error-limit 3 on-error mark-down"
        servers = "\n".join(f"  server s{n} {host}:{SERVER_PORT} {checked}" for n, host in enumerate(hosts))
        if moves:
            servers = f"  server-template s {SERVERS + 1} {NAME}:{SERVER_PORT} {checked} resolvers here init-addr none"
        return ["haproxy", "-db", "-f", write("targets.cfg", f"""global
  nbthread 2
  maxconn 8000
defaults
  mode http
  timeout connect 500ms
  timeout client 10s
  timeout server 1s
  timeout check 500ms
  http-reuse always
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
resolvers here
  nameserver here 127.0.0.1:{DNS_PORT}
  timeout resolve 1s
  timeout retry 500ms
  hold valid 1s
  hold obsolete 1s
frontend f
  bind 127.0.0.1:{PROXY_PORT}
  # A POST that may have been done is not sent again.
  http-request disable-l7-retry if METH_POST
  default_backend b
backend b
  option httpchk GET /healthz
{servers}
""")]
    binary = next((os.path.join(d, "envoy") for d, _, files in os.walk(f"{o.work}/envoy") if "envoy" in files), None)
    endpoints = ", ".join(f"{{ endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {SERVER_PORT} }} }} }} }}" for host in hosts)
    route = lambda method, retry: f"""
                - match: {{ prefix: "/", headers: [ {{ name: ":method", string_match: {{ exact: {method} }} }} ] }}
                  route: {{ cluster: up, timeout: 1s, retry_policy: {{ retry_on: "{retry}", num_retries: 3, retry_host_predicate: [ {{ name: envoy.retry_host_predicates.previous_hosts, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }} }} ] }} }}"""
    kind = "    type: STRICT_DNS\n    dns_refresh_rate: 1s\n    dns_lookup_family: V4_ONLY" if moves else "    type: STATIC"
    return reading + [binary, "--concurrency", "2", "--disable-hot-restart", "-l", "error", "-c", write("targets.yaml", f"""static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {PROXY_PORT} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: i
          route_config:
            virtual_hosts:
            - name: v
              domains: ["*"]
              routes:{route("GET", "connect-failure,refused-stream,reset")}{route("POST", "connect-failure,refused-stream")}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: up
{kind}
    connect_timeout: 0.5s
    lb_policy: LEAST_REQUEST
    health_checks:
    - {{ timeout: 0.5s, interval: 1s, unhealthy_threshold: 3, healthy_threshold: 2, http_health_check: {{ path: /healthz }} }}
    outlier_detection: {{ consecutive_5xx: 3, consecutive_gateway_failure: 3, interval: 1s, base_ejection_time: 10s, max_ejection_percent: 50 }}
    load_assignment: {{ cluster_name: up, endpoints: [ {{ lb_endpoints: [ {endpoints} ] }} ] }}
""")]


# --- one run ----------------------------------------------------------------------------------------------------------------

class Clients:
    """Kept-alive connections, of which each request takes a free one."""

    def __init__(self):
        self.free, self.tally, self.failed_posts = [], collections.Counter(), set()
        self.times = []

    async def ask(self, number):
        method = "POST" if number % 2 else "GET"
        began = time.perf_counter()
        try:
            status = await asyncio.wait_for(self._once(method, number), CLIENT_TIMEOUT)
        except (OSError, EOFError, asyncio.TimeoutError):
            status = None
        self.times.append(time.perf_counter() - began)
        self.tally[method, "all"] += 1
        if status != 200:
            self.tally[method, "failed"] += 1
            if method == "POST":
                self.failed_posts.add(str(number))

    async def _once(self, method, number):
        reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", PROXY_PORT)
        body = str(number) if method == "POST" else ""
        length = f"content-length: {len(body)}\r\n" if body else ""
        try:
            writer.write(f"{method} /x HTTP/1.1\r\nhost: a.example\r\n{length}\r\n{body}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if "connection: close" in head:
            writer.close()
        else:
            self.free.append((reader, writer))
        return int(head.split()[1])


async def scenario(name, what, names, o):
    servers = Servers(o.work)
    names.lead_to(range(SERVERS))
    log = open(f"{o.work}/out/targets-{name}.log", "w")
    proxy = subprocess.Popen(command(name, what == "moved", o), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        peers.wait_for(PROXY_PORT)
        # All have been probed.
        await asyncio.sleep(3)
        clients, tasks = Clients(), []
        fault = asyncio.create_task(fail(servers, names, what, o.seconds))
        began = time.perf_counter()
        for number in range(o.seconds * o.rate):
            await asyncio.sleep(max(0, began + number / o.rate - time.perf_counter()))
            tasks.append(asyncio.create_task(clients.ask(number)))
        await asyncio.gather(*tasks, fault)
        for _, writer in clients.free:
            writer.close()
        numbers, t = servers.numbers(), clients.tally
        times = sorted(clients.times)
        return {"get": f"{t['GET', 'failed']} of {t['GET', 'all']}", "post": f"{t['POST', 'failed']} of {t['POST', 'all']}",
                "twice": sum(1 for count in numbers.values() if count > 1), "done": len(clients.failed_posts & set(numbers)),
                "p99": f"{times[len(times) * 99 // 100] * 1e3:.0f} ms"}
    finally:
        proxy.terminate()
        proxy.wait()
        servers.stop()


def main():
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2], sys.argv[3])
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--proxies", default="gateway,haproxy,envoy")
    p.add_argument("--scenarios", default=",".join(SCENARIOS))
    p.add_argument("--seconds", type=int, default=8)
    p.add_argument("--rate", type=int, default=300)
    p.add_argument("--gateway", default="target/release/tokengate run --config {config}")
    p.add_argument("--work", default="target/peers")
    o = p.parse_args()
    o.work = os.path.abspath(o.work)
    print("| scenario | proxy | GET failed | POST failed | POST sent twice | … failed, and done | p99 |\n| --- | --- | --- | --- | --- | --- | --- |")
    names = Names(o.work)
    for what in o.scenarios.split(","):
        for name in o.proxies.split(","):
            r = asyncio.run(scenario(name, what, names, o))
            print(f"| {what} | {name} | {r['get']} | {r['post']} | {r['twice']} | {r['done']} | {r['p99']} |", flush=True)


if __name__ == "__main__":
    main()
