package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// gatherTimeout bounds how long the server's own metrics wait for the kernel host's.
const gatherTimeout = 2 * time.Second

// Gather gives the kernel host's metrics, none while it cannot be reached. It implements prometheus.Gatherer.
func (h *Host) Gather() ([]*dto.MetricFamily, error) {
	if h.reachable() != nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, gatherTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kernels"+metricsPath, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	resp, err := h.calls.Do(req)
	if err != nil {
		return nil, nil // it has just gone
	}
	defer resp.Body.Close()
	dec := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	var all []*dto.MetricFamily
	for {
		f := new(dto.MetricFamily)
		switch err := dec.Decode(f); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, f)
	}
}
