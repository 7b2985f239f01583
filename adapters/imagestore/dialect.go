package imagestore

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nbserv/nbserv/internal/fault"
)

// The answers. Numbers are strings, as the API has them.
type (
	storeContent struct {
		StoreFiles   []storeFile
		StoreFolders []storeFolder
	}
	storeFile struct {
		FileSize          string
		FileVersion       fileVersion
		ModifiedDate      string
		StoreRelativePath string
	}
	fileVersion struct {
		VersionNumber            string
		EpochDataLossNumber      string
		EpochConfigurationNumber string
	}
	storeFolder struct {
		StoreRelativePath string
		FileCount         string
	}
	uploadSessions struct {
		UploadSessions []uploadSession
	}
	uploadSession struct {
		StoreRelativePath string
		SessionId         string
		ModifiedDate      string
		FileSize          string
		ExpectedRanges    []chunkRange
	}
	chunkRange struct { // both ends belong to it
		StartPosition string
		EndPosition   string
	}
	folderSize struct {
		StoreRelativePath string
		FolderSize        string
	}
	storeInfo struct {
		DiskInfo       diskInfo
		UsedByMetadata usage
		UsedByStaging  usage
		UsedByCopy     usage
		UsedByRegister usage
	}
	diskInfo struct {
		Capacity       string
		AvailableSpace string
	}
	usage struct {
		UsedSpace string
		FileCount string
	}
	fabricError struct {
		Error struct {
			Code    string
			Message string
		}
	}
)

// copyDescription is the body of a copy.
type copyDescription struct {
	RemoteSource      string
	RemoteDestination string
	SkipFiles         []string
	CheckMarkFile     bool
}

// markFile says that a folder is complete. Clients upload it last.
const markFile = "_.dir"

// Codes of FabricError. Where the API has none that fits, the code is the system error that the product is built on.
const (
	codeInvalid      = "E_INVALIDARG"
	codeNoFile       = "FABRIC_E_FILE_NOT_FOUND"
	codeNoFolder     = "FABRIC_E_DIRECTORY_NOT_FOUND"
	codeExists       = "FABRIC_E_NAME_ALREADY_EXISTS"
	codeIDConflict   = "FABRIC_E_UPLOAD_SESSION_ID_CONFLICT"
	codeRange        = "FABRIC_E_UPLOAD_SESSION_RANGE_NOT_SATISFIABLE"
	codeTooLarge     = "FABRIC_E_VALUE_TOO_LARGE"
	codeTimeout      = "FABRIC_E_TIMEOUT"
	codeNotReady     = "FABRIC_E_NOT_READY"
	codeAborted      = "E_ABORT"
	codeDenied       = "E_ACCESSDENIED"
	codeNotSupported = "E_NOTIMPL"
	codeDiskFull     = "ERROR_DISK_FULL"
	codeFail         = "E_FAIL"
)

// codes is the code of each kind of fault, unless the operation knows a better one.
var codes = map[fault.Kind]string{
	fault.Internal:        codeFail,
	fault.Invalid:         codeInvalid,
	fault.Unauthenticated: codeDenied,
	fault.Forbidden:       codeDenied,
	fault.NotFound:        codeNoFile,
	fault.NotAllowed:      codeNotSupported,
	fault.Gone:            codeNoFile,
	fault.Conflict:        codeExists,
	fault.TooLarge:        codeTooLarge,
	fault.RangeInvalid:    codeRange,
	fault.TooMany:         codeNotReady,
	fault.Unstartable:     codeNotSupported,
	fault.Busy:            codeNotReady,
	fault.Timeout:         codeTimeout,
	fault.NoSpace:         codeDiskFull,
	fault.Canceled:        codeAborted,
}

// coded is an error for which the operation has a code of its own.
type coded struct {
	error
	code string
}

func (c *coded) Unwrap() error { return c.error }

// codeFor gives errors of kind a code.
func codeFor(err error, kind fault.Kind, code string) error {
	if err == nil || fault.KindOf(err) != kind {
		return err
	}
	return &coded{err, code}
}

func codeOf(err error) string {
	var c *coded
	if errors.As(err, &c) {
		return c.code
	}
	return codes[fault.KindOf(err)]
}

// apiVersion is the version of the API in a request, "6.0" or "6.4-preview".
type apiVersion struct{ major, minor int }

var (
	version60 = apiVersion{6, 0} // introduced the ImageStore's REST API
	version65 = apiVersion{6, 5} // added folder sizes and the store's usage
)

var versionPattern = regexp.MustCompile(`^(\d{1,4})\.(\d{1,4})(-preview)?$`)

// checkVersion asks for an api-version that is least or later. The API takes a later one and behaves as documented.
func checkVersion(text string, least apiVersion) error {
	if text == "" {
		return fault.New(fault.Invalid, `query "api-version" is missing: "%d.%d" or later`, least.major, least.minor)
	}
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return fault.New(fault.Invalid, `query "api-version" should be like "6.0", not %.100q`, text)
	}
	major, _ := strconv.Atoi(m[1]) // the pattern has checked them
	minor, _ := strconv.Atoi(m[2])
	if major < least.major || major == least.major && minor < least.minor {
		return fault.New(fault.Invalid, `query "api-version": %q is too old, "%d.%d" or later is needed`, text, least.major, least.minor)
	}
	return nil
}

// The limits of timeout=, in seconds.
const (
	defaultTimeout = 60
	maxTimeout     = 1<<32 - 1
)

// parseTimeout reads timeout=: how long the client is willing to wait.
func parseTimeout(text string) (time.Duration, error) {
	if text == "" {
		return defaultTimeout * time.Second, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxTimeout {
		return 0, fault.New(fault.Invalid, `query "timeout" should be 1 to %d seconds, not %.100q`, int64(maxTimeout), text)
	}
	return time.Duration(n) * time.Second, nil
}

// parseSession reads session-id=: a GUID, in any of its spellings, but not the one of zeros.
func parseSession(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil || id == uuid.Nil || strings.HasPrefix(text, "urn:") {
		return "", fault.New(fault.Invalid, `query "session-id" should be a GUID, not %.100q`, text)
	}
	return id.String(), nil
}

// Has tells whether a path, decoded and without a base URL, belongs to this API.
func Has(path string) bool {
	return path == "/ImageStore" || strings.HasPrefix(path, "/ImageStore/")
}

// statusOf is the HTTP status of err. Success is 200 and nothing else.
func statusOf(kind fault.Kind, httpStatus func(fault.Kind) int) int {
	if kind == fault.Gone {
		return http.StatusNotFound // the API has no 410
	}
	return httpStatus(kind)
}
