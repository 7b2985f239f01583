package rserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/nbserv/nbserv/adapters"
	"github.com/nbserv/nbserv/internal/fault"
)

// arguments are the values of a service's input parameters.
type arguments map[string]json.RawMessage

// consume calls a service with the values of its parameters. An error in its code, and the death of its kernel, are in the
// answer.
func (s *Server) consume(ctx context.Context, key serviceKey, args arguments) (webServiceResult, error) {
	for {
		x, err := s.service(key)
		if err != nil {
			return webServiceResult{}, err
		}
		result, err := x.consume(ctx, args)
		if !errors.Is(err, errPoolClosed) { // else it was patched just now
			return result, err
		}
	}
}

// inputs checks the values of a call.
func (x *service) inputs(args arguments) ([]given, error) {
	all := make([]given, 0, len(x.row.body.Inputs))
	for _, d := range x.row.body.Inputs {
		value, ok := args[d.Name]
		if !ok {
			return nil, fault.New(fault.Invalid, "input parameter %q of type %s is missing", d.Name, d.Type)
		}
		g, err := checkValue(d.Name, d.Type, value, x.runtime)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

func (x *service) consume(ctx context.Context, args arguments) (webServiceResult, error) {
	inputs, err := x.inputs(args)
	if err != nil {
		return webServiceResult{}, err
	}
	req := request{Op: "execute", Code: x.row.body.Code, Inputs: inputs, Reset: true}
	for _, d := range x.row.body.Outputs {
		req.Outputs = append(req.Outputs, param(d))
	}
	for range maxTries {
		w, err := x.pool.take(ctx)
		if err != nil {
			return webServiceResult{}, err
		}
		result, err := x.callOn(ctx, w, req)
		if !errors.Is(err, errNotBegun) { // else the kernel was dead before: nothing has run
			return result, err
		}
	}
	return webServiceResult{}, fault.New(fault.Busy, "the service's kernels end before they can be used")
}

// maxTries is how many kernels a call may find dead.
const maxTries = 5

// callOn makes the call on w, and gives w back.
func (x *service) callOn(ctx context.Context, w *pooled, req request) (webServiceResult, error) {
	result := webServiceResult{OutputParameters: values{}, OutputFiles: map[string][]byte{}, ChangedFiles: []string{}}
	req.Console = w.ioPath("console")
	r, err := w.call(ctx, req)
	if err == nil {
		result.Success, result.ErrorMessage = r.Success, r.Error
		if r.Outputs != nil {
			result.OutputParameters = r.Outputs
		}
		result.ConsoleOutput = readConsole(req.Console)
		err = x.readFiles(w, &result)
		x.pool.give(w, err == nil && w.reusable && r.Clean)
		return result, err
	}
	reason := ""
	if st, gone := x.srv.host.Get(w.kernelID); gone == nil {
		reason = st.Reason
	}
	x.pool.give(w, false)
	switch {
	case errors.Is(err, errNotBegun):
		return result, err
	case errors.Is(err, errKernel):
		result.ErrorMessage = strings.TrimSuffix(x.row.body.Runtime+" ended during the call: "+cmp.Or(reason, "its process died"), ": ")
		result.ConsoleOutput = readConsole(req.Console)
		return result, nil
	case errors.Is(err, errInterrupted):
		result.ErrorMessage = "the call was interrupted"
		return result, nil
	}
	return result, err
}

// readConsole reads what a call has printed, its beginning and its end.
func readConsole(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "" // it printed nothing, or the kernel's folder is gone with it
	}
	defer func() { _ = f.Close() }()
	t := adapters.NewText(maxConsole)
	_, _ = io.Copy(t, f) // what can be read is better than nothing
	return t.String()
}

// readFiles finds out what files a call has made, and reads those that the service gives out.
func (x *service) readFiles(w *pooled, result *webServiceResult) error {
	now, err := list(w.workDir())
	if err != nil {
		return err
	}
	result.ChangedFiles = w.files.changed(now)
	w.dirty = !w.files.same(now)
	left := int64(maxOutputFiles)
	for _, name := range x.row.body.OutputFileNames {
		f, info, err := openFile(w.workDir(), name)
		if fault.KindOf(err) == fault.NotFound {
			continue // the code did not make it this time
		}
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(f, left+1))
		_ = f.Close()
		if err != nil {
			return fault.OS(err, "an output file")
		}
		if left -= int64(len(data)); left < 0 {
			return fault.New(fault.TooLarge, "the output files are larger than %d bytes (%s has %d)", int64(maxOutputFiles), name, info.Size())
		}
		result.OutputFiles[name] = data
	}
	return nil
}

// maxOutputFiles bounds the files in one answer: base64 makes a third more of it.
const maxOutputFiles = 256 << 20
