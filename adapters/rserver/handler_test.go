package rserver

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The document's own example, from a session to a service and a client who is somebody else.
func TestTransmission(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann, bob := s.as("ann"), s.as("bob")
	x := ann.session(runtimeR)
	got := ann.mustExecute(x, `model <- glm(formula = am ~ hp + wt, data = mtcars, family = binomial)
manualTransmission <- function(hp, wt) {
	newdata <- data.frame(hp = hp, wt = wt)
	predict(model, newdata, type = "response")
}
print(manualTransmission(120, 2.8))`)
	require.Equal(t, "        1 \n0.6418125 \n", got.ConsoleOutput)
	var history []string
	ann.json(200, "GET", x+"/history", nil, &history)
	require.Len(t, history, 3)
	require.Equal(t, "model <- glm(formula = am ~ hp + wt, data = mtcars, family = binomial)", history[0])
	require.Equal(t, "print(manualTransmission(120, 2.8))", history[2])
	var names []string
	ann.json(200, "GET", x+"/workspace", nil, &names)
	require.Equal(t, []string{"manualTransmission", "model"}, names)

	snap := ann.snapshot(x)
	path := ann.publish("transmission", publishRequest{
		SnapshotID: &snap, Code: ptr("answer <- manualTransmission(hp, wt)"), OperationID: ptr("manualTransmission"),
		InputParameterDefinitions: definitions("hp numeric, wt numeric"), OutputParameterDefinitions: definitions("answer numeric"),
	})
	ann.json(200, "DELETE", "/snapshots/"+snap, nil, nil) // the service has its own
	ann.json(200, "DELETE", x, nil, nil)
	require.Regexp(t, `^0\.641812528`, bob.mustCall(path, `{"hp": 120, "wt": 2.8}`)["answer"])
	s.stop()
	s.start()
	require.Regexp(t, `^0\.641812528`, bob.mustCall(path, `{"hp": 120, "wt": 2.8}`)["answer"])
}

// form is a multipart form with one file.
func form(name, content string) (*bytes.Buffer, string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, _ := w.CreateFormFile("file", name)
	_, _ = part.Write([]byte(content))
	_ = w.Close()
	return &b, "Content-Type: " + w.FormDataContentType()
}

func TestSessionFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR))
	ann := s.as("ann")
	x := ann.session(runtimeR)
	upload := func(name, content string) int {
		body, kind := form(name, content)
		return ann.ask("POST", x+"/files", body, kind).Code
	}
	require.Equal(t, 201, upload("data.csv", "a,b\n1,2\n"))
	require.Equal(t, 201, upload(`C:\dir\é x.txt`, "é"), "a name is what is behind the last slash")
	require.Equal(t, 201, upload("../../../up.txt", "up"))
	require.Equal(t, "a b\n1 2\n", strings.ReplaceAll(strings.ReplaceAll(
		ann.mustExecute(x, `cat(readLines("data.csv"), sep = "\n")`).ConsoleOutput, ",", " "), "\r", ""))
	got := ann.mustExecute(x, `dir.create("sub"); writeLines("new", "sub/new.txt"); writeLines("a", "data.csv"); plot(1:3); plot(4:6)
		file.symlink("/etc/passwd", "link"); system("mkfifo pipe"); invisible(1)`)
	require.Equal(t, []string{"data.csv", "plot001.png", "plot002.png", "sub/new.txt"}, got.ChangedFiles)
	var files []string
	ann.json(200, "GET", x+"/files", nil, &files)
	require.Equal(t, []string{"data.csv", "plot001.png", "plot002.png", "sub/new.txt", "up.txt", "é x.txt"}, files, "S8")

	w := ann.ask("GET", x+"/files/%C3%A9%20x.txt", nil)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "é", w.Body.String())
	require.Equal(t, "application/octet-stream", w.Header().Get("Content-Type"))
	require.Contains(t, w.Header().Get("Content-Disposition"), "attachment")
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "sandbox", "S7")
	require.Equal(t, "new\n", ann.ask("GET", x+"/files/sub%2Fnew.txt", nil).Body.String())
	require.True(t, bytes.HasPrefix(ann.ask("GET", x+"/files/plot001.png", nil).Body.Bytes(), []byte("\x89PNG")))
	for _, name := range []string{"link", "pipe", "sub", "..%2F..%2Fstate.db", "%2Fetc%2Fpasswd", "..", "nothing", "a%00b", `a%5Cb`} {
		ann.refused(404, "GET", x+"/files/"+name, nil)
	}
	ann.json(200, "DELETE", x+"/files/data.csv", nil, nil)
	ann.json(200, "DELETE", x+"/files/link", nil, nil)
	ann.refused(404, "DELETE", x+"/files/data.csv", nil)
	ann.refused(404, "DELETE", x+"/files/sub", nil)
	ann.refused(404, "DELETE", x+"/files/..%2Fio", nil)

	body, kind := form("big", strings.Repeat("x", 1<<20+1))
	require.Equal(t, 413, ann.ask("POST", x+"/files", body, kind).Code)
	require.Equal(t, 400, ann.ask("POST", x+"/files", strings.NewReader("x"), "Content-Type: text/plain").Code)
	require.Equal(t, 400, ann.ask("POST", x+"/files", strings.NewReader("--b\r\n\r\nno file\r\n--b--"), "Content-Type: multipart/form-data; boundary=b").Code)
	cut := "--b\r\nContent-Disposition: form-data; name=file; filename=cut.txt\r\n\r\nhalf"
	require.Equal(t, 400, ann.ask("POST", x+"/files", strings.NewReader(cut), "Content-Type: multipart/form-data; boundary=b").Code)
	require.NotContains(t, ann.json(200, "GET", x+"/files", nil, nil), "cut.txt", "whole or not at all")
}

