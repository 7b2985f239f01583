package imagestore

import (
	"strconv"
	"strings"
	"time"

	"github.com/nbserv/nbserv/contents"
	"github.com/nbserv/nbserv/internal/fault"
)

// timeFormat is ISO 8601, as the client's generated code reads it.
const timeFormat = "2006-01-02T15:04:05.000000Z"

func timeText(t time.Time) string { return t.UTC().Format(timeFormat) }

func number(n int64) string { return strconv.FormatInt(n, 10) }

// parsePath makes an API path of a content path, in which "\" is as good as "/". The segment "$" is the API's own: a
// file of that name could be written and never be read.
func parsePath(s string) (contents.Path, error) {
	s = strings.ReplaceAll(s, `\`, "/")
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "$" {
			return contents.Path{}, fault.New(fault.Invalid, `%.100q: "$" is no name for a file or folder`, s)
		}
	}
	return contents.ParsePath(s)
}

// parseFilePath is parsePath for what cannot be the store's root.
func parseFilePath(s string) (contents.Path, error) {
	p, err := parsePath(s)
	if err == nil && p.IsRoot() {
		err = fault.New(fault.Invalid, "the path of the file or folder is missing")
	}
	return p, err
}

func contentOf(files []contents.FileInfo, folders []contents.FolderInfo) storeContent {
	out := storeContent{StoreFiles: []storeFile{}, StoreFolders: []storeFolder{}}
	for _, f := range files {
		out.StoreFiles = append(out.StoreFiles, storeFile{
			FileSize:          number(f.Size),
			FileVersion:       versionOf(f),
			ModifiedDate:      timeText(f.Modified),
			StoreRelativePath: f.Path.String(),
		})
	}
	for _, f := range folders {
		out.StoreFolders = append(out.StoreFolders, storeFolder{f.Path.String(), number(f.Files)})
	}
	return out
}

// versionOf is the version of a stored file. The epochs count events of a cluster's replicas, which there are none of.
func versionOf(f contents.FileInfo) fileVersion {
	return fileVersion{VersionNumber: number(f.Modified.UnixNano()), EpochDataLossNumber: "0", EpochConfigurationNumber: "0"}
}

// session is what this package reads of a contents.Upload.
type session struct {
	path     contents.Path
	id       string
	size     int64
	modified time.Time
	missing  []contents.Range
}

func sessionOf(u *contents.Upload) session {
	return session{u.Path(), u.ID(), u.Size(), u.Modified(), u.Missing()}
}

func sessionsOf(all []session) uploadSessions {
	out := uploadSessions{UploadSessions: []uploadSession{}}
	for _, s := range all {
		one := uploadSession{
			StoreRelativePath: s.path.String(), SessionId: s.id, ModifiedDate: timeText(s.modified), FileSize: number(s.size),
			ExpectedRanges: []chunkRange{},
		}
		for _, r := range s.missing {
			one.ExpectedRanges = append(one.ExpectedRanges, chunkRange{number(r.From), number(r.To - 1)})
		}
		out.UploadSessions = append(out.UploadSessions, one)
	}
	return out
}

func sizeOf(f contents.FolderInfo) folderSize {
	return folderSize{f.Path.String(), number(f.Bytes)}
}

// infoOf describes what the store uses. What is copied and what is registered are one: the stored files.
func infoOf(total, free int64, stored contents.FolderInfo, uploads int, held int64) storeInfo {
	return storeInfo{
		DiskInfo:       diskInfo{number(total), number(free)},
		UsedByMetadata: usage{"0", "0"},
		UsedByStaging:  usage{number(held), number(int64(uploads))},
		UsedByCopy:     usage{number(stored.Bytes), number(stored.Files)},
		UsedByRegister: usage{"0", "0"},
	}
}

// copyOf checks a copy description.
func copyOf(d *copyDescription) (from, to contents.Path, o contents.TreeCopy, err error) {
	if d == nil {
		return from, to, o, fault.New(fault.Invalid, "the body should be a JSON object with RemoteSource and RemoteDestination")
	}
	if from, err = parseFilePath(d.RemoteSource); err != nil {
		return from, to, o, fault.Wrap(fault.KindOf(err), err, "field \"RemoteSource\": %s", fault.Message(err))
	}
	if to, err = parseFilePath(d.RemoteDestination); err != nil {
		return from, to, o, fault.Wrap(fault.KindOf(err), err, "field \"RemoteDestination\": %s", fault.Message(err))
	}
	for _, name := range d.SkipFiles {
		o.Skip = append(o.Skip, strings.Trim(strings.ReplaceAll(name, `\`, "/"), "/"))
	}
	if d.CheckMarkFile {
		o.Mark = markFile
	}
	return from, to, o, nil
}
