"""The reference server's own codec of v1.kernel.websocket.jupyter.org runs a checked-in notebook.

(jupyter_kernel_client 1.0.2 cannot: its v1 receiver raises KeyError on every message, whatever the server.)
usage: v1_client.py NOTEBOOK
"""

import json
import os
import sys
import urllib.request
import uuid

import websocket
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1

url, token = os.environ["NBSERV_URL"], os.environ["NBSERV_TOKEN"]
headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
session = uuid.uuid4().hex


def rest(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data, headers, method=method)) as r:
        return json.loads(r.read() or b"null")


def send(channel, msg_type, content):
    header = {"msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": session, "username": "", "version": "5.4"}
    msg = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    ws.send_binary(serialize_msg_to_ws_v1(msg, channel, lambda part: json.dumps(part).encode()))
    return header["msg_id"]


def execute(source):
    """All messages of one execution, each (channel, type, content, buffers), up to its reply and its idle."""
    msg_id = send("shell", "execute_request", {"code": source, "silent": False, "allow_stdin": True})
    got, reply, idle = [], False, False
    while not (reply and idle):
        channel, parts = deserialize_msg_from_ws_v1(ws.recv())
        header, parent, _, content = (json.loads(p) for p in parts[:4])
        if parent.get("msg_id") != msg_id:
            continue
        got.append((channel, header["msg_type"], content, parts[4:]))
        if header["msg_type"] == "input_request":
            assert channel == "stdin"
            send("stdin", "input_reply", {"value": "Ada"})
        reply = reply or header["msg_type"] == "execute_reply"
        idle = idle or content.get("execution_state") == "idle"
    return got


made = rest("POST", "api/sessions", {"path": "day.ipynb", "name": "day", "type": "notebook", "kernel": {"name": "python3"}})
ws = websocket.create_connection(
    url.replace("http", "ws", 1) + f"api/kernels/{made['kernel']['id']}/channels?session_id={session}",
    header=[f"Authorization: token {token}"], subprotocols=["v1.kernel.websocket.jupyter.org"], timeout=60,
)
assert ws.getsubprotocol() == "v1.kernel.websocket.jupyter.org", ws.getsubprotocol()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] != "code":
        continue
    kind, got = cell["metadata"]["kind"], execute("".join(cell["source"]))
    iopub = [m for m in got if m[0] == "iopub"]
    text = "".join(c["text"] for _, t, c, _ in iopub if t == "stream")
    assert iopub[0][2] == {"execution_state": "busy"} and iopub[-1][2] == {"execution_state": "idle"}, "order"
    if kind == "text":
        assert text == "hello, ☃\n", text
    elif kind == "plot":
        assert sum("image/png" in c.get("data", {}) for _, _, c, _ in iopub) == 1
    elif kind == "error":
        assert [c["ename"] for _, t, c, _ in iopub if t == "error"] == ["ZeroDivisionError"]
    elif kind == "input":
        assert "hello Ada" in text, text
    elif kind == "lines":
        assert text.splitlines() == [f"line {i}" for i in range(20000)], "output lost or out of order"
    elif kind == "buffers":
        assert next(b for _, t, _, b in iopub if t == "comm_open") == [bytes(range(256)) * 4096, b"tail"]
    print("ok", kind)
ws.close()
rest("DELETE", "api/sessions/" + made["id"])
