package rserver

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/fault"
)

// Every type goes in and comes out, and is what it should be in there. What comes out is given where it is not what
// came in.
func TestTypesBothWays(t *testing.T) {
	t.Parallel()
	host := realHost(t, runtimeR, runtimePython)
	type value struct {
		kind, in  string
		r, py     string // what comes out; "" is what came in
		isR, isPy string // what holds of x in there
	}
	all := map[string]value{
		"integer":            {kind: "integer", in: `2147483647`, isR: "is.integer(x)", isPy: "type(x) is int"},
		"integer, negative":  {kind: "integer", in: `-1`},
		"integer, NA":        {kind: "integer", in: `null`, isR: "identical(x, NA_integer_)", isPy: "x is None"},
		"numeric":            {kind: "numeric", in: `0.1`, isR: "x == 0.1", isPy: "x == 0.1"},
		"numeric, whole":     {kind: "numeric", in: `120`, py: `120.0`, isR: "is.double(x)", isPy: "type(x) is float"},
		"numeric, exact":     {kind: "numeric", in: `0.30000000000000004`, isR: "x == 0.1 + 0.2 && x != 0.3", isPy: "x == 0.1 + 0.2"},
		"numeric, small":     {kind: "numeric", in: `5e-324`, r: `4.9406564584124654e-324`, isR: "x > 0"},
		"numeric, large":     {kind: "numeric", in: `1.7976931348623157e308`, r: `1.7976931348623157e+308`, py: `1.7976931348623157e+308`},
		"numeric, NaN":       {kind: "numeric", in: `"NaN"`, isR: "is.nan(x)", isPy: "x != x"},
		"numeric, Inf":       {kind: "numeric", in: `"Inf"`, isR: "x == Inf"},
		"numeric, -Inf":      {kind: "numeric", in: `"-Inf"`, isR: "x == -Inf", isPy: "x == float('-inf')"},
		"numeric, NA":        {kind: "numeric", in: `null`, isR: "is.na(x) && !is.nan(x)", isPy: "x is None"},
		"numeric, several":   {kind: "numeric", in: `[1.5,2.5]`, isR: "length(x) == 2", isPy: "x == [1.5, 2.5]"},
		"logical":            {kind: "logical", in: `true`, isR: "isTRUE(x)", isPy: "x is True"},
		"logical, NA":        {kind: "logical", in: `null`, isR: "identical(x, NA)"},
		"character":          {kind: "character", in: `"plain"`},
		"character, unicode": {kind: "character", in: `"ünï 漢字 😀 \"quoted\" \\ \u000a \u0009"`, isR: `nchar(x) == 23`, isPy: "len(x) == 23"},
		"character, empty":   {kind: "character", in: `""`},
		"character, NA":      {kind: "character", in: `null`, isR: "identical(x, NA_character_)"},
		"vector of numbers":  {kind: "vector", in: `[1.5,2,null,3]`, py: `[1.5,2.0,"NaN",3.0]`, isR: "is.na(x[3]) && !is.nan(x[3])", isPy: "x.dtype.kind == 'f'"},
		"vector of integers": {kind: "vector", in: `[1,2,3]`, isR: "is.double(x)", isPy: "x.dtype.kind == 'i'"},
		"vector with NaN":    {kind: "vector", in: `[1.5,"NaN","Inf","-Inf"]`, isR: "is.nan(x[2]) && x[3] == Inf"},
		"vector of strings":  {kind: "vector", in: `["a",null,"é"]`, isR: "is.na(x[2])", isPy: "x[1] is None"},
		"vector of booleans": {kind: "vector", in: `[true,false,null]`, isR: "is.logical(x)"},
		"vector of one":      {kind: "vector", in: `[7]`, isR: "length(x) == 1", isPy: "x.shape == (1,)"},
		"vector, empty":      {kind: "vector", in: `[]`, isR: "length(x) == 0", isPy: "x.shape == (0,)"},
		"vector, NULL":       {kind: "vector", in: `null`, isR: "is.null(x)", isPy: "x is None"},
		"vector, mixed":      {kind: "vector", in: `[1,"a",true]`, isR: `identical(x, list(1L, "a", TRUE))`, isPy: "x == [1, 'a', True]"},
		"matrix":             {kind: "matrix", in: `[[1,2,3],[4,5,6]]`, isR: "identical(dim(x), 2:3) && x[2, 1] == 4", isPy: "x.shape == (2, 3) and x[1, 0] == 4"},
		"matrix of strings":  {kind: "matrix", in: `[["a","b"],["c","é"]]`, isR: "is.character(x)"},
		"matrix of one row":  {kind: "matrix", in: `[[1.5,2.5]]`, isR: "nrow(x) == 1", isPy: "x.shape == (1, 2)"},
		"matrix of one":      {kind: "matrix", in: `[[1.5]]`, isR: "identical(dim(x), c(1L, 1L))", isPy: "x.shape == (1, 1)"},
		"matrix, NaN and NA": {kind: "matrix", in: `[["NaN",1.5],[null,2.5]]`, py: `[["NaN",1.5],["NaN",2.5]]`, isR: "is.nan(x[1, 1]) && !is.nan(x[2, 1])"},
		"matrix, empty":      {kind: "matrix", in: `[]`, isR: "identical(dim(x), c(0L, 0L))", isPy: "x.shape == (0, 0)"},
		"data frame":         {kind: "data.frame", in: `{"n":[1.5,null],"s":["é","b"],"l":[true,false],"i":[1,2]}`, isR: "is.data.frame(x) && nrow(x) == 2 && is.na(x$n[2])", isPy: "x.shape == (2, 4)"},
		"data frame, 1 row":  {kind: "data.frame", in: `{"a":[1.5],"b":["x"]}`, isR: "nrow(x) == 1", isPy: "x.shape == (1, 2)"},
		"data frame, 0 rows": {kind: "data.frame", in: `{"a":[],"b":[]}`, isR: "identical(dim(x), c(0L, 2L))", isPy: "x.shape == (0, 2)"},
		"data frame, empty":  {kind: "data.frame", in: `{}`, isR: "identical(dim(x), c(0L, 0L))"},
		"data frame, NaN":    {kind: "data.frame", in: `{"a":["NaN",null,1.5]}`, py: `{"a":[null,null,1.5]}`, isR: "is.nan(x$a[1]) && !is.nan(x$a[2])"},
		"data frame, names":  {kind: "data.frame", in: `{"a b":[1.5],"é":[2.5],"1":["x"]}`, isR: `identical(names(x), c("a b", "é", "1"))`},
		"factor":             {kind: "factor", in: `["a","b","a"]`, isR: "is.factor(x) && nlevels(x) == 2", isPy: "list(x.categories) == ['a', 'b']"},
		"Date":               {kind: "Date", in: `"2016-11-20"`, isR: `x == as.Date("2016-11-20")`, isPy: "x.year == 2016"},
		"Date, NA":           {kind: "Date", in: `["2016-02-29",null]`, isR: "is.na(x[2])", isPy: "x[1] is None"},
		"POSIXct":            {kind: "POSIXct", in: `"2016-11-20T18:15:09.917656Z"`, isR: "abs(as.numeric(x) - 1479665709.917656) < 1e-6", isPy: "x.microsecond == 917656"},
		"POSIXct, whole":     {kind: "POSIXct", in: `"2016-11-20T18:15:09Z"`, isR: "as.numeric(x) == 1479665709"},
		"list":               {kind: "list", in: `{"a":[1,"x"],"b":{"c":null,"d":[[]]},"e":true}`, isR: `x$a[[2]] == "x" && is.null(x$b$c)`, isPy: "x['b']['c'] is None"},
		"list, array":        {kind: "list", in: `[1,[2,"a"],{"k":1.5}]`},
	}
	for _, r := range runtimes {
		w := newWorker(t, host, r)
		for name, v := range all {
			want, holds, code := v.r, v.isR, "if (!(%s)) stop('it is no such thing'); y <- x"
			if r == runtimePython {
				want, holds, code = v.py, v.isPy, "assert %s\ny = x"
			}
			if holds == "" {
				holds = map[*runtime]string{runtimeR: "TRUE", runtimePython: "True"}[r]
			}
			if want == "" {
				want = v.in
			}
			g, err := checkValue("x", v.kind, json.RawMessage(v.in), r)
			require.NoError(t, err, name)
			got, err := w.call(t.Context(), request{Op: "execute", Code: fmt.Sprintf(code, holds), Inputs: []given{g},
				Outputs: []param{{"y", v.kind}}, Console: w.ioPath("console")})
			require.NoError(t, err)
			require.True(t, got.Success, "%s, %s: %s", r.name, name, got.Error)
			require.JSONEq(t, want, string(got.Outputs[0].Value), "%s, %s", r.name, name)
			if v.kind == typeNumeric {
				require.Equal(t, want, string(got.Outputs[0].Value), "%s, %s: to the digit", r.name, name)
			}
		}
	}
}

