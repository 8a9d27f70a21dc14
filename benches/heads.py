#!/usr/bin/env python3
"""What a connection costs on which a head comes that does not end.

    cargo build --release
    python3 benches/heads.py [--connections 1000] [--bytes 30720] [--piece 30720] [--binary target/release/tokengate]

Prints the memory (RssAnon) that the gateway takes for each connection: after the connections were opened, after each sent the
beginning of a head, and the same with new connections once those were closed. The allocator keeps for itself what was freed; nothing
may come to that. Socket buffers are the kernel's and are not in it. Linux.
"""

import argparse
import os
import resource
import socket
import subprocess
import tempfile
import time

SETTINGS = """
[listen]
address = "127.0.0.1:{port}"
workers = 2
header_timeout = "5m"
[store]
kind = "memory"
[admin]
address = ""
[upstreams.api]
url = "http://127.0.0.1:1"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))


def unread(port):
    """What the kernel holds because the gateway has not read it yet."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].split(":")[1], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def settled(pid):
    """Memory, once it changes no more."""
    last = resident(pid)
    while True:
        time.sleep(1)
        now = resident(pid)
        if abs(now - last) < 64 * 1024:
            return now
        last = now


def round_of(o, port, pid):
    """Memory with connections open, and with a part of a head on each."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(o.connections)]
    opened = settled(pid)
    head = (b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * o.bytes)[: o.bytes]
    for at in range(0, o.bytes, o.piece):
        for client in clients:
            client.sendall(head[at : at + o.piece])
    while unread(port):
        time.sleep(0.05)
    held = settled(pid)
    for client in clients:
        client.close()
    return opened, held


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--connections", type=int, default=1000)
    p.add_argument("--bytes", type=int, default=30 * 1024)
    p.add_argument("--piece", type=int, default=30 * 1024)
    p.add_argument("--binary", default="target/release/tokengate")
    o = p.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "tokengate.toml")
        with open(file, "w") as settings:
            settings.write(SETTINGS.format(port=port))
        gateway = subprocess.Popen(
            [os.path.abspath(o.binary), "run", "--config", file],
            cwd=folder, stderr=subprocess.DEVNULL, env={"MIMALLOC_ALLOW_THP": "0"},
        )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            before = settled(gateway.pid)
            first = round_of(o, port, gateway.pid)
            again = round_of(o, port, gateway.pid)
        finally:
            gateway.terminate()
            gateway.wait()
    each = lambda now: (now - before) / o.connections
    print(f"{o.connections} connections, {o.bytes} bytes of a head each, in pieces of {o.piece}")
    print(f"opened  {each(first[0]):9.0f} bytes each")
    print(f"sent    {each(first[1]):9.0f} bytes each: {each(first[1]) - o.bytes:.0f} beside the head's own")
    print(f"again   {each(again[1]):9.0f} bytes each")


if __name__ == "__main__":
    main()
