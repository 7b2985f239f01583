package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate and its key on disk, read again when either file changes. The look at the disk
// is at a handshake, and at most once in certCheckEvery. Safe for concurrent use.
type certificate struct {
	certFile, keyFile string // immutable
	log               *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate // guarded by mu
	stamp   [2]fileStamp     // guarded by mu
	checked time.Time        // guarded by mu
}

// certCheckEvery bounds how often handshakes look at the files.
const certCheckEvery = time.Second

type fileStamp struct {
	mod  time.Time
	size int64
}

func newCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	c.stamp = c.look()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.loaded = &pair
	return c, nil
}

func (c *certificate) look() [2]fileStamp {
	var s [2]fileStamp
	for i, name := range []string{c.certFile, c.keyFile} {
		if fi, err := os.Stat(name); err == nil {
			s[i] = fileStamp{fi.ModTime(), fi.Size()}
		}
	}
	return s
}

// get is a tls.Config's GetCertificate. A pair that cannot be read (half of it written, say) leaves the old one.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	due := time.Since(c.checked) >= certCheckEvery
	if due {
		c.checked = time.Now()
	}
	loaded, stamp := c.loaded, c.stamp
	c.mu.Unlock()
	if !due {
		return loaded, nil
	}
	now := c.look()
	if now == stamp {
		return loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Warn("the changed TLS certificate cannot be read, the old one stays", "err", err)
		return loaded, nil
	}
	c.mu.Lock()
	c.loaded, c.stamp = &pair, now
	c.mu.Unlock()
	c.log.Info("TLS certificate read again")
	return &pair, nil
}

func (c *certificate) config() *tls.Config {
	// HTTP/1.1 only: a WebSocket is an upgrade of HTTP/1.1.
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}
