"""pool.py AGENTS BEGUN_NS MINUTES PIDS: watches a pool of agents that bench-pool.sh has started. Loopback only."""

import http.client
import json
import os
import statistics
import sys
import time


def get(address, path):
    connection = http.client.HTTPConnection(address, 28500, timeout=20)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def alive(address):
    """How many members an agent takes for alive, and the names of the others."""
    try:
        members = get(address, "/v1/agent/members")
    except OSError:
        return 0, []
    return sum(member["Status"] == 1 for member in members), [m["Name"] for m in members if m["Status"] != 1]


def seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024


def main():
    agents, begun, minutes, pids = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
    addresses = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(1, agents + 1)]
    waiting = set(addresses)
    while waiting:
        waiting = {address for address in waiting if alive(address)[0] != agents}
        if time.time() - begun / 1e9 > 300:
            sys.exit(f"{len(waiting)} of {agents} agents do not know all others after 5 minutes")
        time.sleep(0.2)
    print(f"{agents} agents: all know all {time.time() - begun / 1e9:.0f} s after the first was started")
    time.sleep(30)
    used, started, false = {pid: seconds(pid) for pid in pids}, time.time(), {}
    while time.time() - started < minutes * 60:
        for address in addresses[:: max(1, agents // 20)]:
            count, others = alive(address)
            if count != agents:
                false.setdefault(time.time() - started, (address, others))
        for check in get(addresses[0], "/v1/health/state/critical"):
            false.setdefault(time.time() - started, (check["Node"], check["CheckID"]))
        time.sleep(5)
    elapsed = time.time() - started
    percent = [100 * (seconds(pid) - used[pid]) / elapsed for pid in pids]
    memory = [pss_mib(pid) for pid in pids]
    print(f"{elapsed / 60:.0f} minutes: {len(false)} times somebody was missing {list(false.items())[:3]}")
    print(
        f"idle CPU: client {statistics.median(percent[3:]):.2f} % of a core, servers"
        f" {', '.join(f'{p:.2f} %' for p in percent[:3])}, all together {sum(percent):.0f} %;"
        f" PSS: client {statistics.median(memory[3:]):.1f} MiB, servers {', '.join(f'{m:.1f}' for m in memory[:3])} MiB"
    )


if __name__ == "__main__":
    main()
