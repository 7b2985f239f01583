package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// labTime bounds one visit of the browser, which takes ten seconds where nothing else runs.
const labTime = 5 * time.Minute

// pageLoad is one load of the page, until its launcher can be used.
type pageLoad struct {
	MS       float64 `json:"ms"`
	Files    float64 `json:"files"`  // ms until the folder's files are there
	Work     float64 `json:"work"`   // ms of it that the page's own thread was busy
	Asking   float64 `json:"asking"` // ms of it that any request was under way
	Requests float64 `json:"requests"`
	Bytes    float64 `json:"bytes"` // over the network
}

// measureLab has a browser visit JupyterLab as nbserv and as `jupyter lab` serve it, each time with a new profile.
func (b *bench) measureLab(ctx context.Context) error {
	if b.node == "" {
		b.say("skipped: there is no browser to measure with (-node)")
		return nil
	}
	ours, err := b.startServer(nbserv)
	if err != nil {
		return err
	}
	theirs, err := b.startServer(lab)
	if err != nil {
		return err
	}
	for range b.rounds {
		for _, s := range []*server{ours, theirs} {
			if err := errors.Join(s.settle(ctx), b.quiet(ctx)); err != nil {
				return err
			}
			if err := b.visit(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

func (b *bench) visit(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, labTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.node, "bench.mjs", "http://"+s.addr+"/", token)
	cmd.Dir = b.browser
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, errText.Bytes())
	}
	var v struct {
		Cold, Warm  pageLoad
		Kernel, Run float64
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return err
	}
	for cache, load := range map[string]pageLoad{"cold": v.Cold, "warm": v.Warm} {
		b.add("lab-"+cache, s.name, load.MS)
		b.add("lab-"+cache+"-files", s.name, load.Files)
		b.add("lab-"+cache+"-work", s.name, load.Work)
		b.add("lab-"+cache+"-asking", s.name, load.Asking)
		b.add("lab-"+cache+"-requests", s.name, load.Requests)
		b.add("lab-"+cache+"-bytes", s.name, load.Bytes/1e6)
	}
	b.add("lab-kernel", s.name, v.Kernel)
	b.add("lab-run", s.name, v.Run)
	return nil
}

// labArgs is `jupyter lab` as it comes, but that it asks nobody outside.
func (b *bench) labArgs(port, root string) []string {
	return []string{
		b.python, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=" + port,
		"--ServerApp.port_retries=0", "--IdentityProvider.token=" + token, "--ServerApp.root_dir=" + root,
		"--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
	}
}
