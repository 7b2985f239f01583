package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/internal/auth"
)

func TestTakenPortIsHandled(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	c := Config{IP: "localhost", Port: port, PortRetries: 20}
	ln, err := listen(context.Background(), &c)
	require.NoError(t, err)
	require.Greater(t, ln.Addr().(*net.TCPAddr).Port, port)
	require.NoError(t, ln.Close())

	c.PortRetries = 0
	_, err = listen(context.Background(), &c)
	require.ErrorContains(t, err, "--port")

	c.Port, c.PortRetries = 65535, 5
	if ln, err = listen(context.Background(), &c); err == nil {
		require.NoError(t, ln.Close())
	}
}

func TestPrintedURLs(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 99}
	name, err := os.Hostname()
	require.NoError(t, err)
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{IP: "localhost", BaseURL: "/", Auth: auth.Config{Token: "t"}}, []string{"http://localhost:99/?token=t", "http://127.0.0.1:99/?token=t"}},
		{Config{IP: "::1", BaseURL: "/"}, []string{"http://localhost:99/", "http://[::1]:99/"}},
		{Config{IP: "0.0.0.0", BaseURL: "/a%40b/", CertFile: "c"}, []string{"https://" + name + ":99/a%40b/", "https://127.0.0.1:99/a%40b/"}},
		{Config{IP: "192.0.2.7", BaseURL: "/"}, []string{"http://192.0.2.7:99/"}},
	} {
		require.Equal(t, c.want, urls(&c.cfg, addr))
	}
}

// writePair writes a new self-signed certificate for name.
func writePair(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}

func servedName(t *testing.T, c *certificate) string {
	t.Helper()
	pair, err := c.get(&tls.ClientHelloInfo{})
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	return leaf.Subject.CommonName
}

func TestCertificateIsReadAgainWhenItChanges(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	writePair(t, certFile, keyFile, "first")
	c, err := newCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, "first", servedName(t, c))

	writePair(t, certFile, keyFile, "second, longer")
	require.Equal(t, "first", servedName(t, c), "the disk is looked at once a second")
	due := func() {
		c.mu.Lock()
		c.checked = c.checked.Add(-certCheckEvery)
		c.mu.Unlock()
	}
	due()
	require.Equal(t, "second, longer", servedName(t, c))

	require.NoError(t, os.WriteFile(keyFile, []byte("half"), 0o600))
	due()
	require.Equal(t, "second, longer", servedName(t, c), "a broken pair leaves the old one")
	writePair(t, certFile, keyFile, "the third one")
	due()
	require.Equal(t, "the third one", servedName(t, c))

	_, err = newCertificate(certFile, "/does/not/exist", slog.New(slog.DiscardHandler))
	require.Error(t, err)
}
