"""Two measurements of a cluster that wrk cannot make. Loopback only.

watchers ADDRESS COUNT PID      COUNT blocked queries on one key: from the write to the last answer, and memory per query
failover KILLS PIDS              kill -9 of the leader: until a write through another server is accepted
"""

import http.client
import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

PORT = 28500


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def request(address, method, path, body=None, timeout=10):
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def watchers(address, count, pid):
    host, port = address.split(":")
    request(address, "PUT", "/v1/kv/watched", b"0")
    rounds, before = [], rss_kib(pid)
    poll, sockets = select.epoll(), {}
    for _ in range(count):
        watcher = socket.create_connection((host, int(port)))
        sockets[watcher.fileno()] = watcher
        poll.register(watcher, select.EPOLLIN)
    memory = None
    for number in range(1, 6):
        index = request(address, "GET", "/v1/kv/watched")[1]["X-Consul-Index"]
        query = f"GET /v1/kv/watched?index={index}&wait=60s HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        for watcher in sockets.values():
            watcher.sendall(query)
        time.sleep(2)
        memory = memory or (rss_kib(pid) - before) / count
        begun = time.monotonic()
        request(address, "PUT", "/v1/kv/watched", str(number).encode())
        waiting = set(sockets)
        while waiting:
            ready = poll.poll(30)
            if not ready:
                sys.exit(f"{len(waiting)} watchers were not woken")
            for descriptor, _ in ready:
                if sockets[descriptor].recv(65536) and descriptor in waiting:
                    waiting.discard(descriptor)
        rounds.append((time.monotonic() - begun) * 1000)
        time.sleep(0.3)
    for watcher in sockets.values():
        watcher.close()
    rounds.sort()
    print(
        f"{count} blocked queries: last answer after {statistics.median(rounds):.0f} ms"
        f" ({rounds[0]:.0f} to {rounds[-1]:.0f}), {memory:.1f} KiB each"
    )


def failover(kills, pids):
    addresses = [f"127.0.0.{i}" for i in (2, 3, 4)]
    pids = dict(zip(addresses, pids))
    arguments = {address: open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[:-1] for address, pid in pids.items()}
    gaps, started = [], []
    for kill in range(kills):
        leader = json.loads(request(f"{addresses[0]}:{PORT}", "GET", "/v1/status/leader")[2]).split(":")[0]
        others = [address for address in addresses if address != leader]
        os.kill(pids[leader], signal.SIGKILL)
        begun = time.monotonic()
        while True:
            try:
                status, _, _ = request(f"{others[kill % 2]}:{PORT}", "PUT", f"/v1/kv/failover/{kill}", b"x")
            except OSError:
                continue
            if status == 200:
                break
        gaps.append(time.monotonic() - begun)
        process = subprocess.Popen(arguments[leader], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        pids[leader] = process.pid
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if all(request(f"{address}:{PORT}", "GET", "/v1/agent/ready")[0] == 200 for address in addresses):
                    break
            except OSError:
                pass
            time.sleep(0.05)
        time.sleep(1)
    lost = [kill for kill in range(kills) if request(f"{addresses[0]}:{PORT}", "GET", f"/v1/kv/failover/{kill}")[0] != 200]
    for process in started:
        process.kill()
        process.wait()
    gaps.sort()
    p95 = gaps[min(len(gaps) - 1, int(len(gaps) * 0.95))]
    print(
        f"{kills} leaders killed: first accepted write after p50 {statistics.median(gaps):.2f} s, p95 {p95:.2f} s,"
        f" max {gaps[-1]:.2f} s; {len(lost)} acknowledged writes lost"
    )


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "watchers":
        watchers(rest[0], int(rest[1]), int(rest[2]))
    else:
        failover(int(rest[0]), [int(pid) for pid in rest[1:]])
