"""LangChain's and Semantic Kernel's own clients of the code interpreter, unmodified."""
import asyncio
import base64
import hashlib
import io
import json
import os
import sys
import tempfile

from httpx import AsyncClient
from langchain_azure_dynamic_sessions import SessionsBashTool, SessionsPythonREPLTool
from semantic_kernel.core_plugins.sessions_python_tool.sessions_python_plugin import SessionsPythonTool
from semantic_kernel.exceptions.function_exceptions import FunctionExecutionException

url, token, certificate = os.environ["NBSERV_URL"], os.environ["NBSERV_TOKEN"], sys.argv[1]
os.environ["REQUESTS_CA_BUNDLE"] = certificate


def equal(got, want):
    assert got == want, f"{got!r} is not {want!r}"


def langchain():
    tool = SessionsPythonREPLTool(pool_management_endpoint=url + "aca/pools/python/", access_token_provider=lambda: token)
    equal(json.loads(tool.invoke("6 * 7")), {"result": 42, "stdout": "", "stderr": ""})
    equal(json.loads(tool.invoke("```python\nx = 'kept'; print('héllo 🎉')\n```"))["stdout"], "héllo 🎉\n")
    equal(json.loads(tool.invoke("x"))["result"], "kept")
    equal(json.loads(tool.invoke("float('nan')"))["result"], "nan")
    assert "ZeroDivisionError" in json.loads(tool.invoke("1/0"))["stderr"]
    equal(json.loads(tool.invoke("x"))["result"], "kept")
    picture = tool.execute("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")["result"]
    equal((picture["type"], picture["format"]), ("image", "png"))
    assert base64.b64decode(picture["base64_data"]).startswith(b"\x89PNG")

    large = os.urandom(50 << 20)
    meta = tool.upload_file(data=io.BytesIO(large), remote_file_path="large.bin")
    equal((meta.filename, meta.size_in_bytes, meta.full_path), ("large.bin", len(large), "/mnt/data/large.bin"))
    code = "import hashlib; hashlib.sha256(open('/mnt/data/large.bin', 'rb').read()).hexdigest()"
    equal(json.loads(tool.invoke(code))["result"], hashlib.sha256(large).hexdigest())
    tool.invoke("import os; os.chdir('/mnt/data'); os.rename('large.bin', 'renamed.bin')")
    equal(hashlib.sha256(tool.download_file(remote_file_path="renamed.bin").read()).digest(), hashlib.sha256(large).digest())
    equal([f.filename for f in tool.list_files()], ["renamed.bin"])

    other = SessionsPythonREPLTool(pool_management_endpoint=url + "aca/pools/python", access_token_provider=lambda: token)
    equal(json.loads(other.invoke("'x' in globals(), __import__('os').listdir('/mnt/data')"))["result"], [False, []])
    wrong = SessionsPythonREPLTool(pool_management_endpoint=url + "aca/pools/python", access_token_provider=lambda: "wrong")
    try:
        wrong.invoke("1")
    except Exception as e:
        equal(e.response.status_code, 401)
    else:
        raise AssertionError("a wrong token is let in")

    bash = SessionsBashTool(pool_management_endpoint=url + "aca/pools/shell/", access_token_provider=lambda: token)
    equal(json.loads(bash.invoke("echo out; echo err >&2; cd /tmp; false")), {"stdout": "out\n", "stderr": "err\n", "exitCode": 1})
    equal(json.loads(bash.invoke("pwd"))["stdout"], "/tmp\n")
    equal(bash.upload_file(data=io.BytesIO(b"text\n"), remote_file_path="up.txt").size_in_bytes, 5)
    equal(json.loads(bash.invoke("cat /mnt/data/up.txt")), {"stdout": "text\n", "stderr": "", "exitCode": 0})
    equal([f.filename for f in bash.list_files()], ["up.txt"])
    equal(bash.download_file(remote_file_path="up.txt").read(), b"text\n")
    for t in (tool, other, bash):
        t._delete_session_sync(t.session_id)


async def semantic_kernel():
    with tempfile.TemporaryDirectory() as folder:
        tool = SessionsPythonTool(
            pool_management_endpoint=url + "aca/pools/python", auth_callback=lambda: token, http_client=AsyncClient(verify=certificate, timeout=120),
            enable_dangerous_file_uploads=True, allowed_upload_directories=[folder],
        )
        equal(await tool.execute_code("print('hi'); y = 42; y"), "Status:\nSuccess\nResult:\n42\nStdout:\nhi\n\nStderr:\n")
        assert "Failure" in await tool.execute_code("nope") and "NameError" in await tool.execute_code("nope")
        with open(os.path.join(folder, "up.txt"), "w") as f:
            f.write("text")
        equal((await tool.upload_file(local_file_path=f.name)).full_path, "/mnt/data/up.txt")
        equal((await tool.upload_file(local_file_path=f.name, remote_file_path="sub/up.txt")).full_path, "/mnt/data/sub/up.txt")
        equal((await tool.download_file(remote_file_name="sub/up.txt")).read(), b"text")
        tool.settings.timeout_in_sec = 1
        assert "timeout" in await tool.execute_code("import time; time.sleep(60)")
        equal("42" in await tool.execute_code("y"), True)
        try:
            await tool.download_file(remote_file_name="none.txt")
        except FunctionExecutionException as e:
            assert "404" in str(e), e
        else:
            raise AssertionError("a missing file is there")
        await tool.http_client.aclose()


langchain()
asyncio.run(semantic_kernel())
print("ok agents")
