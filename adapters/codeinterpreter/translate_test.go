package codeinterpreter

import (
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
)

// bundle is the data of an output: pairs of a MIME type and a text.
func bundle(pairs ...string) map[string]json.RawMessage {
	data := map[string]json.RawMessage{}
	for i := 0; i+1 < len(pairs); i += 2 {
		data[pairs[i]] = encode(pairs[i+1])
	}
	return data
}

func value(pairs ...string) adapters.Output {
	return adapters.Output{Value: true, Data: bundle(pairs...)}
}

func shown(pairs ...string) adapters.Output { return adapters.Output{Data: bundle(pairs...)} }

// What an execution came to, in the shapes of all families.
func TestShapesOfExecutions(t *testing.T) {
	died := &adapters.Failure{Name: "DeadKernelError", Value: "the kernel died: exit code 3", Traceback: "DeadKernelError: the kernel died: exit code 3"}
	for name, r := range map[string]adapters.Result{
		"nothing":     {},
		"printed":     {Stdout: "inline-synchronous\n", Stderr: "warning\n"},
		"value":       {Outputs: []adapters.Output{value("text/plain", "{'a': 1.5}", valueType, `{"a": 1.5}`)}},
		"text-value":  {Outputs: []adapters.Output{value("text/plain", "<object at 0x1>")}},
		"nan":         {Outputs: []adapters.Output{value("text/plain", "nan", valueType, `"nan"`)}},
		"picture":     {Outputs: []adapters.Output{shown("text/plain", "<Figure>", "image/png", "aGk=\n")}},
		"pictures":    {Outputs: []adapters.Output{shown("image/png", "MQ=="), shown("image/jpeg", "Mg==")}},
		"svg":         {Outputs: []adapters.Output{value("text/plain", "<SVG>", "image/svg+xml", "<svg/>")}},
		"rich":        {Outputs: []adapters.Output{shown("text/html", "<b>"), value("text/plain", "7", "text/html", "<i>7</i>", valueType, "7")}},
		"error":       {Stdout: "before\n", Stderr: "warning", Error: &adapters.Failure{Name: "ValueError", Value: "no", Traceback: "Traceback\nValueError: no"}},
		"kernel-died": {Error: died},
		"left-out":    {LeftOut: 2, Missed: 7},
	} {
		t.Run(name, func(t *testing.T) {
			o := outcomeOf(r, 1234*time.Millisecond)
			s := snapshot{id: "d04f566c-9a27-44cc-9b66-bfad404a7921", identifier: "test-identifier", state: o.State, outcome: &o}
			p := s.properties()
			golden(t, "execution-"+name, encode(map[string]any{
				"code/execute": propertiesAnswer{p}, "python/execute": flatAnswer{p, *p}, "executions": s.resource(),
			}))
		})
	}
}

func TestShapesOfUnfinishedExecutions(t *testing.T) {
	s := snapshot{id: "testExecutionId", identifier: "testSessionIdentifier", state: running, request: request{Async: true}}
	golden(t, "unfinished", encode(map[string]any{"code/execute": propertiesAnswer{s.properties()}, "executions": s.resource()}))
}

func TestShapesOfShellCommands(t *testing.T) {
	ok, bad := outcome{State: succeeded, Stdout: "out\n"}, outcome{State: failed, Stderr: "err\n", Error: &apiError{codeUserError, "3"}}
	ok.exit(0)
	bad.exit(3)
	late := outcome{State: failed, Error: &apiError{codeTimeout, "too long"}}
	late.exit(exitOf(&late))
	for name, o := range map[string]outcome{"ok": ok, "failed": bad, "timeout": late} {
		s := snapshot{id: "1", identifier: "test-identifier", state: o.State, outcome: &o, request: request{Shell: true}}
		golden(t, "shell-"+name, encode(map[string]any{"code/execute": propertiesAnswer{s.properties()}, "executions": s.resource()}))
	}
}

