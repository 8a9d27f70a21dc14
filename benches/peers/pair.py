#!/usr/bin/env python3
"""Measures two builds of the gateway beside HAProxy, in bursts of a second that take turns.

  pair.py BEFORE NOW [--rounds N (40)] [--tokens N (10000)] [--work DIR (target/peers)]
    BEFORE, NOW    commands, as peers.py takes them by --gateway; {work} becomes the work folder of
                   `peers.py setup`. Each listens where TOKENGATE__LISTEN__ADDRESS says

All servers stay up, idle but for the one whose turn it is, alone on cpu 0; wrk and the upstream are on cpu 1. A busy machine slows
neighbouring bursts alike, so the ratio of two bursts of one round says more than the ratio of two medians. Prints CPU microseconds
a request for each series, without a token and with ES256 tokens, the medians of the ratios, and the quartiles of NOW to BEFORE.
Ends only the processes that it started.
"""
import argparse, os, random, re, statistics, subprocess, sys

import peers

BURST = 1  # seconds
SERVERS = ("haproxy", "before", "now")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before")
    p.add_argument("now")
    p.add_argument("--rounds", type=int, default=40)
    p.add_argument("--tokens", type=int, default=10_000)
    p.add_argument("--work", default="target/peers")
    o = p.parse_args()
    o.work = os.path.abspath(o.work)
    sys.path.insert(0, f"{o.work}/python")
    ports = dict(zip(SERVERS, range(peers.PROXY_PORT, peers.PROXY_PORT + len(SERVERS))))
    processes = {}

    def start(name, command, cpu, port):
        if subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"]).returncode == 0:
            raise SystemExit(f"port {port} is taken")
        log = open(f"{o.work}/out/{name}.log", "w")
        env = os.environ | {"TOKENGATE__LISTEN__ADDRESS": f"127.0.0.1:{port}"}
        processes[name] = subprocess.Popen(["taskset", "-c", cpu] + command, stdout=log, stderr=subprocess.STDOUT, env=env)
        peers.wait_for(port)

    def burst(name, script, seconds=BURST):
        """CPU microseconds that the server spends on one request."""
        url = f"http://127.0.0.1:{ports[name]}/api/orders/42"
        before = peers.cpu(processes[name])
        text = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c64", *script, f"-d{seconds}s", url],
                              capture_output=True, text=True).stdout
        if trouble := re.search(r"Non-2xx.*|Socket errors.*", text):
            raise SystemExit(f"{name}: refused to measure: {trouble.group(0)}")
        return (peers.cpu(processes[name]) - before) / int(re.search(r"(\d+) requests in", text).group(1))

    try:
        start("upstream", [f"{o.work}/bin/upstream", str(peers.UPSTREAM_PORT)], "1", peers.UPSTREAM_PORT)
        start("haproxy", peers.Peer("haproxy", o.work, 1, "").command(), "0", ports["haproxy"])
        for name, command in (("before", o.before), ("now", o.now)):
            start(name, ["sh", "-c", "exec " + command.format(work=o.work)], "0", ports[name])
        tokens = ["-s", peers.token_script(o.work, peers.mint(o.work, "ES256", o.tokens))]
        series = {"haproxy": ("haproxy", [])}
        series |= {f"{name}{suffix}": (name, script) for name in ("before", "now") for suffix, script in (("", []), ("-ES256", tokens))}
        for name, script in series.values():
            burst(name, script, seconds=2)
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
    for key in series:
        print(f"{key:24}{statistics.median(rows[key]):8.2f}{min(rows[key]):8.2f}{statistics.median(ratios(key, 'haproxy')):12.3f}")
    for suffix in ("", "-ES256"):
        low, middle, high = statistics.quantiles(ratios("now" + suffix, "before" + suffix), n=4)
        print(f"now{suffix} to before{suffix}: {middle:.3f} ({low:.3f}-{high:.3f})")


main()
