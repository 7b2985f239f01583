"""nbclient, unmodified, through jupyter_server's gateway manager, executes a checked-in notebook and saves it.

The gateway client's WebSocket sends no credentials: the server must run without them, on loopback.
usage: gateway_nbclient.py NOTEBOOK OUT
"""

import os
import sys

import nbformat
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from nbclient import NotebookClient

GatewayClient.instance(gateway_url=True, url=os.environ["NBSERV_URL"].rstrip("/"))
notebook = nbformat.read(sys.argv[1], as_version=4)
# The gateway's relay decodes every frame as text, and nbclient answers no input: those two cells are for others.
notebook.cells = [c for c in notebook.cells if c.metadata.get("kind") not in ("buffers", "input")]
NotebookClient(
    notebook, kernel_manager_class=GatewayKernelManager, kernel_name="python3", timeout=60, allow_errors=True
).execute()
nbformat.write(notebook, sys.argv[2])

cells = {c.metadata.get("kind"): c for c in notebook.cells}
text = "".join(o["text"] for o in cells["lines"].outputs if o.output_type == "stream")
assert text.splitlines() == [f"line {i}" for i in range(20000)], "output lost or out of order"
assert any("image/png" in o.get("data", {}) for o in cells["plot"].outputs), cells["plot"].outputs
assert [o.ename for o in cells["error"].outputs if o.output_type == "error"] == ["ZeroDivisionError"]
print("ok")
