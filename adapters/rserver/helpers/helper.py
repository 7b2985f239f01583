"""Runs once in each Python kernel. It leaves one module in sys.modules, "nbserv_kernel", and no name in the user's
namespace: its functions do what a request in a file says and write the answer into another."""
import sys
import types

_module = types.ModuleType("nbserv_kernel", __doc__)
_module.get_ipython = __import__("IPython").get_ipython
sys.modules[_module.__name__] = _module
exec(compile(r'''
import ast, base64, datetime, decimal, io, json, math, numbers, os, pickle, sys, traceback, types, warnings

shell = get_ipython()
io_dir = os.path.join(os.getcwd(), "io")
os.chdir("work")

# ---- values to JSON ---------------------------------------------------------------------------------------------------

def number(x):
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Inf" if x > 0 else "-Inf"
    return x

def moment(x):
    if x.tzinfo is not None:
        x = x.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return x.isoformat() + "Z"

def known(module, name):
    """A class of a library that is loaded already, or an empty tuple."""
    return getattr(sys.modules.get(module), name, ())

def plain(x):
    """x as what json writes, NaN and infinities as strings."""
    if x is None or isinstance(x, (bool, str)):
        return x
    if type(x) is int:
        return x
    if isinstance(x, float):
        return number(x)
    if isinstance(x, dict):
        return {k if isinstance(k, str) else str(k): plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, set, frozenset, range)):
        return [plain(v) for v in x]
    if x is known("pandas", "NaT") or x is known("pandas", "NA"):
        return None
    if isinstance(x, known("pandas", "DataFrame")):
        return {str(c): column(x.iloc[:, i]) for i, c in enumerate(x.columns)}
    if isinstance(x, (known("pandas", "Series"), known("pandas", "Index"), known("pandas.api.extensions", "ExtensionArray"))):
        return column(x)
    if isinstance(x, known("pandas", "Timedelta")) or isinstance(x, datetime.timedelta):
        return x.total_seconds()
    if isinstance(x, datetime.datetime):
        return moment(x)
    if isinstance(x, (datetime.date, datetime.time)):
        return x.isoformat()
    if isinstance(x, known("numpy", "datetime64")):
        return None if sys.modules["numpy"].isnat(x) else str(x) + ("Z" if "T" in str(x) else "")
    if isinstance(x, known("numpy", "generic")):
        return plain(x.item())
    if isinstance(x, known("numpy", "ndarray")):
        if x.dtype.kind in "iub" or x.dtype.kind == "f" and sys.modules["numpy"].isfinite(x).all():
            return x.tolist()
        return [plain(v) for v in x] if x.ndim else plain(x.item())
    if isinstance(x, (bytes, bytearray, memoryview)):
        return base64.b64encode(x).decode("ascii")
    if isinstance(x, decimal.Decimal):
        return number(float(x))
    if isinstance(x, numbers.Integral):
        return int(x)
    if isinstance(x, numbers.Real):
        return number(float(x))
    if isinstance(x, complex):
        return str(x)
    raise TypeError("a value of type %s cannot be written as JSON" % type(x).__name__)

def column(s):
    """A column or an index: NaN is the missing value there, as pandas has it."""
    missing = s.isna()
    return [None if gone else plain(v) for v, gone in zip(s.tolist(), missing)]

def output(x, kind):
    """A value in the type that a service has declared for it; "" is as it is."""
    if x is None:
        return None
    if isinstance(x, known("numpy", "generic")):
        x = x.item()
    if isinstance(x, known("numpy", "ndarray")) and x.size == 1 and kind in ("numeric", "integer", "logical", "character"):
        x = x.reshape(-1)[0].item()
    if kind == "numeric" and isinstance(x, (bool, int, float, decimal.Decimal)):
        return number(float(x))
    if kind == "integer" and isinstance(x, (bool, int, float)) and x == x and not math.isinf(x):
        return int(x)
    if kind == "logical" and isinstance(x, (bool, int, float)):
        return bool(x)
    if kind == "character" and isinstance(x, (bool, int, float)):
        return str(x)
    value = plain(x)
    if kind == "vector" and not isinstance(value, list):
        return [value]
    if kind == "matrix" and not (isinstance(value, list) and all(isinstance(row, list) for row in value)):
        if isinstance(value, dict):
            return [list(row) for row in zip(*value.values())]
        return [[v] for v in value] if isinstance(value, list) else [[value]]
    if kind == "data.frame" and isinstance(value, list):
        return {str(i): list(c) for i, c in enumerate(zip(*value))} if value and isinstance(value[0], list) else {"0": value}
    return value

# ---- JSON to values ---------------------------------------------------------------------------------------------------

special = {"NaN": math.nan, "NA": math.nan, "Inf": math.inf, "-Inf": -math.inf}

def scalar(v, kind):
    if v is None:
        return None
    if kind == "numeric":
        return special[v] if isinstance(v, str) else float(v)
    return int(v) if kind == "integer" else v

def elements(v, kind):
    """A list of one type. What is missing among numbers is NaN, elsewhere None."""
    if kind == "numeric":
        gone = any(e is None or isinstance(e, (str, float)) for e in v)
        return [math.nan if e is None else special[e] if isinstance(e, str) else float(e) if gone else e for e in v]
    return v

def library(name):
    try:
        return __import__(name)
    except ImportError:
        return None

def vector(v, kind):
    np = library("numpy")
    v = elements(v, kind)
    if np is None:
        return v
    if kind == "numeric" and not v:
        return np.array(v, dtype=float)
    return np.array(v, dtype=object if kind == "list" or None in v else None)

def given(p):
    """The value of an input parameter."""
    v, kind = p.get("value"), p["type"]
    if kind == "list" or kind == "":
        return json.loads(p["json"]) if "json" in p else v
    if kind in ("numeric", "integer", "logical", "character"):
        return [scalar(e, kind) for e in v] if isinstance(v, list) else scalar(v, kind)
    if v is None:
        return None
    if kind == "vector":
        return vector(v, p["elem"])
    if kind == "matrix":
        np = library("numpy")
        v = [elements(row, p["elem"]) for row in v]
        return v if np is None else np.array(v).reshape(len(v), -1) if v else np.empty((0, 0))
    if kind == "data.frame":
        pd = library("pandas")
        v = {name: elements(c, e) for (name, c), e in zip(v.items(), p.get("elems", []))}
        return v if pd is None else pd.DataFrame(v)
    if kind == "factor":
        pd = library("pandas")
        return v if pd is None else pd.Categorical(v if isinstance(v, list) else [v])
    convert = datetime.date.fromisoformat if kind == "Date" else instant
    return [None if e is None else convert(e) for e in v] if isinstance(v, list) else convert(v)

def instant(text):
    t = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return t if t.tzinfo is not None else t.replace(tzinfo=datetime.timezone.utc)

# ---- running code -----------------------------------------------------------------------------------------------------

compiled = {}

def message(e):
    text = str(e)
    return type(e).__name__ + (": " + text if text else "")

def results(wanted):
    outputs = []
    for o in wanted or []:
        if o["name"] not in shell.user_ns:
            raise NameError("name '%s' is not defined" % o["name"])
        try:
            outputs.append({"name": o["name"], "value": output(shell.user_ns[o["name"]], o["type"])})
        except Exception as e:
            raise ValueError("output parameter '%s': %s" % (o["name"], e)) from None
    return outputs

def finish(req, failure):
    outputs = []
    if failure is None:
        try:
            outputs = results(req["outputs"])
        except (NameError, ValueError) as e:
            failure = str(e)
    return {"success": failure is None, "error": failure or "", "outputs": outputs}

def execute(req):
    """Runs a service's code. What it prints goes to a file."""
    ns = shell.user_ns
    failure = None
    stdout, stderr = sys.stdout, sys.stderr
    with open(req["console"], "w", encoding="utf-8", errors="backslashreplace") as console:
        sys.stdout = sys.stderr = console
        try:
            code = compiled.get(req["code"])
            if code is None:
                compiled.clear()
                code = compiled[req["code"]] = compile(req["code"], "<service>", "exec")
            for p in req["inputs"] or []:
                ns[p["name"]] = given(p)
            exec(code, ns)
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            failure = message(e)
            traceback.print_exception(type(e), e, e.__traceback__.tb_next, file=console)
        finally:
            sys.stdout, sys.stderr = stdout, stderr
    return finish(req, failure)

def typed(code):
    try:
        return [ast.get_source_segment(code, node) for node in ast.parse(code).body]
    except SyntaxError:
        return [code]

def enter(req):
    """Sets the input parameters; what is wrong with them."""
    try:
        for p in req["inputs"] or []:
            shell.user_ns[p["name"]] = given(p)
    except Exception as e:
        return message(e)
    return None

def leave(req, failure, result):
    error = result and (result.error_before_exec or result.error_in_exec)
    if error is not None:
        failure = message(error)
    sys.stdout.flush()
    sys.stderr.flush()
    return dict(finish(req, failure), history=typed(req["code"]))

# Sessions' code runs as IPython runs it: magics, awaits, the value of the last expression is shown.

def interact(req):
    failure = enter(req)
    return leave(req, failure, None if failure else shell.run_cell(req["code"], store_history=False))

async def interact_async(req):
    failure = enter(req)
    if failure:
        return leave(req, failure, None)
    cell = shell.transform_cell(req["code"])
    return leave(req, failure, await shell.run_cell_async(req["code"], store_history=False, transformed_cell=cell))

# ---- the workspace ----------------------------------------------------------------------------------------------------

def names():
    hidden, missing = shell.user_ns_hidden, object()
    return sorted(n for n, v in shell.user_ns.items() if not n.startswith("_") and hidden.get(n, missing) is not v)

def pickler():
    """dill, which knows functions and classes of the user's own, where it is installed."""
    for name in ("dill", "cloudpickle"):
        module = library(name)
        if module is not None:
            return module
    return pickle

def loader():
    module = library("dill")
    return pickle if module is None else module

def save(path):
    objects = {n: shell.user_ns[n] for n in names()}
    modules = {n: v.__name__ for n, v in objects.items() if isinstance(v, types.ModuleType)}
    objects = {n: v for n, v in objects.items() if n not in modules}
    p = pickler()
    try:
        data = p.dumps(objects)
    except Exception:
        bad = []
        for n, v in objects.items():
            try:
                p.dumps(v)
            except Exception as e:
                bad.append("%s (%s)" % (n, message(e)))
        raise ValueError("these objects cannot be saved, delete them first: " + ", ".join(bad)) from None
    with open(path, "wb") as f:
        f.write(pickle.dumps({"modules": modules, "objects": data}))

def load(path):
    with open(path, "rb") as f:
        saved = pickle.load(f)
    for n, module in saved["modules"].items():
        __import__(module)
        shell.user_ns[n] = sys.modules[module]
    shell.user_ns.update(loader().loads(saved["objects"]))

# ---- a clean environment for each call ----------------------------------------------------------------------------------

base = None
small = 1 << 20  # bytes: what can be changed and is no larger is made anew for each call

def baseline():
    """Remembers what a service's kernel is when it has its snapshot and its initCode."""
    global base
    ns = dict(shell.user_ns)
    keep, size = {}, 0
    p = pickler()
    for n in names():
        v = ns[n]
        if isinstance(v, (int, float, complex, str, bytes, bool, type(None), type, types.ModuleType, types.FunctionType,
                          types.BuiltinFunctionType)):
            continue
        try:
            text = p.dumps(v)
        except Exception:
            continue
        if len(text) <= small and size + len(text) <= 4 * small:
            keep[n] = v
            size += len(text)
    base = {"ns": ns, "copies": p.dumps(keep) if keep else None, "cwd": os.getcwd(), "environ": dict(os.environ),
            "path": list(sys.path), "filters": list(warnings.filters)}
    return {"success": True, "error": "", "reusable": True}

def reset():
    ns = shell.user_ns
    ns.clear()
    ns.update(base["ns"])
    if base["copies"] is not None:
        ns.update(loader().loads(base["copies"]))
    os.chdir(base["cwd"])
    if dict(os.environ) != base["environ"]:
        os.environ.clear()
        os.environ.update(base["environ"])
    sys.path[:] = base["path"]
    warnings.filters[:] = base["filters"]
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

# ---- the requests -----------------------------------------------------------------------------------------------------

def perform(req):
    op = req["op"]
    done = {"success": True, "error": ""}
    if op == "execute":
        return execute(req)
    if op == "names":
        return dict(done, names=names())
    if op == "put":
        with open(req["path"], "rb") as f:
            shell.user_ns[req["name"]] = loader().load(f)
        return done
    if op in ("get", "delete"):
        if req["name"] not in names():
            return {"success": False, "missing": True, "error": ""}
        if op == "delete":
            del shell.user_ns[req["name"]]
            return done
        data = pickler().dumps(shell.user_ns[req["name"]])
        with open(req["path"], "wb") as f:
            f.write(data)
        return done
    if op == "save":
        save(req["path"])
        return dict(done, names=[])
    if op == "load":
        if req["path"]:
            load(req["path"])
        return done
    if op == "baseline":
        return baseline()
    raise ValueError("unknown request")

def read(n):
    path = os.path.join(io_dir, n)
    with open(path, encoding="utf-8") as f:
        req = json.load(f)
    os.remove(path)  # which says that it was read
    return req

def answer(n, value):
    with open(os.path.join(io_dir, n + ".out"), "w", encoding="ascii") as f:
        f.write(json.dumps(value, separators=(",", ":")))

def call(n):
    req = read(n)
    try:
        value = perform(req)
    except Exception as e:
        value = {"success": False, "error": message(e)}
    if req.get("reset"):
        try:
            reset()
            value["clean"] = True
        except Exception:
            value["clean"] = False
    answer(n, value)

def run(n):
    answer(n, interact(read(n)))

async def run_async(n):
    answer(n, await interact_async(read(n)))
''', "<nbserv>", "exec"), _module.__dict__)
