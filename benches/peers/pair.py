#!/usr/bin/env python3
"""Measures two builds of the gateway beside HAProxy, in bursts of a second or three that take turns.

  pair.py BEFORE NOW [--load LOAD] [--rounds N (40)] [--tokens N (10000)] [--work DIR (target/peers)]
    BEFORE, NOW    commands, as peers.py takes them by --gateway: {config} becomes a file made of benches/peers.toml,
                   {threads} 1, {work} the work folder of `peers.py setup`
    --load         plain (HTTP/1.1 in clear text, asked by wrk), or h2, h2h2, grpc as peers.py names them

All servers stay up, idle but for the one whose turn it is, alone on cpu 0; who asks, and the upstream, are on cpu 1. A busy machine
slows neighbouring bursts alike, so the ratio of two bursts of one round says more than the ratio of two medians. Prints CPU
microseconds a request for each series, the medians of the ratios to HAProxy with the same requests, and the quartiles of NOW to
BEFORE. With tokens (ES256), HAProxy passes them on unlooked at. Ends only the processes that it started.
"""
import argparse, os, random, statistics, subprocess, sys

import peers

SERVERS = ("haproxy", "before", "now")
WITH_TOKENS = ", tokens"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before")
    p.add_argument("now")
    p.add_argument("--load", choices=("plain", "h2", "h2h2", "grpc"), default="plain")
    p.add_argument("--rounds", type=int, default=40)
    p.add_argument("--tokens", type=int, default=10_000)
    p.add_argument("--work", default="target/peers")
    o = p.parse_args()
    is_plain = o.load == "plain"
    # Each burst begins with the handshakes of its connections: by HTTP/2 fewer of them carry as many requests.
    (o.conns, o.streams), span = ((64, 1), 1) if is_plain else ((16, 40), 3)
    o.work, o.close = os.path.abspath(o.work), False
    sys.path.insert(0, f"{o.work}/python")
    processes, servers = {}, {}

    def start(name, command, cpu, port):
        if subprocess.run(["curl", "-sk", "-o", "/dev/null", f"http://127.0.0.1:{port}/"]).returncode != 7:
            raise SystemExit(f"port {port} is taken")
        log = open(f"{o.work}/out/{name}.log", "w")
        processes[name] = subprocess.Popen(["taskset", "-c", cpu] + command, stdout=log, stderr=subprocess.STDOUT)
        peers.wait_for(port)

    def serve(name, kind, command, port):
        """Starts a server; its files have names of their own."""
        peers.PROXY_PORT = port
        server = peers.Peer(kind + ("" if is_plain else f"-{o.load}"), o.work, 1, command)
        server.name = f"pair-{name}-{o.load}"
        servers[name] = server, f"{'https' if server.is_tls else 'http'}://127.0.0.1:{port}/api/orders/42"
        start(name, server.command(), "0", port)

    def burst(name, tokens, seconds=span):
        """CPU microseconds that the server spends on one request."""
        server, url = servers[name]
        load = peers.by_wrk if is_plain else peers.by_h2load
        before = peers.cpu(processes[name])
        loaded = load(o, server, ["taskset", "-c", "1"], url, tokens, seconds)
        if loaded.trouble:
            raise SystemExit(f"{name}: refused to measure: {loaded.trouble}")
        return (peers.cpu(processes[name]) - before) / loaded.requests

    try:
        first = peers.PROXY_PORT
        upstream = peers.upstream_command(peers.Peer("haproxy" + ("" if is_plain else f"-{o.load}"), o.work, 1, ""))
        start("upstream", upstream, "1", peers.UPSTREAM_PORT)
        for at, (name, kind, command) in enumerate((("haproxy", "haproxy", ""), ("before", "gateway", o.before), ("now", "gateway", o.now))):
            serve(name, kind, command, first + at)
        tokens = peers.mint(o.work, "ES256", o.tokens)
        kinds = ("", WITH_TOKENS) if is_plain else (WITH_TOKENS,)
        series = {name + kind: (name, tokens if kind else []) for name in SERVERS for kind in kinds}
        for name, sent in series.values():
            burst(name, sent)
        rows = {key: [] for key in series}
        for _ in range(o.rounds):
            for key in random.sample(list(series), len(series)):
                rows[key].append(burst(*series[key]))
    finally:
        for process in reversed(processes.values()):
            process.terminate()
        for process in processes.values():
            process.wait()

    ratios = lambda a, b: [x / y for x, y in zip(rows[a], rows[b])]
    print(f"{'medians of ' + str(o.rounds):24}{'cpu us':>8}{'min':>8}{'to haproxy':>12}")
    for kind in kinds:
        for name in SERVERS:
            key = name + kind
            to_haproxy = statistics.median(ratios(key, "haproxy" + kind))
            print(f"{key:24}{statistics.median(rows[key]):8.2f}{min(rows[key]):8.2f}{to_haproxy:12.3f}")
        low, middle, high = statistics.quantiles(ratios("now" + kind, "before" + kind), n=4)
        print(f"now to before{kind}: {middle:.3f} ({low:.3f}-{high:.3f})")


main()
