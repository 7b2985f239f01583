"""Convert one notebook. The request comes as JSON on stdin; the answer is one line of JSON and then bytes.

Started by nbserv with the Python of the kernels; nbconvert comes from there.
"""
import sys

sys.path[:] = [p for p in sys.path if p]  # not the server's folder: a user's json.py there is no part of Python

import io
import json
import os
import zipfile

# Read before anything is looked for in them: the server asks again when one has changed.
folders = {p: os.stat(p).st_mtime_ns for p in sys.path if os.path.isdir(p)}

answer = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever an exporter prints is no part of the answer


def reply(head, body=b""):
    answer.write(json.dumps(head).encode() + b"\n" + body)
    answer.close()
    sys.exit(0)


try:
    from nbconvert.exporters import base
except ImportError:
    reply({"error": "nbconvert", "message": "nbconvert is not installed for this Python"})

request = json.load(sys.stdin)

if request["do"] == "list":
    formats = {}
    for name in base.get_export_names():
        try:
            formats[name] = {"output_mimetype": base.get_exporter(name).output_mimetype}
        except Exception:  # one that cannot be loaded is not offered
            pass
    reply({"formats": formats, "folders": folders})

import nbformat
from traitlets.config import Config

try:
    make = base.get_exporter(request["format"])
except Exception:
    reply({"error": "format", "message": "there is no exporter for this format"})

try:
    exporter = make(config=Config())
    if request.get("sanitize") is not None and hasattr(exporter, "sanitize_html"):
        exporter.sanitize_html = request["sanitize"]
    notebook = nbformat.from_dict(request["notebook"])
    resources = {"metadata": request["metadata"], "config_dir": request["config_dir"]}
    output, resources = exporter.from_notebook_node(notebook, resources=resources)
except Exception as e:
    import traceback

    traceback.print_exc()
    lines = str(e).strip().splitlines()
    reply({"error": "failed", "message": (lines[0] if lines else type(e).__name__)[:300]})

if isinstance(output, str):
    output = output.encode()
extension = resources.get("output_extension") or ".txt"
files = resources.get("outputs") or {}
if files:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(request["metadata"]["name"] + extension, output)
        for name, data in files.items():
            z.writestr(os.path.basename(name), data)
    reply({"mimetype": "application/zip", "extension": ".zip", "zip": True}, packed.getvalue())
reply({"mimetype": exporter.output_mimetype or "", "extension": extension}, output)
