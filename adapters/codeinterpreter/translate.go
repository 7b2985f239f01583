package codeinterpreter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
)

// request is one execution as it was asked for. It is kept as JSON.
type request struct {
	Code      string        `json:"code"`
	Shell     bool          `json:"shell,omitempty"` // Code is a shell command
	Stdin     *string       `json:"stdin,omitempty"` // of a shell command
	Async     bool          `json:"async,omitempty"`
	Timeout   time.Duration `json:"timeout"`
	MaxStream int           `json:"max_stream,omitempty"` // bytes of each stream; 0 is the server's limit
	Jupyter   bool          `json:"jupyter,omitempty"`    // the result is text, as Jupyter shows it
	Fresh     bool          `json:"fresh,omitempty"`      // in a kernel of its own
}

func invalidField(name, format string, args ...any) error {
	return fault.New(fault.Invalid, "field %q "+format, append([]any{name}, args...)...)
}

// requestOf checks the body of an execution for a pool.
func requestOf(body executeBody, p PoolConfig) (req request, err error) {
	b := body.executeProperties
	if body.Properties != nil {
		b = *body.Properties
	}
	req = request{
		Timeout: p.MaxTimeout, Stdin: b.Stdin, Jupyter: b.ReturnJupyterFormat || b.ReturnJupyterResult, Fresh: b.UseEmptyKernel,
	}
	if req.Async, err = executionTypeOf(b.ExecutionType); err != nil {
		return req, err
	}
	if req.Code, req.Shell, err = codeOf(b, p.Shell); err != nil {
		return req, err
	}
	if b.Stdin != nil && !req.Shell {
		return req, invalidField("stdin", "is for shell commands")
	}
	if s := b.TimeoutInSeconds; s != nil {
		if *s < 1 {
			return req, invalidField("timeoutInSeconds", "should be 1 or more, not %d", *s)
		}
		req.Timeout = min(p.MaxTimeout, time.Duration(min(*s, 1<<31))*time.Second)
	}
	if n := b.OutputStreamsMaxLength; n != nil {
		if *n < 1 {
			return req, invalidField("outputStreamsMaxLength", "should be 1 or more, not %d", *n)
		}
		req.MaxStream = *n
	}
	return req, nil
}

func executionTypeOf(text string) (async bool, err error) {
	switch strings.ToLower(text) {
	case "", "synchronous":
		return false, nil
	case "asynchronous":
		return true, nil
	}
	return false, invalidField("executionType", `should be "Synchronous" or "Asynchronous", not %.60q`, text)
}

// codeOf finds what is to be run, under any of its names.
func codeOf(b executeProperties, shellPool bool) (code string, shell bool, err error) {
	var given []string
	for _, f := range []struct {
		name  string
		value *string
	}{{"code", b.Code}, {"pythonCode", b.PythonCode}, {"shellCommand", b.ShellCommand}} {
		if f.value != nil {
			given = append(given, f.name)
			code, shell = *f.value, f.name == "shellCommand"
		}
	}
	if b.ExecCommandAndArgs != nil {
		given = append(given, "execCommandAndArgs")
		if code, shell = shellWords(b.ExecCommandAndArgs), true; code == "" {
			return "", false, invalidField("execCommandAndArgs", "is empty")
		}
	}
	switch {
	case len(given) == 0:
		name := "code"
		if shellPool {
			name = "shellCommand"
		}
		return "", false, invalidField(name, "is missing: there is nothing to execute")
	case len(given) > 1:
		return "", false, invalidField(given[1], "cannot be given beside %q", given[0])
	case given[0] == "pythonCode" && shellPool:
		return "", false, invalidField("pythonCode", "is for Python pools, this one runs shell commands")
	}
	switch strings.ToLower(b.CodeInputType) {
	case "", "inline", "inlinetext":
	case "inlinebase64":
		raw, err := base64.StdEncoding.DecodeString(code)
		if err != nil {
			return "", false, invalidField(given[0], "is not base64, which codeInputType says it is")
		}
		code = string(raw)
	default:
		return "", false, invalidField("codeInputType", `should be "Inline", "InlineBase64" or "InlineText", not %.60q`, b.CodeInputType)
	}
	return code, shell || shellPool, nil
}