// What serialize() wrote comes back identical, in both languages; what it did not is refused.
func TestWorkspaceObjects(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	ann := s.as("ann")
	for _, c := range []struct {
		runtime                *runtime
		write, check, broken   string
		wipe, survived, hidden string
	}{
		{runtimeR,
			`x <- list(a = 1:3, f = function(z) z + 1, d = mtcars, e = as.POSIXct("2020-01-01", tz = "UTC"), n = NULL, u = "é", m = matrix(1:4, 2))
			 con <- file("x.bin", "wb"); writeBin(serialize(x, NULL), con); close(con)`,
			`stopifnot(identical(x, y, ignore.environment = TRUE), identical(serialize(x, NULL), serialize(y, NULL)))`, "no R",
			`rm(list = ls(all.names = TRUE)); z <- 1`, `["z"]`, `stopifnot(length(ls(globalenv(), all.names = TRUE)) == 1)`},
		{runtimePython,
			"import dill\nclass C:\n    def __init__(self, v): self.v = v\nx = {'a': [1, 2.5, None], 'c': C(3), 'f': lambda z: z + 1}\n" +
				"open('x.bin', 'wb').write(dill.dumps(x)); None",
			"assert y['a'] == x['a'] and y['c'].v == 3 and y['f'](1) == 2", "no pickle",
			"for n in [n for n in list(globals()) if n in ('x', 'y', 'C', 'dill')]: del globals()[n]\nz = 1\ndel n", `["z"]`,
			"assert not [n for n in globals() if 'nbserv' in n]"},
	} {
		t.Run(c.runtime.name, func(t *testing.T) {
			u := user{&site{t: t, h: s.h, tokens: s.tokens, dir: s.dir}, "ann"}
			x := u.session(c.runtime)
			u.mustExecute(x, c.write)
			serialized := u.ask("GET", x+"/files/x.bin", nil).Body.Bytes()
			w := u.ask("POST", x+"/workspace/y", bytes.NewReader(serialized), "Content-Type: application/octet-stream")
			require.Equal(t, 200, w.Code, w.Body)
			u.mustExecute(x, c.check)
			again := u.ask("GET", x+"/workspace/y", nil)
			require.Equal(t, 200, again.Code)
			require.Equal(t, "application/octet-stream", again.Header().Get("Content-Type"))
			require.Equal(t, 200, u.ask("POST", x+"/workspace/y", bytes.NewReader(again.Body.Bytes())).Code)
			u.mustExecute(x, c.check)
			if c.runtime == runtimeR {
				require.Equal(t, serialized, u.ask("GET", x+"/workspace/x", nil).Body.Bytes(), "byte for byte")
			}
			require.Equal(t, 400, u.ask("POST", x+"/workspace/y", strings.NewReader(c.broken)).Code)
			require.Equal(t, 200, u.ask("DELETE", x+"/workspace/y", nil).Code)
			u.refused(404, "GET", x+"/workspace/y", nil)
			u.refused(404, "DELETE", x+"/workspace/y", nil)
			// The helper is no object of the user's, and is there when all of those are gone.
			u.mustExecute(x, c.wipe)
			require.JSONEq(t, c.survived, u.json(200, "GET", x+"/workspace", nil, nil))
			u.mustExecute(x, c.hidden)
		})
	}
	_ = ann
}

