"""The unmodified azure-servicefabric package against the ImageStore: arguments are the address and a folder for files.

The generated methods send no body of their own, as the API's description has none; its callers put it under the
request, which is what Credentials do here, beside HTTP Basic.
"""
import concurrent.futures
import hashlib
import os
import random
import sys
import uuid

import requests
from azure.servicefabric import ServiceFabricClientAPIs
from azure.servicefabric.models import FabricErrorException, ImageStoreCopyDescription
from msrest.authentication import BasicAuthentication

address = sys.argv[1]


class Auth(requests.auth.HTTPBasicAuth):
    body = b""

    def __call__(self, request):
        if request.method == "PUT":
            request.prepare_body(self.body, None)
        return super().__call__(request)


class Credentials(BasicAuthentication):
    def __init__(self, body=b""):
        super().__init__("anybody", os.environ["NBSERV_TOKEN"])
        self.body = body

    def signed_session(self, session=None):
        session = super().signed_session(session)
        session.auth = Auth(self.username, self.password)
        session.auth.body = self.body
        return session


def client(body=b""):
    sf = ServiceFabricClientAPIs(Credentials(body), base_url=address)
    sf.config.retry_policy.policy.total = 0
    return sf


def fails(code, status, call, *args):
    try:
        call(*args)
    except FabricErrorException as e:
        assert (e.error.error.code, e.response.status_code) == (code, status), (e.error.error.code, e.response.status_code)
        return e.error.error.message
    raise AssertionError(f"{call} did not fail")


sf = client()

# Whole files, with marks, and what is listed.
client(b"<manifest/>").upload_file("App/ApplicationManifest.xml")
client(b"code").upload_file("App\\Code\\run.sh")
client().upload_file("App/Code/_.dir")
client().upload_file("App/_.dir")
root = sf.get_image_store_root_content()
assert [(f.store_relative_path, f.file_count) for f in root.store_folders] == [("App", "4")], root.store_folders
app = sf.get_image_store_content("App")
assert [f.store_relative_path for f in app.store_files] == ["App/ApplicationManifest.xml", "App/_.dir"]
assert app.store_files[0].file_size == "11" and app.store_files[0].modified_date.year > 2000
before = app.store_files[0].file_version.version_number
client(b"<manifest/>").upload_file("App/ApplicationManifest.xml")
assert sf.get_image_store_content("App/ApplicationManifest.xml").store_files[0].file_version.version_number != before
assert sf.get_image_store_folder_size("App").folder_size == "15"
assert sf.get_image_store_root_folder_size().folder_size == "15"
assert int(sf.get_image_store_info().disk_info.available_space) > 0

# Chunks out of order and in parallel, a repeat, an overlap, a hole, a changed total.
rnd = random.Random(8)
data = rnd.randbytes(3_000_000)
step = 100_000
path, session = "data/big.bin", str(uuid.uuid4())


def send(at, to=None, total=len(data), body=None, name=path, sid=session):
    to = min(to or at + step, len(data))
    client(body if body is not None else data[at:to]).upload_file_chunk(name, sid, f"bytes {at}-{to - 1}/{total}")


starts = list(range(0, len(data), step))
rnd.shuffle(starts)
hole = starts.pop()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(send, starts))
send(starts[0])
if hole >= step:
    send(hole - 50, hole)
info = sf.get_image_store_upload_session_by_id(session).upload_sessions
assert len(info) == 1 and info[0].file_size == str(len(data))
missing = [(int(r.start_position), int(r.end_position)) for r in info[0].expected_ranges]
assert missing == [(hole, hole + step - 1)], missing
assert f"{hole}-{hole + step - 1}" in fails("FABRIC_E_UPLOAD_SESSION_RANGE_NOT_SATISFIABLE", 409, sf.commit_image_store_upload_session, session)
fails("FABRIC_E_UPLOAD_SESSION_RANGE_NOT_SATISFIABLE", 409, lambda: send(starts[0], body=b"x" * step))
fails("FABRIC_E_UPLOAD_SESSION_ID_CONFLICT", 409, lambda: send(starts[0], total=len(data) + 1))
fails("FABRIC_E_UPLOAD_SESSION_ID_CONFLICT", 409, lambda: send(starts[0], name="data/other.bin"))
fails("E_INVALIDARG", 400, lambda: send(starts[0], sid="no-guid"))
fails("FABRIC_E_FILE_NOT_FOUND", 404, sf.get_image_store_content, path)
second = str(uuid.uuid4())
send(0, sid=second)
assert len(sf.get_image_store_upload_session_by_path(path).upload_sessions) == 2
sf.delete_image_store_upload_session(second)
send(hole)
sf.commit_image_store_upload_session(session)
assert sf.get_image_store_content(path).store_files[0].file_size == str(len(data))
fails("FABRIC_E_FILE_NOT_FOUND", 404, sf.commit_image_store_upload_session, session)

# Copies, and deletes of whole folders.
sf.copy_image_store_content(ImageStoreCopyDescription(
    remote_source="App", remote_destination="Copies/App", skip_files=["run.sh"], check_mark_file=True))
copied = sf.get_image_store_content("Copies/App")
assert [f.store_relative_path for f in copied.store_files] == ["Copies/App/ApplicationManifest.xml", "Copies/App/_.dir"]
assert copied.store_folders[0].file_count == "1"
sf.delete_image_store_content("App")
sf.delete_image_store_content("Copies")
fails("FABRIC_E_FILE_NOT_FOUND", 404, sf.delete_image_store_content, "App")
fails("FABRIC_E_DIRECTORY_NOT_FOUND", 404, sf.get_image_store_folder_size, "App")

print("ok", hashlib.sha256(data).hexdigest())