// shellWords is a command of these words.
func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellQuote(w)
	}
	return strings.Join(quoted, " ")
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// state is how far an execution is: NotStarted, Running, Succeeded, Failed, Canceled.
type state string

const (
	notStarted state = "NotStarted"
	running    state = "Running"
	succeeded  state = "Succeeded"
	failed     state = "Failed"
	canceled   state = "Canceled"
)

func (s state) ended() bool { return s == succeeded || s == failed || s == canceled }

// outcome is what an execution came to. It is kept as JSON.
type outcome struct {
	State    state           `json:"state"`
	Stdout   string          `json:"stdout,omitempty"`
	Stderr   string          `json:"stderr,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"`   // the value of the code, where JSON can say it
	Text     *string         `json:"text,omitempty"`    // the value of the code as Jupyter shows it
	Picture  *picture        `json:"picture,omitempty"` // the value, or the last picture that was shown
	Outputs  []richOutput    `json:"outputs,omitempty"`
	ExitCode *int            `json:"exit_code,omitempty"` // of a shell command
	Duration time.Duration   `json:"duration"`
	Error    *apiError       `json:"error,omitempty"`
}

// Codes of what goes wrong in an execution.
const (
	codeUserError  = "UserCodeError"
	codeTimeout    = "ExecutionTimeout"
	codeCanceled   = "ExecutionCanceled"
	codeKernelDied = "SessionCrashed"
	codeLost       = "ExecutionLost"
)

// outcomeOf makes an outcome of what was collected.
func outcomeOf(r adapters.Result, took time.Duration) outcome {
	o := outcome{State: succeeded, Stdout: r.Stdout, Stderr: r.Stderr, Duration: took}
	var shown *picture
	for _, out := range r.Outputs {
		data := maps.Clone(out.Data)
		delete(data, valueType)
		kind := "display_data"
		if out.Value {
			kind = "execute_result"
			o.Value, o.Text, o.Picture = valueOf(out.Data), textOf(out.Data), pictureOf(out.Data)
		} else if p := pictureOf(out.Data); p != nil {
			shown = p
		}
		if len(data) > 0 {
			o.Outputs = append(o.Outputs, richOutput{kind, data, out.Metadata})
		}
	}
	if o.Value == nil && o.Picture == nil {
		o.Picture = shown
	}
	if f := r.Error; f != nil {
		o.fail(codeUserError, strings.TrimSuffix(f.Name+": "+f.Value, ": "))
		if o.say(f.Traceback); f.KernelDied() {
			o.Error = &apiError{codeKernelDied, f.Value}
		}
	}
	if r.LeftOut > 0 {
		o.say(fmt.Sprintf("[%d outputs are left out: they are too many or too large]", r.LeftOut))
	}
	if r.Missed > 0 {
		o.say(fmt.Sprintf("[at least %d messages of the kernel could not be kept]", r.Missed))
	}
	return o
}

// fail says that the execution went wrong.
func (o *outcome) fail(code, message string) {
	o.State, o.Error = failed, &apiError{code, message}
}

// say adds a line to stderr.
func (o *outcome) say(line string) {
	if line == "" {
		return
	}
	if o.Stderr != "" && !strings.HasSuffix(o.Stderr, "\n") {
		o.Stderr += "\n"
	}
	o.Stderr += line
}

// valueType is under which the startup code of a session puts the JSON of a value, as a text.
const valueType = "application/vnd.nbserv.value+json"

// valueOf is the JSON of a value; nil when JSON cannot say it.
func valueOf(data map[string]json.RawMessage) json.RawMessage {
	var text string
	if raw, ok := data[valueType]; ok && json.Unmarshal(raw, &text) == nil && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	if raw, ok := data["application/json"]; ok {
		return raw
	}
	return nil
}