// A snapshot holds objects, files and what was attached; it is merged into what is there.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	for _, c := range []struct {
		runtime            *runtime
		make, other, check string
		workspace          string
	}{
		{runtimeR, `library(splines); a <- 1; f <- function() a + 1; writeLines("from the snapshot", "f.txt"); dir.create("d"); writeLines("x", "d/x")`,
			`a <- 2; b <- 3; writeLines("old", "f.txt"); writeLines("mine", "g.txt")`,
			`stopifnot(a == 1, b == 3, f() == 2, "package:splines" %in% search(), readLines("f.txt") == "from the snapshot", readLines("g.txt") == "mine", file.exists("d/x"))`,
			".RData"},
		{runtimePython, "import math\na = 1\ndef f(): return a + math.floor(1.5)\nopen('f.txt', 'w').write('from the snapshot'); None",
			"a = 2; b = 3; open('f.txt', 'w').write('old'); open('g.txt', 'w').write('mine'); None",
			"assert a == 1 and b == 3 and f() == 2 and math.pi and open('f.txt').read() == 'from the snapshot' and open('g.txt').read() == 'mine'",
			".PyData"},
	} {
		t.Run(c.runtime.name, func(t *testing.T) {
			ann := user{&site{t: t, h: s.h, tokens: s.tokens, dir: s.dir}, "ann"}
			x, y := ann.session(c.runtime), ann.session(c.runtime)
			ann.mustExecute(x, c.make)
			snap := ann.snapshot(x)
			ann.mustExecute(y, c.other)
			ann.json(200, "POST", y+"/loadsnapshot/"+snap, nil, nil)
			ann.mustExecute(y, c.check)
			var made createSessionResponse
			ann.json(201, "POST", "/sessions", createSessionRequest{SnapshotID: snap, RuntimeType: c.runtime.name}, &made)
			require.Contains(t, ann.json(200, "GET", "/sessions/"+made.SessionID+"/workspace", nil, nil), `"f"`)

			w := ann.ask("GET", "/snapshots/"+snap, nil)
			require.Equal(t, "application/zip", w.Header().Get("Content-Type"))
			z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
			require.NoError(t, err)
			var names []string
			for _, f := range z.File {
				names = append(names, f.Name)
			}
			require.Equal(t, c.workspace, names[0])
			require.Contains(t, names, "f.txt")
			var list []snapshotModel
			ann.json(200, "GET", "/snapshots", nil, &list)
			require.Equal(t, int64(w.Body.Len()), list[len(list)-1].ContentSize)
			require.Equal(t, "ann", list[len(list)-1].Owner)
			other := runtimes[0]
			if c.runtime == other {
				other = runtimes[1]
			}
			ann.refused(400, "POST", "/sessions", createSessionRequest{SnapshotID: snap, RuntimeType: other.name})
			for _, path := range []string{x, y, "/sessions/" + made.SessionID} {
				ann.json(200, "DELETE", path+"/force", nil, nil)
			}
		})
	}
	ann := s.as("ann")
	x := ann.session(runtimePython)
	ann.mustExecute(x, "generator = (i for i in []); ok = 1")
	require.Contains(t, ann.refused(402, "POST", x+"/snapshot", `{}`).Message, "generator (")
	ann.mustExecute(x, "del generator; big = b'x' * (1 << 21)")
	ann.refused(413, "POST", x+"/snapshot", `{}`)
}

