package rserver

import (
	"encoding/json"
	"errors"

	"github.com/nbserv/nbserv/internal/fault"
)

// The requests and answers, as the API's documents name them.
type (
	loginRequest struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	renewTokenRequest struct {
		RefreshToken string `json:"refreshToken"`
	}
	accessTokenResponse struct {
		TokenType    string `json:"token_type"`
		AccessToken  string `json:"access_token"`
		ExpiresIn    int64  `json:"expires_in"` // seconds
		ExpiresOn    int64  `json:"expires_on"` // seconds since 1970
		RefreshToken string `json:"refresh_token"`
	}

	createSessionRequest struct {
		Name        string `json:"name"`
		SnapshotID  string `json:"snapshotId"`
		RuntimeType string `json:"runtimeType"`
	}
	createSessionResponse struct {
		SessionID string `json:"sessionId"`
	}
	sessionModel struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		Owner       string `json:"owner"`
		RuntimeType string `json:"runtimeType"`
	}
	consoleOutputResponse struct {
		ConsoleOutput string `json:"consoleOutput"`
	}
	// workspaceObject is the value of a parameter. Its type may be said where the value alone leaves it open.
	workspaceObject struct {
		Name  string          `json:"name"`
		Type  string          `json:"type,omitempty"`
		Value json.RawMessage `json:"value"`
	}
	executeRequest struct {
		Code             string            `json:"code"`
		InputParameters  []workspaceObject `json:"inputParameters"`
		OutputParameters []string          `json:"outputParameters"`
	}
	executeResponse struct {
		Success          bool     `json:"success"`
		ErrorMessage     string   `json:"errorMessage"`
		OutputParameters []named  `json:"outputParameters"`
		ConsoleOutput    string   `json:"consoleOutput"`
		ChangedFiles     []string `json:"changedFiles"`
	}

	createSnapshotRequest struct {
		Name string `json:"name"`
	}
	createSnapshotResponse struct {
		SnapshotID string `json:"snapshotId"`
	}
	snapshotModel struct {
		ID           string `json:"id"`
		Name         string `json:"name"`
		Owner        string `json:"owner"`
		CreationTime string `json:"creationTime"`
		ContentSize  int64  `json:"contentSize"`
		RuntimeType  string `json:"runtimeType"`
	}

	parameterDefinition struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	// publishRequest publishes a service, and patches one: what is null or missing stays as it is.
	publishRequest struct {
		Version                    *string                `json:"version"`
		SnapshotID                 *string                `json:"snapshotId"`
		Code                       *string                `json:"code"`
		InitCode                   *string                `json:"initCode"`
		Description                *string                `json:"description"`
		OperationID                *string                `json:"operationId"`
		RuntimeType                *string                `json:"runtimeType"`
		InputParameterDefinitions  *[]parameterDefinition `json:"inputParameterDefinitions"`
		OutputParameterDefinitions *[]parameterDefinition `json:"outputParameterDefinitions"`
		OutputFileNames            *[]string              `json:"outputFileNames"`
	}
	serviceModel struct {
		CreationTime               string                `json:"creationTime"`
		Name                       string                `json:"name"`
		Version                    string                `json:"version"`
		VersionPublishedBy         string                `json:"versionPublishedBy"`
		Owner                      string                `json:"owner"`
		RuntimeType                string                `json:"runtimeType"`
		SnapshotID                 *string               `json:"snapshotId"`
		InitCode                   *string               `json:"initCode"`
		Code                       string                `json:"code"`
		Description                *string               `json:"description"`
		OperationID                *string               `json:"operationId"`
		InputParameterDefinitions  []parameterDefinition `json:"inputParameterDefinitions"`
		OutputParameterDefinitions []parameterDefinition `json:"outputParameterDefinitions"`
		OutputFileNames            []string              `json:"outputFileNames"`
		MyPermissionOnService      string                `json:"myPermissionOnService"`
	}

	// webServiceResult is what a call of a service came to.
	webServiceResult struct {
		Success          bool              `json:"success"`
		ErrorMessage     string            `json:"errorMessage"`
		OutputParameters values            `json:"outputParameters"`
		OutputFiles      map[string][]byte `json:"outputFiles"` // in base64
		ConsoleOutput    string            `json:"consoleOutput"`
		ChangedFiles     []string          `json:"changedFiles"`
	}
	startBatchResponse struct {
		ID string `json:"batchExecutionId"`
		// ForSDK is what azureml-model-management-sdk reads.
		ForSDK string `json:"BatchExecutionId"`
	}
	batchResult struct {
		State                 string            `json:"state"`
		CompletedItemCount    int               `json:"completedItemCount"`
		TotalItemCount        int               `json:"totalItemCount"`
		ParallelCount         int               `json:"parallelCount"`
		BatchExecutionResults []json.RawMessage `json:"batchExecutionResults"`
	}
	poolModel struct {
		InitialPoolSize int `json:"InitialPoolSize"`
		MaxPoolSize     int `json:"MaxPoolSize"`
	}
	statusResponse struct {
		StatusCode string                     `json:"statusCode"`
		Components map[string]*statusResponse `json:"components"`
		Details    map[string]any             `json:"details"`
	}

	apiError struct {
		Message       string `json:"message"`
		Link          string `json:"link"`
		ExceptionType string `json:"exceptionType"`
	}
)

// values is an object of output parameters, in the order of their definitions.
type values []named

// MarshalJSON implements json.Marshaler.
func (v values) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, one := range v {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(one.Name)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), one.Value...)
	}
	return append(b, '}'), nil
}

// The states of a batch.
const (
	batchPending    = "pending"
	batchInProgress = "inProgress"
	batchComplete   = "complete"
)

// The health of a component.
const (
	green  = "green"
	yellow = "yellow"
	red    = "red"
)

const (
	permissionWrite = "read/write"
	permissionRead  = "read only"
)

// timeFormat is the API's: UTC without saying so, as its example has it.
const timeFormat = "2006-01-02T15:04:05.000000"

// exceptionTypes names the faults as the API's own server does, which is written in .NET.
var exceptionTypes = map[fault.Kind]string{
	fault.Internal:        "InternalServerErrorException",
	fault.Invalid:         "BadRequestException",
	fault.Unauthenticated: "UnauthorizedException",
	fault.Forbidden:       "ForbiddenException",
	fault.NotFound:        "NotFoundException",
	fault.NotAllowed:      "MethodNotAllowedException",
	fault.Gone:            "GoneException",
	fault.Conflict:        "ConflictException",
	fault.TooLarge:        "RequestEntityTooLargeException",
	fault.RangeInvalid:    "RangeNotSatisfiableException",
	fault.TooMany:         "TooManyRequestsException",
	fault.Unstartable:     "RuntimeUnavailableException",
	fault.Busy:            "ServiceUnavailableException",
	fault.Timeout:         "TimeoutException",
	fault.NoSpace:         "InsufficientStorageException",
	fault.Canceled:        "OperationCanceledException",
}

// requestFailed is 402 in the API: the request was right, and what it asked for failed.
type requestFailed struct{ error }

func (e requestFailed) Unwrap() error { return e.error }

const requestFailedType = "RequestFailedException"

// failed makes an error of what the helper said: it is about the user's own objects.
func failed(format string, args ...any) error {
	return requestFailed{fault.New(fault.Conflict, format, args...)}
}

func isRequestFailed(err error) bool {
	var f requestFailed
	return errors.As(err, &f)
}

// text makes a field that is null when it is empty.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
