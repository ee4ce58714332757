# SPDX-License-Identifier: ISC
"""`lab watch`: the web server and the lab that it shows, until the lab is gone or somebody ends it."""

import threading

from sdk.lab.machine import LabError
from sdk.watch.mesh import WatchedMesh
from sdk.watch.server import D3, Server, Watch, Watched


def serve(mesh: Watched, port: int = 0) -> tuple[Server, Watch]:
    """Start the web server in a thread. Raises LabError if it cannot be."""
    if not D3.exists():
        raise LabError(f"there is no {D3}, with which the page is drawn: apt-get install libjs-d3")
    watch = Watch(mesh)
    try:
        server = Server(watch, port)
    except OSError as error:
        raise LabError(f"port {port} of 127.0.0.1: {error.strerror}") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, watch


def watch_lab(name: str, port: int = 0) -> int:
    """Show a lab until it is down; return the exit status. Raises LabError."""
    mesh = WatchedMesh(name)
    try:
        server, watch = serve(mesh, port)
        print(f"lab watch: {server.address}", flush=True)
        print(f"lab watch: {watch.run()}", flush=True)
        server.shutdown()
        server.server_close()
    finally:
        mesh.close()
    return 0
