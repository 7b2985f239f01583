"""Convert one notebook. The request comes as JSON on stdin; the answer is one line of JSON and then bytes.

Started by nbserv with the Python of the kernels; nbconvert comes from there.
"""
import sys

sys.path[:] = [p for p in sys.path if p]  # not the server's folder: a user's json.py there is no part of Python

import importlib.util
import io
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
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



def find_browser():
    if request.get("browser"):
        return shutil.which(request["browser"])
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "brave-browser"]
    names += [f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Microsoft Edge")]
    return next(filter(None, map(shutil.which, names)), None)


def print_page(browser, html):
    """The PDF that a browser makes of a page. Scripts run, as in a tab, but for questions that nobody would answer."""
    folder = tempfile.mkdtemp()  # where the server removes what is left
    page, pdf = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "page.pdf")
    page.write_text(html.replace("<head>", "<head><script>window.alert = window.confirm = window.prompt = () => null</script>", 1), encoding="utf-8")
    args = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        args.append("--no-sandbox")  # it refuses to run as root with one
    args += request.get("browser_args") or []
    args += [f"--user-data-dir={folder}/profile", "--no-pdf-header-footer", "--virtual-time-budget=10000", "--timeout=60000"]
    command = [browser, *args, f"--print-to-pdf={pdf}", page.as_uri()]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE)
    sys.stderr.write(done.stderr.decode(errors="replace"))
    if not pdf.exists() or not pdf.read_bytes().startswith(b"%PDF-"):
        why = f"{os.path.basename(browser)} made no PDF"
        if b"sandbox" in done.stderr:
            why += "; where it cannot confine itself, --nbconvert-browser-args=--no-sandbox lets it run without"
        raise RuntimeError(why)
    return pdf.read_bytes()


def printing(base_class):
    """An exporter that has a browser of this machine print: it needs neither TeX nor Playwright."""
    browser = find_browser()
    if not browser:
        return None

    class Printed(base_class):
        def from_notebook_node(self, nb, resources=None, **kw):
            self.embed_images = True  # the page is not where the notebook is
            html, resources = super(base_class, self).from_notebook_node(nb, resources=resources, **kw)
            return print_page(browser, html), resources

    return Printed


def pdf_maker(make):
    """Who makes a PDF: TeX where it is there and no browser was asked for, else a browser, else Playwright's for what is its own."""
    browser = "chromium or google-chrome on the server's PATH"
    if request["format"] == "pdf":
        if not request.get("browser") and all(map(shutil.which, ("xelatex", "pandoc"))):
            return make
        needs = f"PDF needs pandoc and xelatex (Debian: apt-get install pandoc texlive-xetex texlive-fonts-recommended texlive-plain-generic), or {browser}"
    else:
        if importlib.util.find_spec("playwright") and not request.get("browser") and not find_browser():
            return make
        needs = f"PDF by way of HTML needs {browser}, or nbconvert[webpdf] and `playwright install chromium`"
    printed = printing(base.get_exporter("webpdf"))
    if not printed:
        reply({"error": "failed", "message": needs})
    return printed


try:
    if request["format"] in ("pdf", "webpdf"):
        make = pdf_maker(make)
    exporter = make(config=Config())
    if request.get("sanitize") is not None and hasattr(exporter, "sanitize_html"):
        exporter.sanitize_html = request["sanitize"]
    notebook = nbformat.from_dict(request["notebook"])
    resources = {"metadata": request["metadata"], "config_dir": request["config_dir"]}
    output, resources = exporter.from_notebook_node(notebook, resources=resources)
except Exception as e:
    import traceback

    traceback.print_exc()
    lines = str(e).strip().splitlines() or [type(e).__name__]
    said = next((line for line in lines if line.startswith("! ")), lines[0])  # TeX marks what is wrong so, after pages of other things
    reply({"error": "failed", "message": said[:300]})

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
mimetype = "application/pdf" if output.startswith(b"%PDF-") else exporter.output_mimetype  # webpdf says that it is HTML
reply({"mimetype": mimetype or "", "extension": extension}, output)
