package codeinterpreter

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/nbserv/nbserv/internal/fault"
)

// family is a range of api-versions that answer alike.
type family uint8

const (
	family2402 family = iota + 1 // 2024-02-02-preview: $id and properties
	family2408                   // 2024-08-02-preview: bare arrays of files
	family2410                   // 2024-10-02-preview and 2025-02-02-preview: resources
	family2510                   // 2025-10-02-preview and later: the same, executions answer 200
)

// atLeast2410 tells whether answers are resources.
func (f family) resources() bool { return f >= family2410 }

var versionPattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-z0-9.-]{1,20})?$`)

// parseVersion finds the family of api-version=. None is fallback: the clients that send none know one route.
func parseVersion(text string, fallback family) (family, error) {
	if text == "" {
		return fallback, nil
	}
	if !versionPattern.MatchString(text) {
		return 0, coded("InvalidApiVersion", fault.New(fault.Invalid, `query "api-version" should be like "2025-10-02-preview", not %.60q`, text))
	}
	switch day := text[:len("2006-01-02")]; {
	case day >= "2025-10-02":
		return family2510, nil
	case day >= "2024-09-01": // a version of that day was announced, with the later ones' shapes
		return family2410, nil
	case day >= "2024-08-02":
		return family2408, nil
	}
	return family2402, nil
}

// Identifiers.
const (
	minIdentifier = 4
	maxIdentifier = 128
	// defaultIdentifier is the session of requests that name none, as the API's own examples of uploads do.
	defaultIdentifier = "default"
)

// parseIdentifier checks the name of a session: free text, never a path.
func parseIdentifier(text string) (string, error) {
	if text == "" {
		return defaultIdentifier, nil
	}
	n := 0
	for _, r := range text {
		if n++; r < ' ' || r == 0x7f || r == '\uFFFD' {
			return "", coded("InvalidIdentifier", fault.New(fault.Invalid, `query "identifier" has a control character, or is not UTF-8`))
		}
	}
	if n < minIdentifier || n > maxIdentifier {
		return "", coded("InvalidIdentifier", fault.New(fault.Invalid, `query "identifier" should have %d to %d characters, not %d`, minIdentifier, maxIdentifier, n))
	}
	return text, nil
}

// executeBody is the body of every execute route: wrapped in properties, or flat.
type executeBody struct {
	Properties *executeProperties `json:"properties"`
	executeProperties
}

// executeProperties are the fields of all families. Unknown ones are passed over.
type executeProperties struct {
	Identifier             string   `json:"identifier"`
	CodeInputType          string   `json:"codeInputType"`
	ExecutionType          string   `json:"executionType"`
	Code                   *string  `json:"code"`
	PythonCode             *string  `json:"pythonCode"`
	ShellCommand           *string  `json:"shellCommand"`
	ExecCommandAndArgs     []string `json:"execCommandAndArgs"`
	Stdin                  *string  `json:"stdin"`
	TimeoutInSeconds       *int64   `json:"timeoutInSeconds"`
	OutputStreamsMaxLength *int     `json:"outputStreamsMaxLength"`
	UseEmptyKernel         bool     `json:"useEmptyKernel"`
	ReturnJupyterFormat    bool     `json:"returnJupyterFormat"` // in the vendor's examples
	ReturnJupyterResult    bool     `json:"returnJupyterFormatExecutionResult"`
}

// The answers. Fields are always present where clients read them without asking.
type (
	// propertiesAnswer is the answer to code/execute.
	propertiesAnswer struct {
		Properties *properties `json:"properties"`
	}
	// flatAnswer is the answer to python/execute: the same fields at the top as well.
	flatAnswer struct {
		Properties *properties `json:"properties"`
		properties
	}
	properties struct {
		ID              string          `json:"$id"`
		Identifier      string          `json:"identifier"`
		ExecutionType   string          `json:"executionType"`
		Status          string          `json:"status"` // Success, Failure; Running before the end
		Stdout          string          `json:"stdout"`
		Stderr          string          `json:"stderr"`
		Result          json.RawMessage `json:"result"`
		ExecutionResult json.RawMessage `json:"executionResult"`
		Milliseconds    int64           `json:"executionTimeInMilliseconds"`
		Outputs         []richOutput    `json:"outputs,omitempty"`
		Error           *apiError       `json:"error,omitempty"`
	}
	// resource is the answer to executions.
	resource struct {
		ID            string          `json:"id"`
		Identifier    string          `json:"identifier"`
		ExecutionType string          `json:"executionType"`
		Status        string          `json:"status"` // of a shell command: its exit code
		Result        *resourceResult `json:"result,omitempty"`
		Error         *apiError       `json:"error,omitempty"`
	}
	resourceResult struct {
		Stdout          string          `json:"stdout"`
		Stderr          string          `json:"stderr"`
		ExecutionResult json.RawMessage `json:"executionResult,omitempty"`
		Milliseconds    int64           `json:"executionTimeInMilliseconds"`
		Outputs         []richOutput    `json:"outputs,omitempty"`
	}
	// richOutput is a display or a value with all its representations. No other service of this API has it.
	richOutput struct {
		Type     string                     `json:"type"` // as Jupyter's message: display_data, execute_result
		Data     map[string]json.RawMessage `json:"data"`
		Metadata map[string]json.RawMessage `json:"metadata,omitempty"`
	}
	// picture is the result of code that draws.
	picture struct {
		Type   string `json:"type"`
		Format string `json:"format"`
		Base64 string `json:"base64_data"`
	}

	apiError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	errorAnswer struct {
		Error apiError `json:"error"`
	}

	// file2402, file2408 and file2410 are a file in each family.
	file2402 struct {
		ID         string         `json:"$id"`
		Properties fileProperties `json:"properties"`
	}
	fileProperties struct {
		ID       string `json:"$id"`
		Filename string `json:"filename"`
		Size     int64  `json:"size"`
		Modified string `json:"lastModifiedTime"`
	}
	files2402 struct {
		ID    string     `json:"$id"`
		Value []file2402 `json:"value"`
	}
	file2408 struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Filename string `json:"filename"`
		Size     int64  `json:"size"`
		Modified string `json:"last_modified_time"`
		MimeType string `json:"mime_type"`
	}
	metadata2408 struct {
		Value []file2402 `json:"value"`
	}
	file2410 struct {
		Name        string `json:"name"`
		Directory   string `json:"directory"`
		Type        string `json:"type"` // file, directory
		ContentType string `json:"contentType"`
		Size        int64  `json:"sizeInBytes"`
		Modified    string `json:"lastModifiedAt"`
	}
	files2410 struct {
		Value    []file2410 `json:"value"`
		NextLink *string    `json:"nextLink"`
	}
	message struct {
		Message string `json:"message"`
	}

	sessionResource struct {
		Identifier   string `json:"identifier"`
		Created      string `json:"createdAt"`
		LastAccessed string `json:"lastAccessedAt"`
		Expires      string `json:"expireAt"`
		ETag         string `json:"etag"`
	}
	sessionsAnswer struct {
		Sessions []sessionResource `json:"sessions"`
		NextLink *string           `json:"nextLink,omitempty"`
	}
)

// timeText is a time as all families have it.
func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// codedError is an error for which the operation has a code of its own.
type codedError struct {
	error
	code string
}

func (e *codedError) Unwrap() error { return e.error }

func coded(code string, err error) error { return &codedError{err, code} }

// codes is the code of each kind of fault, in the manner of the vendor's APIs.
var codes = map[fault.Kind]string{
	fault.Internal:        "InternalServerError",
	fault.Invalid:         "BadRequest",
	fault.Unauthenticated: "Unauthorized",
	fault.Forbidden:       "Forbidden",
	fault.NotFound:        "NotFound",
	fault.NotAllowed:      "MethodNotAllowed",
	fault.Gone:            "Gone",
	fault.Conflict:        "Conflict",
	fault.TooLarge:        "PayloadTooLarge",
	fault.RangeInvalid:    "InvalidRange",
	fault.TooMany:         "TooManyRequests",
	fault.Unstartable:     "SessionUnavailable",
	fault.Busy:            "ServiceUnavailable",
	fault.Timeout:         "GatewayTimeout",
	fault.NoSpace:         "InsufficientStorage",
	fault.Canceled:        "ClientClosedRequest",
}

// prefix is where the pools are on the main address.
const prefix = "/aca/pools/"

// Has tells whether a path, decoded and without a base URL, belongs to this API.
func Has(path string) bool {
	return path == "/aca" || strings.HasPrefix(path, "/aca/") || path == "/mcp"
}
