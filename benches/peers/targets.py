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
was not sent, and GET that were lost: as their manuals say. Ends only the processes that it started.
"""
import argparse, asyncio, collections, os, signal, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers

SERVERS, PROXY_PORT, FIRST_PORT = 4, 8100, 9101
CLIENT_TIMEOUT = 2
SCENARIOS = ("none", "killed", "hung", "slow", "flapping", "draining", "failing")


# --- one server of the upstream ---------------------------------------------------------------------------------------------

def serve(port, notes):
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
        server = await asyncio.start_server(converse, "127.0.0.1", port, backlog=512)
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
    def __init__(self, work):
        self.notes = [f"{work}/out/notes-{n}" for n in range(SERVERS)]
        for note in self.notes:
            open(note, "w").close()
        self.processes = [self._start(n) for n in range(SERVERS)]
        for n in range(SERVERS):
            peers.wait_for(FIRST_PORT + n)

    def _start(self, n):
        return subprocess.Popen([sys.executable, os.path.abspath(__file__), "--serve", str(FIRST_PORT + n), self.notes[n]])

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


async def fail(servers, scenario, seconds):
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


# --- the proxies ------------------------------------------------------------------------------------------------------------

def command(name, o):
    ports = [FIRST_PORT + n for n in range(SERVERS)]
    def write(file, text):
        path = f"{o.work}/conf/{file}"
        open(path, "w").write(text)
        return path
    if name == "gateway":
        urls = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
        config = write("targets.toml", f"""[listen]
address = "127.0.0.1:{PROXY_PORT}"
workers = 2
[upstreams.default]
urls = [{urls}]
eject_after = 3
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
        return ["sh", "-c", "exec " + o.gateway.format(config=config)]
    if name == "haproxy":
        servers = "\n".join(f"  server s{port} 127.0.0.1:{port} check inter 1s fall 3 rise 2 observe layer7 error-limit 3 on-error mark-down" for port in ports)
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
    endpoints = ", ".join(f"{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}" for port in ports)
    route = lambda method, retry: f"""
                - match: {{ prefix: "/", headers: [ {{ name: ":method", string_match: {{ exact: {method} }} }} ] }}
                  route: {{ cluster: up, timeout: 1s, retry_policy: {{ retry_on: "{retry}", num_retries: 3, retry_host_predicate: [ {{ name: envoy.retry_host_predicates.previous_hosts, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }} }} ] }} }}"""
    return [binary, "--concurrency", "2", "--disable-hot-restart", "-l", "error", "-c", write("targets.yaml", f"""static_resources:
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
    type: STATIC
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


async def scenario(name, what, o):
    servers = Servers(o.work)
    log = open(f"{o.work}/out/targets-{name}.log", "w")
    proxy = subprocess.Popen(command(name, o), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        peers.wait_for(PROXY_PORT)
        # All have been probed.
        await asyncio.sleep(3)
        clients, tasks = Clients(), []
        fault = asyncio.create_task(fail(servers, what, o.seconds))
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
        return serve(int(sys.argv[2]), sys.argv[3])
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
    for what in o.scenarios.split(","):
        for name in o.proxies.split(","):
            r = asyncio.run(scenario(name, what, o))
            print(f"| {what} | {name} | {r['get']} | {r['post']} | {r['twice']} | {r['done']} | {r['p99']} |", flush=True)


if __name__ == "__main__":
    main()
