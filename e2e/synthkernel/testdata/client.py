"""Drives the kernelspec "synth" with jupyter_client: prints a line for each thing that worked."""

import os
import time

from jupyter_client.manager import KernelManager

TIMEOUT = 20

manager = KernelManager(kernel_name="synth", transport=os.environ["SYNTH_TRANSPORT"])
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
try:
    client.wait_for_ready(timeout=TIMEOUT)
    info = client.kernel_info(reply=True, timeout=TIMEOUT)["content"]
    assert info["implementation"] == "synthkernel", info
    print("kernel_info", flush=True)

    outputs = []
    reply = client.execute_interactive("echo hello\nflood 1000 100", timeout=TIMEOUT, output_hook=outputs.append)
    assert reply["content"]["status"] == "ok", reply
    kinds = [m["msg_type"] for m in outputs if m["msg_type"] != "status"]
    assert kinds == ["execute_input", "stream", "execute_result"] + ["stream"] * 1000, kinds
    assert [m["metadata"]["seq"] for m in outputs if "seq" in m["metadata"]] == list(range(1000))
    print("execute", flush=True)

    def answer(_):
        client.input("Ada")

    reply = client.execute_interactive(
        "input Name?", allow_stdin=True, stdin_hook=answer, timeout=TIMEOUT, output_hook=outputs.append
    )
    assert reply["content"]["status"] == "ok", reply
    assert any(m["msg_type"] == "stream" and m["content"]["text"] == "Ada\n" for m in outputs)
    print("input", flush=True)

    outputs.clear()
    reply = client.execute_interactive("buffers 3 1000000", timeout=TIMEOUT, output_hook=outputs.append)
    sizes = [len(b) for m in outputs for b in m["buffers"]]
    assert sizes == [1_000_000] * 3, sizes
    print("buffers", flush=True)

    msg_id = client.execute("print started\nsleep 1h")
    while client.get_iopub_msg(timeout=TIMEOUT)["msg_type"] != "stream":
        pass
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=TIMEOUT)
    assert reply["parent_header"]["msg_id"] == msg_id and reply["content"]["ename"] == "KeyboardInterrupt", reply
    print("interrupt", flush=True)

    for _ in range(TIMEOUT * 10):
        if client.hb_channel.is_beating():
            break
        time.sleep(0.1)
    assert client.hb_channel.is_beating()
    print("heartbeat", flush=True)

    manager.restart_kernel()
    client.wait_for_ready(timeout=TIMEOUT)
    assert client.execute("echo again", reply=True, timeout=TIMEOUT)["content"]["execution_count"] == 1
    print("restart", flush=True)
finally:
    client.stop_channels()
    manager.shutdown_kernel()
assert not manager.is_alive()
print("shutdown", flush=True)
