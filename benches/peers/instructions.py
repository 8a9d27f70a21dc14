#!/usr/bin/env python3
"""Counts what one request costs: instructions in user space (valgrind's callgrind) and system calls (strace).

  instructions.py [options] BINARY...    a line for each binary, with and without a token; unlike times, the figures of a machine
                                         that others use are the same as those of a quiet one
    --requests N (4000)                  counted, after as many that are not
    --conns N (8)                        kept-alive connections, asked in turn
    --config FILE                        default: benches/peers.toml (its ports are replaced); of HTTP/1.1 alone
    --load LOAD                          plain (HTTP/1.1), or h2, h2h2, grpc as peers.py names them: with a token, over as many
                                         connections with 10 streams each, whose handshakes count
    --cookie NAMES                       access: the token comes in the cookie of that name; both: beside a refresh cookie; HTTP/1.1 alone
    --set KEY=VALUE                      of the gateway's settings; may be repeated
    --work DIR                           default: target/peers; `peers.py setup` makes its keys and its upstream
    --by-function N                      also names the N functions that take most

Debian: valgrind strace. Ends only the processes that it started.
"""
import argparse, collections, os, re, signal, socket, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peers


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Client:
    """Kept-alive connections on which the same request is asked again and again, as wrk does."""

    def __init__(self, port, conns, token, cookie):
        credentials = f"Authorization: Bearer {token}\r\n" if token else ""
        if token and cookie:
            # Nobody reads the other while the token is good.
            refresh = f"; __Host-refresh=tgr_{'A' * 75}" if cookie == "both" else ""
            credentials = f"Cookie: __Host-access={token}{refresh}\r\n"
        self.request = f"GET /api/orders/42 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{credentials}\r\n".encode()
        self.await_ready(port)
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(conns)]

    @staticmethod
    def await_ready(port):
        """Under valgrind on a busy machine, a gateway listens for a while before it vouches for tokens."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                if s.recv(4096).startswith(b"HTTP/1.1 200 "):
                    return
            time.sleep(0.1)
        raise SystemExit("the gateway is not ready")

    def ask(self, count):
        for n in range(count):
            s = self.sockets[n % len(self.sockets)]
            s.sendall(self.request)
            response = b""
            while not response.endswith(b"}"):
                response += s.recv(4096)
            if not response.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"refused to measure: {response[:200]}")


class Streams:
    """Streams of HTTP/2, asked by h2load."""

    def __init__(self, peer, port, o, token):
        self.peer, self.port, self.o, self.token = peer, port, o, token

    def ask(self, count):
        fields = peers.fields(self.peer, [self.token])
        url = f"https://127.0.0.1:{self.port}/api/orders/42"
        text = subprocess.run(["h2load", "-t1", f"-c{self.o.conns}", "-m10", f"-n{count}", *fields, url], capture_output=True, text=True).stdout
        if f" {count} succeeded" not in text or f"status codes: {count} 2xx" not in text:
            raise SystemExit(f"refused to measure: {text}")


def served(binary, o, token, before):
    """Starts upstream and gateway, asks, and yields between the requests that count and those that do not."""
    folder = tempfile.mkdtemp()
    upstream_port, port = peers.UPSTREAM_PORT, peers.PROXY_PORT = free_port(), free_port()
    peer = peers.Peer("gateway" if o.load == "plain" else f"gateway-ES256-{o.load}", o.work, 1, "")
    peer.name = f"counted-{o.load}"
    if o.load == "plain":
        config = open(o.config).read().replace("127.0.0.1:9000", f"127.0.0.1:{upstream_port}").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        config = config.replace("target/peers/", f"{o.work}/")
    else:
        peer.command()
        config = open(f"{o.work}/conf/{peer.name}.toml").read()
    open(f"{folder}/gateway.toml", "w").write(config)
    started = []
    try:
        started.append(subprocess.Popen(peers.upstream_command(peer)))
        peers.wait_for(upstream_port)
        command = [*before(folder), binary, "run", "--config", f"{folder}/gateway.toml", "--workers", "1"]
        command += [word for setting in o.set for word in ("--set", setting)]
        log = open(f"{folder}/gateway.log", "w")
        started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))
        peers.wait_for(port, 60)
        client = Client(port, o.conns, token, o.cookie) if o.load == "plain" else Streams(peer, port, o, token)
        client.ask(o.requests)
        yield started[-1], folder
        client.ask(o.requests)
        yield started[-1], folder
    finally:
        for p in reversed(started):
            p.send_signal(signal.SIGTERM)
            p.wait(60)


def instructions(binary, o, token):
    tool = lambda folder: ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/counted"]
    control = lambda *args: subprocess.run(["callgrind_control", *args], check=True, capture_output=True)
    steps = served(binary, o, token, tool)
    process, folder = next(steps)
    control("--zero", str(process.pid))
    next(steps)
    control("--dump", str(process.pid))
    functions = by_function(f"{folder}/counted.1")
    steps.close()
    return sum(functions.values()) / o.requests, [(count / o.requests, name) for name, count in functions.most_common()]


def by_function(file):
    """What each function took itself. (callgrind_annotate loses the callers of a dump that began in the midst of calls.)"""
    names, functions, current, is_of_callee = {}, collections.Counter(), None, False
    for line in open(file):
        named = re.match(r"(c?fn)=(\(\d+\))(?: (.*))?$", line)
        if named:
            kind, key, name = named.groups()
            names.setdefault(key, name)
            current = names[key] if kind == "fn" else current
        elif line.startswith("calls="):
            is_of_callee = True
        elif re.match(r"[+*\d-]", line):
            if not is_of_callee:
                functions[current] += int(line.split()[1])
            is_of_callee = False
    return functions


def system_calls(binary, o, token):
    steps = served(binary, o, token, lambda folder: [])
    process, folder = next(steps)
    tracer = subprocess.Popen(["strace", "-c", "-f", "-qq", "-o", f"{folder}/calls", "-p", str(process.pid)])
    while b"TracerPid:\t0" in open(f"/proc/{process.pid}/status", "rb").read():
        time.sleep(0.01)
    next(steps)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    steps.close()
    calls = collections.Counter()
    for line in open(f"{folder}/calls"):
        columns = line.split()
        if len(columns) >= 5 and columns[3].isdigit() and columns[-1] != "total":
            calls[columns[-1]] += int(columns[3]) / o.requests
    return {name: round(n, 2) for name, n in calls.most_common() if n >= 0.05}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binaries", nargs="+")
    for flag, default in (("--requests", 4000), ("--conns", 8), ("--by-function", 0)):
        p.add_argument(flag, type=int, default=default)
    p.add_argument("--config", default="benches/peers.toml")
    p.add_argument("--work", default="target/peers")
    p.add_argument("--cookie", choices=("access", "both"))
    p.add_argument("--set", action="append", default=[])
    p.add_argument("--only", choices=("bare", "ES256"))
    p.add_argument("--load", choices=("plain", "h2", "h2h2", "grpc"), default="plain")
    o = p.parse_args()
    o.work = os.path.abspath(o.work)
    sys.path.insert(0, f"{o.work}/python")
    for kind in ("bare", "ES256"):
        if o.only in (None, kind) and (kind == "ES256" or o.load == "plain"):
            token = None if kind == "bare" else peers.mint(o.work, kind)[0]
            for binary in o.binaries:
                binary = os.path.abspath(binary)
                total, functions = instructions(binary, o, token)
                print(f"{kind:6} {total:9.0f} instructions, {system_calls(binary, o, token)}  {binary}", flush=True)
                for count, name in functions[:o.by_function]:
                    print(f"{count:14.1f}  {name}")


if __name__ == "__main__":
    main()
