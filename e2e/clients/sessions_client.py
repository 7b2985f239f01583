"""The five requests of the sessions API as its generated client sends them: its model writes a kernel.id into
every body, its own defaults included. Standard library only."""

import json
import os
import sys
import urllib.error
import urllib.request

base, token = os.environ["NBSERV_URL"], os.environ["NBSERV_TOKEN"]
kernel_name = sys.argv[1]


def call(method, path, body=None):
    headers = {"Accept": "application/json", "User-Agent": "OpenAPI-Generator/1.0.0/python", "Authorization": "token " + token}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(base.rstrip("/") + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            raw = response.read()
            return response.status, response.headers, json.loads(raw) if raw else None
    except urllib.error.HTTPError as err:
        return err.code, err.headers, json.loads(err.read() or b"null")


def check_model(model):
    assert set(model) >= {"id", "path", "name", "type", "kernel"}, model
    kernel = model["kernel"]
    assert set(kernel) >= {"id", "name", "last_activity", "connections", "execution_state"}, kernel
    assert isinstance(kernel["connections"], (int, float)), kernel


def body(path, kernel_id, **more):
    kernel = {"id": kernel_id, "name": kernel_name, **more}
    return {"id": None, "path": path, "name": path, "type": "notebook", "kernel": kernel}


no_id = object()
for n, kernel_id in enumerate([None, "", "kernel_id_example", "6c6f3a3e-0000-4000-8000-000000000000", no_id]):
    path = f"generated-{n}.ipynb"
    sent = body(path, kernel_id, last_activity="last_activity_example", connections=1.337, execution_state="execution_state_example")
    if kernel_id is no_id:
        del sent["kernel"]["id"]
    status, headers, made = call("POST", "/api/sessions", sent)
    assert status == 201, (kernel_id, status, made)
    check_model(made)
    assert headers["Location"].endswith("/api/sessions/" + made["id"]), headers["Location"]
    assert made["path"] == path

    status, _, again = call("POST", "/api/sessions", sent)
    assert status == 201 and again["id"] == made["id"] and again["kernel"]["id"] == made["kernel"]["id"], again

    status, _, listed = call("GET", "/api/sessions")
    assert status == 200 and [m for m in listed if m["id"] == made["id"]], listed
    for model in listed:
        check_model(model)

    status, _, got = call("GET", "/api/sessions/" + made["id"])
    assert status == 200 and got["id"] == made["id"], got

    renamed = body("renamed-" + path, made["kernel"]["id"])
    status, _, patched = call("PATCH", "/api/sessions/" + made["id"], renamed)
    assert status == 200 and patched["path"] == "renamed-" + path, (status, patched)
    assert patched["kernel"]["id"] == made["kernel"]["id"], "a rename keeps the kernel"

    status, _, _ = call("DELETE", "/api/sessions/" + made["id"])
    assert status == 204, status
    status, _, error = call("GET", "/api/sessions/" + made["id"])
    assert status == 404 and error["message"], error

status, _, error = call("POST", "/api/sessions", {"path": "x.ipynb", "type": "notebook", "kernel": {"id": None, "name": "no-such-kernel"}})
assert status == 501 and error["message"], (status, error)
status, _, error = call("POST", "/api/sessions")
assert status == 400 and error["message"], (status, error)
print("ok sessions")