// Jupyter's format makes texts of primitive values, and null of nothing.
func TestJupyterResults(t *testing.T) {
	for _, c := range []struct {
		text, value string
		want        string
	}{
		{"nan", `"nan"`, `"nan"`}, {"'NaN'", `"NaN"`, `"'NaN'"`}, {"1", "1", `"1"`}, {"True", "true", `"True"`},
		{"[1]", "[1]", "[1]"}, {"<x>", "", `"<x>"`},
	} {
		data := []string{"text/plain", c.text}
		if c.value != "" {
			data = append(data, valueType, c.value)
		}
		o := outcomeOf(adapters.Result{Outputs: []adapters.Output{value(data...)}}, 0)
		require.JSONEq(t, c.want, string(o.result(true)), c.text)
	}
	require.JSONEq(t, "null", string((&outcome{}).result(true)))
	require.JSONEq(t, `""`, string((&outcome{}).result(false)))
	require.JSONEq(t, `{"type":"image","format":"png","base64_data":"MQ=="}`, string((&outcome{Picture: &picture{"image", "png", "MQ=="}}).result(true)))
}

func TestShapesOfFiles(t *testing.T) {
	p, err := filePath("/mnt/data/sub/README.md")
	require.NoError(t, err)
	at := time.Date(2024, 11, 2, 11, 54, 35, 595707834, time.UTC)
	file := contents.Entry{Path: p, Size: 5045, Modified: at, Mimetype: "text/markdown"}
	folder := contents.Entry{Path: p.Parent(), Folder: true, Size: 4096, Modified: at}
	all := []contents.Entry{folder, file}
	golden(t, "files", encode(map[string]any{
		"2024-02-02": list2402(all), "2024-08-02": list2408(all), "2024-08-02 metadata": metadata2408{[]file2402{old(file)}},
		"2024-10-02": list2410(all), "2024-10-02 uploaded": resourceOf(file), "none": []any{list2402(nil), list2408(nil), list2410(nil)},
	}))
}