func textOf(data map[string]json.RawMessage) *string {
	var text string
	if raw, ok := data["text/plain"]; !ok || json.Unmarshal(raw, &text) != nil {
		return nil
	}
	return &text
}

// pictureFormats are in the order of preference.
var pictureFormats = []string{"png", "jpeg", "gif", "webp", "svg+xml"}

func pictureOf(data map[string]json.RawMessage) *picture {
	for _, format := range pictureFormats {
		var text string
		if raw, ok := data["image/"+format]; !ok || json.Unmarshal(raw, &text) != nil {
			continue
		}
		if format == "svg+xml" { // the only one that is no base64 in Jupyter
			return &picture{"image", "svg", base64.StdEncoding.EncodeToString([]byte(text))}
		}
		return &picture{"image", format, strings.ReplaceAll(text, "\n", "")}
	}
	return nil
}

var nothing = json.RawMessage(`""`)

// result is executionResult: a JSON value, a picture, a text, or "".
func (o *outcome) result(jupyter bool) json.RawMessage {
	switch {
	case jupyter && o.Picture == nil && o.Text == nil:
		return json.RawMessage("null")
	case jupyter && o.Picture == nil && isPrimitive(o.Value):
		return encode(*o.Text)
	case o.Value != nil:
		return o.Value
	case o.Picture != nil:
		return encode(o.Picture)
	case o.Text != nil:
		return encode(*o.Text)
	}
	return nothing
}

func isPrimitive(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] != '{' && raw[0] != '[' }

func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // texts, numbers and JSON that was valid before
		panic("codeinterpreter: cannot encode: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// rich are the outputs that result does not tell already.
func (o *outcome) rich() []richOutput {
	if len(o.Outputs) == 1 {
		told := map[string]bool{"text/plain": true}
		if o.Picture != nil {
			told["image/"+o.Picture.Format] = true
		}
		only := o.Outputs[0]
		maps.DeleteFunc(told, func(kind string, _ bool) bool { _, has := only.Data[kind]; return !has })
		if len(told) == len(only.Data) {
			return nil
		}
	}
	return o.Outputs
}

// snapshot is an execution at one moment, for its answers.
type snapshot struct {
	id, identifier string
	sessionID      string
	request        request
	state          state
	created        time.Time
	outcome        *outcome // nil before the end
}

func (s snapshot) executionType() string {
	if s.request.Async {
		return "Asynchronous"
	}
	return "Synchronous"
}

func (s snapshot) properties() *properties {
	p := &properties{
		ID: s.id, Identifier: s.identifier, ExecutionType: s.executionType(), Status: string(running),
		Result: nothing, ExecutionResult: nothing,
	}
	if o := s.outcome; o != nil {
		p.Status = "Failure"
		if o.State == succeeded {
			p.Status = "Success"
		}
		p.Stdout, p.Stderr, p.Milliseconds = o.Stdout, o.Stderr, o.Duration.Milliseconds()
		p.Result = o.result(s.request.Jupyter)
		p.ExecutionResult, p.Outputs, p.Error = p.Result, o.rich(), o.Error
	}
	return p
}

func (s snapshot) resource() resource {
	r := resource{ID: s.id, Identifier: s.identifier, ExecutionType: s.executionType(), Status: string(s.state)}
	o := s.outcome
	if o == nil {
		return r
	}
	r.Result = &resourceResult{Stdout: o.Stdout, Stderr: o.Stderr, Milliseconds: o.Duration.Milliseconds(), Outputs: o.rich()}
	if r.Error = o.Error; !s.request.Shell {
		r.Result.ExecutionResult = o.result(s.request.Jupyter)
		return r
	}
	if o.ExitCode != nil {
		r.Status = strconv.Itoa(*o.ExitCode)
	}
	return r
}
