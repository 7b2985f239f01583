package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// rValue is a value that goes through a service: what holds of it in there, and what comes out where that is not what
// went in.
type rValue struct {
	kind, in        string
	r, python       string // of x
	rOut, pythonOut string
}

var rValues = []rValue{
	{kind: "integer", in: `7`, r: "identical(x, 7L)", python: "type(x) is int"},
	{kind: "numeric", in: `0.30000000000000004`, r: "x != 0.3", python: "x != 0.3"},
	{kind: "numeric", in: `"NaN"`, r: "is.nan(x)", python: "x != x"},
	{kind: "numeric", in: `"Inf"`, r: "x == Inf", python: "x == float('inf')"},
	{kind: "numeric", in: `"-Inf"`, r: "x == -Inf", python: "x == -float('inf')"},
	{kind: "numeric", in: `null`, r: "identical(x, NA_real_)", python: "x is None"},
	{kind: "logical", in: `true`, r: "isTRUE(x)", python: "x is True"},
	{kind: "logical", in: `null`, r: "identical(x, NA)", python: "x is None"},
	{kind: "character", in: `"ünï 漢字 😀 \"\\\n"`, r: "nchar(x) == 12", python: "len(x) == 12"},
	{kind: "character", in: `null`, r: "identical(x, NA_character_)", python: "x is None"},
	{kind: "vector", in: `[1.5,null,"NaN","Inf"]`, r: "is.na(x[2]) && !is.nan(x[2]) && is.nan(x[3])", python: "x.shape == (4,)", pythonOut: `[1.5,"NaN","NaN","Inf"]`},
	{kind: "vector", in: `["é",null]`, r: "is.na(x[2])", python: "x[1] is None"},
	{kind: "vector", in: `[]`, r: "length(x) == 0", python: "len(x) == 0"},
	{kind: "vector", in: `null`, r: "is.null(x)", python: "x is None"},
	{kind: "matrix", in: `[[1,2,3],[4,5,6]]`, r: "identical(dim(x), 2:3) && x[2, 1] == 4", python: "x.shape == (2, 3) and x[1, 0] == 4"},
	{kind: "matrix", in: `[[1.5]]`, r: "identical(dim(x), c(1L, 1L))", python: "x.shape == (1, 1)"},
	{kind: "data.frame", in: `{"n":[1.5,null],"s":["é",null],"l":[true,false]}`, r: "nrow(x) == 2 && is.na(x$n[2])", python: "x.shape == (2, 3)"},
	{kind: "data.frame", in: `{"a":[1.5],"b":["x"]}`, r: "is.data.frame(x) && nrow(x) == 1", python: "x.shape == (1, 2)"},
	{kind: "data.frame", in: `{"a":[],"b":[]}`, r: "identical(dim(x), c(0L, 2L))", python: "x.shape == (0, 2)"},
	{kind: "data.frame", in: `{}`, r: "identical(dim(x), c(0L, 0L))", python: "x.shape == (0, 0)"},
	{kind: "factor", in: `["b","a","b"]`, r: "is.factor(x) && nlevels(x) == 2", python: "list(x.categories) == ['a', 'b']"},
	{kind: "Date", in: `["2016-02-29",null]`, r: `inherits(x, "Date") && is.na(x[2])`, python: "x[0].day == 29 and x[1] is None"},
	{kind: "POSIXct", in: `"2016-11-20T18:15:09.917656Z"`, r: `inherits(x, "POSIXct")`, python: "x.microsecond == 917656"},
	{kind: "list", in: `{"a":[1,"x"],"b":{"c":null}}`, r: "is.null(x$b$c)", python: "x['b']['c'] is None"},
}

// Every type goes into a service and comes out, in R and in Python; and what code in a session prints can be read while
// it runs, until it is cancelled.
func TestRServerValues(t *testing.T) {
	s := startRServer(t, "ann")
	ann := s.logIn("ann", rPassword)
	for _, language := range []string{"R", "Python"} {
		t.Run(language, func(t *testing.T) {
			type parameter struct {
				Name string `json:"name"`
				Type string `json:"type"`
			}
			var inputs, outputs []parameter
			var code strings.Builder
			arguments, want := map[string]json.RawMessage{}, map[string]json.RawMessage{}
			for i, v := range rValues {
				in, out := fmt.Sprintf("i%d", i), fmt.Sprintf("o%d", i)
				inputs, outputs = append(inputs, parameter{in, v.kind}), append(outputs, parameter{out, v.kind})
				arguments[in], want[out] = json.RawMessage(v.in), json.RawMessage(v.in)
				other := v.rOut
				if language == "R" {
					fmt.Fprintf(&code, "x <- %s; if (!(%s)) stop('%s'); %s <- x\n", in, v.r, in, out)
				} else {
					other = v.pythonOut
					fmt.Fprintf(&code, "x = %s\nassert %s, '%s'\n%s = x\n", in, v.python, in, out)
				}
				if other != "" {
					want[out] = json.RawMessage(other)
				}
			}
			name := "values-" + language
			ann.must(201, "POST", "/services/"+name+"/v1", jsonText(t, map[string]any{"runtimeType": language, "code": code.String(),
				"inputParameterDefinitions": inputs, "outputParameterDefinitions": outputs}), nil)
			var got struct {
				Success          bool
				ErrorMessage     string
				OutputParameters json.RawMessage
			}
			ann.must(200, "POST", "/api/"+name+"/v1", jsonText(t, arguments), &got)
			require.True(t, got.Success, got.ErrorMessage)
			require.JSONEq(t, jsonText(t, want), string(got.OutputParameters))
			ann.must(200, "DELETE", "/services/"+name+"/v1", "", nil)
		})
	}
	loops := map[string]string{
		"R":      `i <- 0; repeat { i <- i + 1; cat("tick", i, "é\n"); Sys.sleep(0.02) }`,
		"Python": "import time\ni = 0\nwhile True:\n    i += 1; print('tick', i, 'é', flush=True); time.sleep(0.02)",
	}
	for language, loop := range loops {
		t.Run("cancel, "+language, func(t *testing.T) {
			var session struct{ SessionID string }
			ann.must(201, "POST", "/sessions", jsonText(t, map[string]string{"runtimeType": language}), &session)
			path := "/sessions/" + session.SessionID
			var answer string
			var wg sync.WaitGroup
			wg.Go(func() { _, answer = ann.ask("POST", path+"/execute", jsonText(t, map[string]string{"code": loop})) })
			s.eventually(func() bool {
				_, console := ann.ask("GET", path+"/console-output", "")
				return strings.Contains(console, "tick 3 é")
			})
			ann.must(200, "POST", path+"/cancel", "", nil)
			wg.Wait()
			require.Contains(t, answer, `"success":false`)
			require.Contains(t, answer, "tick 3 é")
			after := ann.must(200, "POST", path+"/execute", `{"code":"print(i > 2)","outputParameters":["i"]}`, nil)
			require.Regexp(t, `(?i)"consoleOutput":".*TRUE`, after, "the session is as it was")
			ann.must(200, "DELETE", path+"/force", "", nil)
		})
	}
}

// jsonText is v as JSON.
func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}
