package contents

import (
	"mime"
	"path"
	"strings"
)

// mimeTypes are the extensions that notebook users meet, with the types that Python's mimetypes gives them.
// Others are looked up in the system's tables.
var mimeTypes = map[string]string{
	".txt": "text/plain", ".log": "text/plain", ".c": "text/plain", ".h": "text/plain", ".bat": "text/plain",
	".py": "text/x-python", ".md": "text/markdown", ".rst": "text/x-rst", ".csv": "text/csv",
	".tsv": "text/tab-separated-values", ".html": "text/html", ".htm": "text/html", ".css": "text/css",
	".js": "text/javascript", ".mjs": "text/javascript", ".xml": "text/xml", ".json": "application/json",
	".geojson": "application/geo+json", ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
	".jpeg": "image/jpeg", ".gif": "image/gif", ".bmp": "image/bmp", ".ico": "image/vnd.microsoft.icon",
	".tif": "image/tiff", ".tiff": "image/tiff", ".webp": "image/webp", ".pdf": "application/pdf",
	".zip": "application/zip", ".tar": "application/x-tar", ".wasm": "application/wasm",
	".mp3": "audio/mpeg", ".wav": "audio/x-wav", ".ogg": "audio/ogg", ".mp4": "video/mp4", ".webm": "video/webm",
	".mov": "video/quicktime", ".avi": "video/x-msvideo", ".sh": "application/x-sh", ".tex": "application/x-tex",
	".ps": "application/postscript", ".eps": "application/postscript", ".bin": "application/octet-stream",
	".exe": "application/octet-stream", ".so": "application/octet-stream", ".doc": "application/msword",
	".xls": "application/vnd.ms-excel", ".ppt": "application/vnd.ms-powerpoint", ".nc": "application/x-netcdf",
	".hdf": "application/x-hdf", ".woff": "font/woff", ".woff2": "font/woff2",
}

// encodings are suffixes that say how a file is packed, not what it is.
var encodings = map[string]string{".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".br": "br", ".z": "compress"}

// mimetype guesses a file's type by its name, "" when it is unknown. A packed file has the type of what is in it.
func mimetype(name string) string {
	ext := path.Ext(name)
	if ext == "" || ext == name {
		return ""
	}
	lower := strings.ToLower(ext)
	if t, ok := mimeTypes[lower]; ok {
		return t
	}
	if lower == ".tgz" {
		return mimeTypes[".tar"]
	}
	if _, packed := encodings[lower]; packed {
		return mimetype(name[:len(name)-len(ext)])
	}
	t, _, _ := strings.Cut(mime.TypeByExtension(lower), ";")
	return t
}

// servedType is the Content-Type of a file's own bytes.
func servedType(name string) string {
	if strings.HasSuffix(strings.ToLower(name), ".ipynb") {
		return "application/x-ipynb+json"
	}
	switch encodings[strings.ToLower(path.Ext(name))] {
	case "":
	case "gzip": // RFC 6713
		return "application/gzip"
	default:
		return "application/octet-stream"
	}
	switch t := mimetype(name); t {
	case "":
		return "application/octet-stream"
	case "text/plain":
		return "text/plain; charset=UTF-8"
	default:
		return t
	}
}

// Mimetype guesses a file's type by its name; "" when it is unknown.
func Mimetype(name string) string { return mimetype(name) }
