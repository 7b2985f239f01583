# What a Python session has besides its kernel. IPython runs it before any code, also after a restart.
# It leaves nothing in the user's names but the module nbserv_session.


def _begin():
    import math
    import os
    import sys
    import types

    shell = get_ipython()  # noqa: F821 - a name that IPython gives

    # The value of the code as JSON: the adapter answers 42, not "42". What JSON cannot say is left to its repr.
    import json
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    class Untold(Exception):
        pass

    limit = 1 << 20

    def plain(value, room, depth=0):
        room[0] -= 1
        if room[0] < 0 or depth > 50:
            raise Untold
        kind = type(value)
        if value is None or kind in (bool, int):
            return value
        if kind is str:
            room[0] -= len(value) // 16
            return value
        if kind is float:
            if math.isnan(value):
                return "nan"
            if math.isinf(value):
                return "inf" if value > 0 else "-inf"
            return value
        if kind in (list, tuple):
            return [plain(v, room, depth + 1) for v in value]
        if kind is dict:
            if not all(type(k) is str for k in value):
                raise Untold
            return {k: plain(v, room, depth + 1) for k, v in value.items()}
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.bool_, numpy.integer, numpy.floating)):
            return plain(value.item(), room, depth + 1)
        raise Untold

    class Value(BaseFormatter):
        format_type = Unicode("application/vnd.nbserv.value+json")
        print_method = ObjectName("_repr_nbserv_value_")

        def __call__(self, obj, include=None, exclude=None):
            try:
                text = json.dumps(plain(obj, [1 << 16]), ensure_ascii=False, allow_nan=False)
                text.encode()
            except Exception:
                return None
            return text if len(text) <= limit else None

    formatter = shell.display_formatter
    formatter.formatters["application/vnd.nbserv.value+json"] = Value(parent=formatter)

    # Shell commands in a Python session.
    session = types.ModuleType("nbserv_session", "What the code interpreter adapter uses in its sessions.")

    def run(command, stdin=None):
        """Run a command of bash, pass its output on as it comes, return its exit code."""
        import signal
        import subprocess
        import threading

        feed = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        child = subprocess.Popen(
            ["bash", "-c", command], stdin=feed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

        def give():
            try:
                child.stdin.write(stdin.encode())
                child.stdin.close()
            except OSError:
                pass

        def pass_on(source, to):
            import codecs

            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            while chunk := source.read1(1 << 16):
                to.write(decode(chunk))
            to.write(decode(b"", True))

        work = [threading.Thread(target=pass_on, args=p) for p in ((child.stdout, sys.stdout), (child.stderr, sys.stderr))]
        if stdin is not None:
            work.append(threading.Thread(target=give))
        for thread in work:
            thread.daemon = True
            thread.start()
        try:
            code = child.wait()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        for thread in work:  # a child in the background may hold the pipes open
            thread.join(0.5)
        return code if code >= 0 else 128 - code

    session.run = run
    sys.modules["nbserv_session"] = session

    folder, mount = "@FOLDER@", "@MOUNT@"
    if folder != mount:
        _map(folder, mount)


def _map(folder, mount):
    """Show folder as mount to Python code, where the operating system does not.

    It is a courtesy, no confinement: programs that are started and libraries that open files themselves see the
    machine as it is.
    """
    import builtins
    import functools
    import io
    import os
    import shutil

    def there(path):
        text = path
        if isinstance(text, os.PathLike):
            text = os.fspath(text)
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError:
                return path
        if not isinstance(text, str):
            return path
        if text == mount or text.startswith(mount + "/"):
            mapped = folder + text[len(mount):]
            return mapped.encode() if isinstance(path, bytes) else mapped
        return path

    def back(path):
        if path == folder or path.startswith(folder + "/"):
            return mount + path[len(folder):]
        return path

    def wrap(module, name, paths=1):
        plain = getattr(module, name, None)
        if plain is None:
            return

        @functools.wraps(plain)
        def mapped(*args, **kwargs):
            args = tuple(there(a) if i < paths else a for i, a in enumerate(args))
            for key in ("file", "path", "src", "dst"):
                if key in kwargs:
                    kwargs[key] = there(kwargs[key])
            return plain(*args, **kwargs)

        setattr(module, name, mapped)
        for known in (os.supports_follow_symlinks, os.supports_dir_fd, os.supports_effective_ids, os.supports_fd):
            if plain in known:
                known.add(mapped)

    wrap(builtins, "open")
    io.open = builtins.open
    from IPython.core import interactiveshell

    if hasattr(interactiveshell, "io_open"):  # what the user's own open calls
        interactiveshell.io_open = builtins.open
    for name in (
        "access chdir chmod chown lchown listdir lstat makedirs mkdir mkfifo open pathconf readlink remove removedirs "
        "rmdir scandir stat statvfs truncate unlink utime"
    ).split():
        wrap(os, name)
    for name in ("link", "rename", "renames", "replace", "symlink"):
        wrap(os, name, 2)
    wrap(shutil, "disk_usage")
    getcwd = os.getcwd
    os.getcwd = functools.wraps(getcwd)(lambda: back(getcwd()))


_begin()
del _begin, _map