// An execution's answer has the document's form, and keeps console and error apart.
func TestExecute(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimeR, runtimePython))
	ann := s.as("ann")
	x := ann.session(runtimeR)
	text := ann.json(200, "POST", x+"/execute", `{"code": "x + y", "inputParameters": [{"name": "x", "value": 2}, {"name": "y", "value": 3}]}`, nil)
	require.JSONEq(t, `{"success": true, "errorMessage": "", "outputParameters": [], "consoleOutput": "[1] 5\n", "changedFiles": []}`, text)
	got := ann.execute(x, `cat("a\n"); message("m"); warning("w"); f <- function() stop("boom"); f(); cat("never")`)
	require.False(t, got.Success)
	require.Equal(t, "Error in f() : boom", got.ErrorMessage)
	require.Equal(t, "a\nm\nWarning message:\nw\nError in f() : boom\n", got.ConsoleOutput)
	require.Equal(t, "Error: object 'nothing' not found", ann.execute(x, "nothing").ErrorMessage)
	require.Contains(t, ann.execute(x, "x <- (").ErrorMessage, "unexpected end of input")
	require.Equal(t, "object 'nothing' not found", ann.execute(x, "1", "nothing").ErrorMessage)
	require.Contains(t, ann.execute(x, "e <- globalenv()", "e").ErrorMessage, "output parameter 'e'")
	require.Equal(t, "<environment>\n[1] \"mine\"\n", ann.mustExecute(x,
		`print.thing <- function(x, ...) cat("<environment>\n"); structure(1, class = "thing"); print <- function(x) base::print("mine"); 5`).ConsoleOutput)
	require.Equal(t, strings.Repeat("é\n", 3), ann.mustExecute(x, `rm(print); for (i in 1:3) cat("é\n")`).ConsoleOutput)
	long := ann.mustExecute(x, `for (i in 1:200000) cat("line", i, "\n")`).ConsoleOutput
	require.Less(t, len(long), maxConsole+100)
	require.True(t, strings.HasPrefix(long, "line 1 \n") && strings.HasSuffix(long, "line 200000 \n"))
	require.Contains(t, long, "bytes left out")
	require.Equal(t, long, func() string {
		var c consoleOutputResponse
		ann.json(200, "GET", x+"/console-output", nil, &c)
		return c.ConsoleOutput
	}())

	y := ann.session(runtimePython)
	got = ann.mustExecute(y, "import asyncio, sys\nprint('a'); print('e', file=sys.stderr)\nawait asyncio.sleep(0)\nr = 1\nr + 1", "r")
	require.Equal(t, []named{{"r", json.RawMessage("1")}}, got.OutputParameters)
	require.Contains(t, got.ConsoleOutput, "a\n")
	require.Contains(t, got.ConsoleOutput, "e\n")
	require.Contains(t, got.ConsoleOutput, "2\n")
	got = ann.execute(y, "def f():\n    1/0\nf()")
	require.Equal(t, "ZeroDivisionError: division by zero", got.ErrorMessage)
	require.Contains(t, got.ConsoleOutput, "1/0")
	require.NotContains(t, got.ConsoleOutput, "\x1b")
	require.Equal(t, "name 'nothing' is not defined", ann.execute(y, "1", "nothing").ErrorMessage)
	got = ann.mustExecute(y, "import matplotlib.pyplot as plt\n%matplotlib inline\nplt.plot([1, 2]); plt.show()")
	require.Equal(t, []string{"plot001.png"}, got.ChangedFiles)
	require.JSONEq(t, `["import asyncio, sys", "print('a')", "print('e', file=sys.stderr)", "await asyncio.sleep(0)", "r = 1", "r + 1"]`,
		func() string {
			var all []string
			ann.json(200, "GET", y+"/history", nil, &all)
			b, _ := json.Marshal(all[:6])
			return string(b)
		}())
}
