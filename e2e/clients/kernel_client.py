"""jupyter_kernel_client, unmodified, runs a checked-in notebook over the default WebSocket protocol.

usage: kernel_client.py NOTEBOOK
"""

import json
import os
import sys

from jupyter_kernel_client import JupyterKernelClient

cells = [c for c in json.load(open(sys.argv[1]))["cells"] if c["cell_type"] == "code"]
asked = []


def run(kernel, cell):
    """The outputs of a cell and its iopub messages, in order."""
    messages = []
    source = "".join(cell["source"])

    def on_input(msg):
        asked.append(msg["content"]["prompt"])
        kernel._manager.client.input("Ada")

    reply = kernel._manager.client.execute_interactive(
        source, allow_stdin=True, stdin_hook=on_input, output_hook=messages.append, timeout=60
    )
    return reply["content"], messages


with JupyterKernelClient(server_url=os.environ["NBSERV_URL"], token=os.environ["NBSERV_TOKEN"]) as kernel:
    for cell in cells:
        kind = cell["metadata"]["kind"]
        reply, messages = run(kernel, cell)
        types = [m["header"]["msg_type"] for m in messages]
        text = "".join(m["content"]["text"] for m in messages if m["header"]["msg_type"] == "stream")
        if kind == "text":
            assert text == "hello, ☃\n" and reply["status"] == "ok", (text, reply)
        elif kind == "plot":
            png = [m for m in messages if "image/png" in m["content"].get("data", {})]
            assert len(png) == 1, types
        elif kind == "error":
            assert reply["status"] == "error" and reply["ename"] == "ZeroDivisionError", reply
            assert types.count("error") == 1, types
        elif kind == "input":
            assert asked == ["your name? "] and "Ada" in text, (asked, text)
        elif kind == "lines":
            assert text.splitlines() == [f"line {i}" for i in range(20000)], "output lost or out of order"
        elif kind == "buffers":
            opened = next(m for m in messages if m["header"]["msg_type"] == "comm_open")
            buffers = [bytes(b) for b in opened["buffers"]]
            assert buffers == [bytes(range(256)) * 4096, b"tail"], [len(b) for b in buffers]
        else:
            raise AssertionError(kind)
        print("ok", kind)
