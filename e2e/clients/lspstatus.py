"""/lsp/status by the schema of jupyter_lsp itself, and its facts of each language server that both know."""
import json
import os
import urllib.request
from importlib.metadata import entry_points

from jupyter_lsp.schema import SERVERS_RESPONSE

request = urllib.request.Request(os.environ["NBSERV_URL"] + "lsp/status", headers={"Authorization": "token " + os.environ["NBSERV_TOKEN"]})
status = json.load(urllib.request.urlopen(request))
problems = [f"{list(e.absolute_path)}: {e.message}" for e in SERVERS_RESPONSE.iter_errors(status)]
assert not problems, problems
assert status["version"] == 2 and "pylsp" in status["sessions"]
assert all(spec["argv"] == [""] and not spec.get("env") for spec in status["specs"].values()), "commands are not told"

finders = [e.load() for e in entry_points(group="jupyter_lsp_spec_v1")]
assert len(finders) >= 19, len(finders)
for finder in finders:
    ours = status["specs"][finder.key]
    assert ours["languages"] == finder.languages, finder.key
    for fact in ("mime_types", "display_name", "install"):
        assert ours[fact] == finder.spec[fact], (finder.key, fact, ours[fact], finder.spec[fact])
    assert ours.get("requires_documents_on_disk", True) == finder.spec.get("requires_documents_on_disk", True), finder.key
print("ok", len(finders))
