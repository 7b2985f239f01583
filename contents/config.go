package contents

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Defaults of Config.
const (
	// DefaultMaxBody is jupyter_server's max_body_size.
	DefaultMaxBody = 512 << 20
	// DefaultMaxCopy is jupyter_server's max_copy_folder_size_mb.
	DefaultMaxCopy = 500 << 20
	// DefaultStagingTTL is the ImageStore's: 30 minutes after the last part.
	DefaultStagingTTL = 30 * time.Minute
	// DefaultMaxUploads bounds the uploads in progress; each costs a file, a sidecar and its ranges (guess).
	DefaultMaxUploads = 1000
	// DefaultMaxUpload bounds one upload in parts: larger than what notebooks work on, smaller than a disk (guess).
	DefaultMaxUpload = 64 << 30
	// DefaultMaxStaging bounds what all unfinished uploads hold (guess).
	DefaultMaxStaging = 256 << 30
)

// Config says which files are served and how. The zero value lacks RootDir; start from DefaultConfig.
type Config struct {
	// RootDir is the directory that is served. It must exist; New makes it absolute.
	RootDir string
	// BaseURL is the prefix of all routes, percent-encoded, with a slash at both ends. For Location headers.
	BaseURL string
	// AllowHidden serves names that begin with a dot.
	AllowHidden bool
	// FollowSymlinks follows symbolic links that lead out of RootDir, as Jupyter does.
	FollowSymlinks bool
	// DeleteToTrash moves what is deleted to the freedesktop.org trash.
	DeleteToTrash bool
	// TrashDir is the home trash, usually $XDG_DATA_HOME/Trash. Files of other file systems go to the trash at
	// the top of theirs.
	TrashDir string
	// AlwaysDeleteDir lets a directory that is not empty be deleted without the trash.
	AlwaysDeleteDir bool
	// PreferredDir is the directory, below RootDir, where a user starts: an API path, or an absolute path.
	PreferredDir string
	// UntitledNotebook, UntitledFile and UntitledDirectory are the names given to new things.
	UntitledNotebook  string
	UntitledFile      string
	UntitledDirectory string
	// MaxBody is the largest request body, in bytes.
	MaxBody int64
	// MaxCopy is the largest directory that is copied, in bytes.
	MaxCopy int64
	// StagingDir holds the sidecar files of unfinished uploads, one file system with anything. Empty: a hidden
	// directory in RootDir, made when first needed.
	StagingDir string
	// StagingTTL is how long an upload may stand still before it is removed.
	StagingTTL time.Duration
	// MaxUploads is how many uploads may be unfinished at a time.
	MaxUploads int
	// MaxUpload is the size of the largest file that is uploaded in parts, in bytes.
	MaxUpload int64
	// MaxStaging is how many bytes all unfinished uploads may hold together.
	MaxStaging int64
	// ForPrograms serves programs and not people: a commit makes the folders that are missing on the way to its
	// file, and leaves a later time of the last change than the commit before, so that the time is a version.
	ForPrograms bool
	// Overlays are outputs that notebooks have beside their files. nil: there are none.
	Overlays Overlays
	// Notary remembers which notebooks are trusted. nil: nothing is said about trust.
	Notary Notary
	// Private are absolute folders that exist for nobody, wherever they lie.
	Private []string
}

// DefaultConfig is Jupyter's behaviour. RootDir is the working directory.
func DefaultConfig() Config {
	c := Config{
		RootDir:           ".",
		BaseURL:           "/",
		FollowSymlinks:    true,
		DeleteToTrash:     true,
		UntitledNotebook:  "Untitled",
		UntitledFile:      "untitled",
		UntitledDirectory: "Untitled Folder",
		MaxBody:           DefaultMaxBody,
		MaxCopy:           DefaultMaxCopy,
		StagingTTL:        DefaultStagingTTL,
		MaxUploads:        DefaultMaxUploads,
		MaxUpload:         DefaultMaxUpload,
		MaxStaging:        DefaultMaxStaging,
	}
	if home, err := os.UserHomeDir(); err == nil {
		c.TrashDir = filepath.Join(home, ".local", "share", "Trash")
	}
	return c
}

// Validate names the flag that is wrong.
func (c Config) Validate() error {
	info, err := os.Stat(c.RootDir)
	if err != nil {
		return fmt.Errorf("--root-dir: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--root-dir: %s is not a directory", c.RootDir)
	}
	if !strings.HasPrefix(c.BaseURL, "/") || !strings.HasSuffix(c.BaseURL, "/") {
		return fmt.Errorf("--base-url: %q should begin and end with a slash", c.BaseURL)
	}
	for flag, name := range map[string]string{
		"--untitled-notebook": c.UntitledNotebook, "--untitled-file": c.UntitledFile, "--untitled-directory": c.UntitledDirectory,
	} {
		if _, err := (Path{}).Join(name); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	if c.MaxBody <= 0 {
		return fmt.Errorf("--max-body-size: %d should be positive", c.MaxBody)
	}
	if c.MaxCopy < 0 {
		return fmt.Errorf("--max-copy-folder-size: %d should not be negative", c.MaxCopy)
	}
	if c.StagingTTL <= 0 {
		return fmt.Errorf("--staging-ttl: %v should be positive", c.StagingTTL)
	}
	if c.MaxUploads <= 0 {
		return fmt.Errorf("--max-uploads: %d should be positive", c.MaxUploads)
	}
	if c.MaxUpload <= 0 {
		return fmt.Errorf("--max-upload-size: %d should be positive", c.MaxUpload)
	}
	if c.MaxStaging <= 0 {
		return fmt.Errorf("--max-staging-size: %d should be positive", c.MaxStaging)
	}
	if c.DeleteToTrash && c.TrashDir != "" && !filepath.IsAbs(c.TrashDir) {
		return fmt.Errorf("--trash-dir: %q should be absolute", c.TrashDir)
	}
	return c.validatePreferred()
}

func (c Config) validatePreferred() error {
	p, err := c.preferred()
	if err != nil {
		return fmt.Errorf("--preferred-dir: %w", err)
	}
	info, err := os.Stat(filepath.Join(c.RootDir, filepath.FromSlash(p.rel)))
	if err != nil || !info.IsDir() {
		return fmt.Errorf("--preferred-dir: %q is not a directory below --root-dir", c.PreferredDir)
	}
	return nil
}

// preferred is PreferredDir as a Path. An absolute path below RootDir is taken too, as Jupyter does.
func (c Config) preferred() (Path, error) {
	s := c.PreferredDir
	root, err := filepath.Abs(c.RootDir)
	if err != nil {
		return Path{}, err
	}
	if filepath.IsAbs(s) {
		if rel, err := filepath.Rel(root, s); err == nil && filepath.IsLocal(rel) {
			s = filepath.ToSlash(rel)
		}
	}
	if s == "." {
		s = ""
	}
	return ParsePath(s)
}