func TestRequests(t *testing.T) {
	python := PoolConfig{Name: "p", Kernel: "k"}.withDefaults()
	shell := PoolConfig{Name: "s", Kernel: "k", Shell: true}.withDefaults()
	in := "x"
	for text, want := range map[string]request{
		`{"properties":{"codeInputType":"inline","executionType":"synchronous","code":"1"}}`:        {Code: "1", Timeout: 220 * time.Second},
		`{"codeInputType":"INLINEBASE64","executionType":"ASYNCHRONOUS","code":"Zm9v"}`:             {Code: "foo", Async: true, Timeout: 220 * time.Second},
		`{"codeInputType":"InlineText","pythonCode":"2","timeoutInSeconds":3}`:                      {Code: "2", Timeout: 3 * time.Second},
		`{"code":"","timeoutInSeconds":99999999999}`:                                                {Timeout: 220 * time.Second},
		`{"code":"3","outputStreamsMaxLength":10,"useEmptyKernel":true,"returnJupyterFormat":true}`: {Code: "3", MaxStream: 10, Fresh: true, Jupyter: true, Timeout: 220 * time.Second},
		`{"code":"4","returnJupyterFormatExecutionResult":true,"unknown":[1]}`:                      {Code: "4", Jupyter: true, Timeout: 220 * time.Second},
		`{"shellCommand":"ls","stdin":"x"}`:                                                         {Code: "ls", Shell: true, Stdin: &in, Timeout: 220 * time.Second},
		`{"execCommandAndArgs":["a b","c'd"]}`:                                                      {Code: `'a b' 'c'\''d'`, Shell: true, Timeout: 220 * time.Second},
		`{"properties":{"code":"inner"},"code":"outer"}`:                                            {Code: "inner", Timeout: 220 * time.Second},
	} {
		var body executeBody
		require.NoError(t, json.Unmarshal([]byte(text), &body), text)
		got, err := requestOf(body, python)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	got, err := requestOf(executeBody{executeProperties: executeProperties{Code: &in}}, shell)
	require.NoError(t, err)
	require.True(t, got.Shell, "code in a shell pool is a command")

	for text, field := range map[string]string{
		`{}`: "code", `{"properties":{}}`: "code", `{"code":"1","pythonCode":"2"}`: "pythonCode", `{"code":"1","executionType":"x"}`: "executionType",
		`{"code":"1","codeInputType":"x"}`: "codeInputType", `{"code":"%","codeInputType":"inlineBase64"}`: "code", `{"code":"1","timeoutInSeconds":0}`: "timeoutInSeconds",
		`{"code":"1","timeoutInSeconds":-5}`: "timeoutInSeconds", `{"code":"1","outputStreamsMaxLength":0}`: "outputStreamsMaxLength",
		`{"execCommandAndArgs":[]}`: "execCommandAndArgs", `{"code":"1","stdin":"x"}`: "stdin",
	} {
		var body executeBody
		require.NoError(t, json.Unmarshal([]byte(text), &body), text)
		_, err := requestOf(body, python)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
		require.Contains(t, fault.Message(err), `"`+field+`"`, text)
	}
	for text, field := range map[string]string{`{}`: "shellCommand", `{"pythonCode":"1"}`: "pythonCode"} {
		var body executeBody
		require.NoError(t, json.Unmarshal([]byte(text), &body))
		_, err := requestOf(body, shell)
		require.ErrorContains(t, err, `"`+field+`"`)
	}
}

func FuzzRequests(f *testing.F) {
	for _, text := range []string{
		`{"properties":{"code":"1"}}`, `{"shellCommand":"ls","stdin":""}`, `{"code":"AA==","codeInputType":"inlineBase64","timeoutInSeconds":1}`,
		`{"execCommandAndArgs":["'"]}`, `[]`, `{"properties":null,"code":"x","executionType":"Asynchronous"}`,
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, text []byte, shell bool) {
		var body executeBody
		if json.Unmarshal(text, &body) != nil {
			return
		}
		p := PoolConfig{Name: "p", Kernel: "k", Shell: shell}.withDefaults()
		req, err := requestOf(body, p)
		if err != nil {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			return
		}
		require.True(t, req.Timeout > 0 && req.Timeout <= p.MaxTimeout)
		var again request
		require.NoError(t, json.Unmarshal(encode(req), &again))
		require.Equal(t, encode(req), encode(again), "what is kept is what was asked")
	})
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]family{
		"": family2408, "2024-02-02-preview": family2402, "2024-02-02": family2402, "2024-08-02-preview": family2408, "2024-10-02-preview": family2410,
		"2025-02-02-preview": family2410, "2025-10-02-preview": family2510, "2031-01-01": family2510, "2023-01-01": family2402,
	} {
		got, err := parseVersion(text, family2408)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"1", "2024", "2024-8-2", "2024-08-02-", "2024-08-02 preview", "x2024-08-02", "2024-08-02-PREVIEW"} {
		_, err := parseVersion(text, family2408)
		require.Equal(t, "InvalidApiVersion", codeOfError(err), text)
	}
}

func TestIdentifiers(t *testing.T) {
	for _, text := range []string{"abcd", "a b/c:../d", strings.Repeat("é", 128), "🎉🎉🎉🎉", `|}{[]:";'<>?`} {
		got, err := parseIdentifier(text)
		require.NoError(t, err)
		require.Equal(t, text, got)
	}
	got, err := parseIdentifier("")
	require.NoError(t, err)
	require.Equal(t, defaultIdentifier, got)
	for _, text := range []string{"abc", strings.Repeat("x", 129), "abcd\n", "abcd\x00", "abcd\xff"} {
		_, err := parseIdentifier(text)
		require.Equal(t, "InvalidIdentifier", codeOfError(err), text)
	}
}