// What comes out of other types, and of those above where no type is declared.
func TestOtherValues(t *testing.T) {
	t.Parallel()
	host := realHost(t, runtimeR, runtimePython)
	for r, all := range map[*runtime]map[string]string{
		runtimeR: {
			"1:3": `[1,2,3]`, "5L": `5`, "TRUE": `true`, "NULL": `null`, "NA": `null`, "c(a = 1, b = 2)": `[1,2]`, "character()": `[]`,
			`factor(c("b", "a", NA))`: `["b","a",null]`, `as.Date(c("2020-02-29", NA))`: `["2020-02-29",null]`,
			`as.POSIXct("2020-01-01 12:00:00", tz = "CET")`: `"2020-01-01T11:00:00Z"`, `as.POSIXlt("2020-01-01", tz = "UTC")`: `"2020-01-01T00:00:00Z"`,
			`as.difftime(2, units = "mins")`: `120`, "matrix(1:4, 2)": `[[1,3],[2,4]]`, "array(1:8, c(2, 2, 2))": `[[[1,5],[3,7]],[[2,6],[4,8]]]`,
			"list(a = 1, b = list(2, 'x'))": `{"a":1,"b":[2,"x"]}`, "list(1, NULL)": `[1,null]`, "list()": `[]`, "as.raw(1:3)": `"AQID"`,
			"1+2i": `"1+2i"`, "quote(a + b)": `"a + b"`, "function(x) x": `"function (x) \nx"`, `"a\001b"`: `"a\u0001b"`, `"\\ \" / \n"`: `"\\ \" / \n"`,
			"data.frame(f = factor('a'), d = as.Date('2020-01-01'), stringsAsFactors = FALSE)": `{"f":["a"],"d":["2020-01-01"]}`,
			"100000": `100000`, "1e15": `1000000000000000`, "1e300": `1e+300`, "123456789012": `123456789012`, "1/3": `0.33333333333333331`, "-0.5": `-0.5`,
			"table(c('a', 'b', 'a'))": `[2,1]`, `{ x <- "\xe9"; Encoding(x) <- "latin1"; x }`: `"é"`, `"\xff"`: `"<ff>"`, "structure(list(1), class = 'k')": `[1]`,
		},
		runtimePython: {
			"None": `null`, "float('nan')": `"NaN"`, "[1, float('inf')]": `[1,"Inf"]`, "(1, 2)": `[1,2]`, "{3}": `[3]`, "{1: 'a'}": `{"1":"a"}`, "2**70": `1180591620717411303424`,
			"__import__('datetime').date(2020, 2, 29)": `"2020-02-29"`, "__import__('datetime').timedelta(minutes=2)": `120`,
			"__import__('datetime').datetime(2020, 1, 1, 12, tzinfo=__import__('datetime').timezone(__import__('datetime').timedelta(hours=1)))": `"2020-01-01T11:00:00Z"`,
			"__import__('decimal').Decimal('1.5')": `1.5`, "b'abc'": `"YWJj"`, "1+2j": `"(1+2j)"`, "__import__('fractions').Fraction(1, 2)": `0.5`,
			"__import__('numpy').float32(1.5)": `1.5`, "__import__('numpy').array([1, 2])": `[1,2]`, "__import__('numpy').array([[1.5, float('nan')]])": `[[1.5,"NaN"]]`,
			"__import__('numpy').datetime64('2020-01-01T00:00:01')": `"2020-01-01T00:00:01Z"`, "__import__('numpy').bool_(True)": `true`,
			"__import__('pandas').DataFrame({'a': [1, 2], 'b': ['x', None]})": `{"a":[1,2],"b":["x",null]}`, "__import__('pandas').Series([1.5, None])": `[1.5,null]`,
			"__import__('pandas').Timestamp('2020-01-01', tz='UTC')": `"2020-01-01T00:00:00Z"`, "__import__('pandas').NaT": `null`, "__import__('pandas').Categorical(['a', 'b'])": `["a","b"]`,
			"'a\\ud800b'": `"a\ufffdb"`, "range(3)": `[0,1,2]`, "memoryview(b'a')": `"YQ=="`,
		},
	} {
		w := newWorker(t, host, r)
		for expression, want := range all {
			code := map[*runtime]string{runtimeR: "y <- " + expression, runtimePython: "y = " + expression}[r]
			got, err := w.call(t.Context(), request{Op: "execute", Code: code, Outputs: []param{{"y", ""}}, Console: w.ioPath("console")})
			require.NoError(t, err)
			require.True(t, got.Success, "%s: %s", expression, got.Error)
			require.JSONEq(t, want, string(got.Outputs[0].Value), expression)
		}
		for _, expression := range map[*runtime][]string{
			runtimeR: {"globalenv()", "list(new.env())", `{ setClass("Q", representation(a = "numeric")); new("Q", a = 1) }`}, runtimePython: {"object()", "[lambda: 1]"},
		}[r] {
			code := map[*runtime]string{runtimeR: "y <- " + expression, runtimePython: "y = " + expression}[r]
			got, err := w.call(t.Context(), request{Op: "execute", Code: code, Outputs: []param{{"y", ""}}, Console: w.ioPath("console")})
			require.NoError(t, err)
			require.False(t, got.Success)
			require.Contains(t, got.Error, "output parameter 'y': ")
		}
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	for _, c := range []struct{ kind, in string }{
		{"numeric", `"a"`}, {"numeric", `true`}, {"numeric", `{}`}, {"numeric", `[[1]]`}, {"numeric", `["x"]`},
		{"integer", `1.5`}, {"integer", `2147483648`}, {"integer", `"1"`}, {"integer", `1e400`},
		{"logical", `1`}, {"logical", `"true"`}, {"character", `1`}, {"character", `[1]`},
		{"vector", `[[1],[2]]`}, {"vector", `{"a":1}`},
		{"matrix", `[[1,2],[3]]`}, {"matrix", `[1,2]`}, {"matrix", `[[1,"a"]]`}, {"matrix", `"x"`},
		{"data.frame", `{"a":[1],"b":[1,2]}`}, {"data.frame", `{"a":1}`}, {"data.frame", `[1]`}, {"data.frame", `{"a":[1,"x"]}`},
		{"data.frame", `{"a":[1],"a":[2]}`}, {"Date", `"2016-13-01"`}, {"Date", `5`}, {"POSIXct", `"noon"`},
		{"character", `"a\u0000b"`}, {"list", `["\u0000"]`},
	} {
		_, err := checkValue("x", c.kind, json.RawMessage(c.in), runtimeR)
		require.Error(t, err, "%s %s", c.kind, c.in)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Contains(t, fault.Message(err), `"x"`)
	}
	for _, in := range []string{`"a\\u0000b"`, `"\\\\u0000"`} {
		_, err := checkValue("x", typeCharacter, json.RawMessage(in), runtimeR)
		require.NoError(t, err, in)
	}
	_, err := checkValue("x", typeCharacter, json.RawMessage(`"\u0000"`), runtimePython)
	require.NoError(t, err)
}

// FuzzCheckValue: whatever a client sends as a value is taken or refused, without a panic, and what is taken is JSON.
func FuzzCheckValue(f *testing.F) {
	for _, seed := range []string{`1`, `[1,"NaN",null]`, `{"a":[1],"b":["x"]}`, `[[1,2],[3,4]]`, `"\u0000"`, `[`, `{"a":}`, `1e999`, `[[[]]]`, `{"":[]}`} {
		for _, kind := range append(types, "") {
			f.Add(kind, seed)
		}
	}
	f.Fuzz(func(t *testing.T, kind, in string) {
		for _, r := range runtimes {
			g, err := checkValue("x", kind, json.RawMessage(in), r)
			if err != nil {
				require.Equal(t, fault.Invalid, fault.KindOf(err))
				continue
			}
			_, err = json.Marshal(request{Inputs: []given{g}})
			require.NoError(t, err)
		}
	})
}
