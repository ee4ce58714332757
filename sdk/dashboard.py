# SPDX-License-Identifier: ISC
"""`make test-dashboard`: a real Prometheus scrapes a lab and answers each query of docs/grafana-dashboard.json.

Prometheus is Debian's, unpacked below build/prometheus and not installed. What a node tells is what
`464xlat metrics` tells on a server; an HTTP server here stands where node_exporter would.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from sdk.debian.apt import SUITE, Apt, AptError, run
from sdk.lab import Lab, LabError, load_topology

ROOT = Path(__file__).resolve().parent.parent
FILE, HOME = ROOT / "docs/grafana-dashboard.json", ROOT / "build/prometheus"
PROGRAM = HOME / "usr/bin/prometheus"
PORT, INTERVAL_S, WITHIN_S, SCRAPES = 19464, 1, 60, 20
SCRAPE_S, SCRAPE_BYTES = 0.005, 20_000  # what a scrape of what is there may take, and how long it may be
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s"}
# what an undisturbed lab has nothing of
MAY_BE_EMPTY = ("dropped_packets", "handoff_seconds")


class DashboardError(RuntimeError):
    """One sentence."""


def expressions(file: Path = FILE) -> Iterator[str]:
    """Yield the queries of a dashboard, as it has them."""
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def without_variables(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def unpack() -> None:
    """Raises AptError."""
    if PROGRAM.exists():
        return
    with tempfile.TemporaryDirectory(prefix="prometheus-apt-") as folder:
        apt = Apt(Path(folder), SUITE)
        apt.get("update")
        apt.get("download", "prometheus", cwd=Path(folder))
        (package,) = Path(folder).glob("prometheus_*.deb")
        HOME.mkdir(parents=True, exist_ok=True)
        run(["dpkg-deb", "-x", str(package), str(HOME)])


class Told(http.server.BaseHTTPRequestHandler):
    """/NODE: what the node told last."""

    nodes: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        body = self.nodes.get(self.path[1:], b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def configuration(nodes: list[str], port: int) -> str:
    jobs = [
        {
            "job_name": node,
            "metrics_path": f"/{node}",
            "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": node}}],
        }
        for node in nodes
    ]
    return json.dumps({"global": {"scrape_interval": f"{INTERVAL_S}s"}, "scrape_configs": jobs})


def ask(expression: str) -> list[dict]:
    """Raises DashboardError with what Prometheus says against it."""
    words = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/query?{words}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        raise DashboardError(f"{expression}: {json.load(error).get('error')}") from None


def tell(lab: Lab, nodes: list[str]) -> None:
    for node in nodes:
        Told.nodes[node] = lab.exec(node, [sys.executable, "-m", "server", "metrics"]).stdout.encode()


def try_all(lab: Lab, nodes: list[str]) -> None:
    left = list(expressions())
    end = time.monotonic() + WITHIN_S
    while left and time.monotonic() < end:
        tell(lab, nodes)
        time.sleep(INTERVAL_S)
        try:
            left = [each for each in left if not ask(without_variables(each))]
        except urllib.error.URLError:
            continue  # it begins
        left = [each for each in left if not any(word in each for word in MAY_BE_EMPTY)]
    if left:
        raise DashboardError("Prometheus has no answer to " + "; ".join(left))
    for each in expressions():
        ask(without_variables(each))


def check_scrapes() -> None:
    """How long the quickest of some scrapes took, as Prometheus measured it, and how much there is."""
    time.sleep(SCRAPES * INTERVAL_S)
    for node, body in Told.nodes.items():
        (found,) = ask(f'min_over_time(scrape_duration_seconds{{instance="{node}"}}[1m])')
        seconds = float(found["value"][1])
        (found,) = ask(f'scrape_samples_scraped{{instance="{node}"}}')
        print(f"{node}: {found['value'][1]} samples, {len(body)} bytes, {seconds * 1000:.1f} ms", flush=True)
        if seconds > SCRAPE_S or len(body) > SCRAPE_BYTES or not int(found["value"][1]):
            raise DashboardError(f"a scrape of {node}: expected at most 5 ms and {SCRAPE_BYTES} bytes")


def main() -> int:
    try:
        unpack()
        topology = load_topology("line")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Told)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            tempfile.TemporaryDirectory(prefix="prometheus-") as folder,
            Lab(topology, name=f"dash-{os.getpid()}") as lab,
        ):
            lab.wait_ready()
            nodes = [node.name for node in topology.nodes]
            config = Path(folder, "prometheus.yml")
            config.write_text(configuration(nodes, server.server_address[1]))
            words = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
            process = subprocess.Popen(
                [PROGRAM, *words, f"--web.listen-address=127.0.0.1:{PORT}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                try_all(lab, nodes)
                check_scrapes()
            finally:
                process.kill()
                process.wait()
        print(f"Prometheus answers all {len(list(expressions()))} queries of {FILE.name}")
    except (DashboardError, AptError, LabError) as error:
        print(f"make test-dashboard: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
