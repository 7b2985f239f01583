package rserver

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is deleted is gone from the database, from the folder and from the host, all of it.
func TestDeletionRemovesEverything_P11(t *testing.T) {
	t.Parallel()
	s := newSite(t, realHost(t, runtimePython))
	ann := s.as("ann")
	x := ann.session(runtimePython)
	ann.mustExecute(x, "v = 1; open('f.txt', 'w').write('x'); None")
	snap := ann.snapshot(x)
	path := ann.publish("short", publishRequest{RuntimeType: ptr("Python"), SnapshotID: &snap, OutputFileNames: &[]string{"o.txt"},
		Code: ptr("r = v; open('o.txt', 'w').write('y')"), OutputParameterDefinitions: definitions("r integer")})
	var batch startBatchResponse
	ann.json(202, "POST", path+"/batch", `[{},{}]`, &batch)
	require.Eventually(t, func() bool {
		var b batchResult
		ann.json(200, "GET", path+"/batch/"+batch.ID, nil, &b)
		return b.State == batchComplete
	}, patience, 20*tick)
	tables := []string{"rserver_session", "rserver_history", "rserver_snapshot", "rserver_service", "rserver_batch"}
	folders := []string{"kernels", "snapshots", "services", "batches"}
	for _, table := range tables {
		require.NotZero(t, s.count(table), table)
	}
	for _, folder := range folders {
		require.NotEmpty(t, s.folder(folder), folder)
	}

	ann.json(200, "DELETE", x, nil, nil)
	ann.json(200, "DELETE", "/snapshots/"+snap, nil, nil)
	ann.json(200, "DELETE", "/services/short/v1", nil, nil) // with its batches and its kernels
	for _, table := range tables {
		require.Zero(t, s.count(table), table)
	}
	require.Eventually(t, func() bool {
		left := len(s.host.List())
		for _, folder := range folders {
			left += len(s.folder(folder))
		}
		return left == 0
	}, patience, tick, "files and kernels: %v", s.host.List())
}

// count is how many rows a table has.
func (s *site) count(table string) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.db.Do(s.t.Context(), func(tx *sql.Tx) error {
		return tx.QueryRowContext(s.t.Context(), "SELECT count(*) FROM "+table).Scan(&n)
	}))
	return n
}

// folder is what is in a folder of the adapter's.
func (s *site) folder(name string) []os.DirEntry {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "rserver", name))
	require.NoError(s.t, err)
	return entries
}