// Every kind of fault has a code and a status, and no success looks like one.
func TestEveryKindHasACode(t *testing.T) {
	require.Len(t, codes, len(fault.Kinds()))
	for _, k := range fault.Kinds() {
		w := httptest.NewRecorder()
		WriteError(w, httptest.NewRequest(http.MethodGet, "/aca", nil), fault.New(k, "why"))
		require.GreaterOrEqual(t, w.Code, 400)
		require.NotEmpty(t, codes[k], k)
		require.Contains(t, w.Body.String(), `"code":"`+codes[k]+`"`)
		require.Equal(t, codes[k], w.Header().Get("X-Ms-Error-Code"))
		require.Equal(t, k == fault.Busy || k == fault.TooMany, w.Header().Get("Retry-After") != "")
	}
}

func TestPoolFiles(t *testing.T) {
	pools, err := ReadPools(strings.NewReader(`{"pools": {
		"r": {"kernel": "ir", "ready": 2, "max_sessions": 5, "cool_down_seconds": 0.5, "max_timeout_seconds": 10, "queue": 3, "isolation": "bubblewrap",
			"network": true, "read_only": ["/opt/data"], "env": {"A": "b"}, "limits": {"memory": "2GiB", "disk": 1048576, "cpus": 1.5, "processes": 20}},
		"bash": {"kernel": "bash", "shell": true, "runtime": ["runsc", "{folder}"]}}}`))
	require.NoError(t, err)
	require.Len(t, pools, 2)
	require.Equal(t, []string{"bash", "r"}, []string{pools[0].Name, pools[1].Name})
	require.Equal(t, []string{"runsc", "{folder}"}, pools[0].Runtime)
	require.Equal(t, int64(2<<30), pools[1].Limits.MemoryBytes)
	require.Equal(t, int64(1<<20), pools[1].Disk)
	require.Equal(t, 500*time.Millisecond, pools[1].CoolDown)
	for text, say := range map[string]string{
		`{}`: "no pool", `{"pools": {"p": {}}}`: "kernel", `{"pools": {"a/b": {"kernel": "x"}}}`: "name", `{"pools": {"p": {"kernel": "x", "kernl": 1}}}`: "kernl",
		`{"pools": {"p": {"kernel": "x", "isolation": "jail"}}}`: "isolation", `{"pools": {"p": {"kernel": "x", "ready": -1}}}`: "negative",
		`{"pools": {"p": {"kernel": "x", "ready": 9, "max_sessions": 3}}}`: "ready", `{"pools": {"p": {"kernel": "x", "read_only": ["data"]}}}`: "read_only",
		`{"pools": {"p": {"kernel": "x", "env": {"LD_PRELOAD": "x"}}}}`: "LD_PRELOAD", `{"pools": {"p": {"kernel": "x", "limits": {"memory": "lots"}}}}`: "lots",
		`{"pools": {"p": {"kernel": "x", "limits": {"memory": 12}}}}`: "memory", `{"pools": {"p": {"kernel": "x", "isolation": "none", "runtime": ["x"]}}}`: "runtime",
	} {
		_, err := ReadPools(strings.NewReader(text))
		require.ErrorContains(t, err, say, text)
	}
}

// No name leads out of the session's folder, and whatever the body is, it ends.
func FuzzUploads(f *testing.F) {
	for _, name := range []string{"a.txt", "../x", "/mnt/data/a/b", "a/../../b", "", "..", "/", "é\u202e", `C:\\x`, "a\x00b"} {
		f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=file; filename=\""+name+"\"\r\n\r\nx\r\n--b--\r\n")
	}
	f.Add("application/json", "--b\r\nContent-Disposition: form-data; name=file; filename*=UTF-8''%e2%82%ac\r\n\r\nx\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, kind, text string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(text))
		r.Header.Set("Content-Type", kind)
		parts, err := partsOf(r)
		for err == nil {
			var part *multipart.Part
			if part, err = parts.NextRawPart(); err != nil {
				return
			}
			name, err := fileName(part)
			if err != nil || name == "" {
				continue
			}
			p, err := filePath(name)
			if err != nil {
				require.Equal(t, fault.Invalid, fault.KindOf(err), "%q: %v", name, err)
				continue
			}
			require.True(t, p.IsRoot() || filepath.IsLocal(p.String()), "%q", p)
		}
		require.Equal(t, fault.Invalid, fault.KindOf(err))
	})
}
