package nbconvert

import (
	"context"
	"os"
	"slices"
)

// listing is what nbconvert last said of the formats that it knows.
type listing struct {
	pythons []string         // that could be asked
	folders map[string]int64 // of the packages of the one that answered, as they were then
	formats map[string]format
}

// formats lists what notebooks can be converted to. Every page asks for it when it opens its first notebook, and the child
// that tells takes seconds of a processor, just when the kernel starts: so the answer is kept until a package is
// installed or removed, and the child runs when nothing else wants to. Faults as run's.
func (c *Converter) formats(ctx context.Context) (map[string]format, error) {
	select {
	case c.listing <- struct{}{}: // whoever asks meanwhile gets the same answer
		defer func() { <-c.listing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pythons := c.cfg.Python()
	c.mu.Lock()
	have := c.listed
	c.mu.Unlock()
	if have.formats != nil && slices.Equal(have.pythons, pythons) && unchanged(have.folders) {
		return have.formats, nil
	}
	a, err := c.run(ctx, request{Do: "list"})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.listed = listing{pythons, a.Folders, a.Formats}
	c.mu.Unlock()
	return a.Formats, nil
}

// unchanged tells whether folders are as they were: installing and removing a package changes one.
func unchanged(folders map[string]int64) bool {
	for dir, changed := range folders {
		info, err := os.Stat(dir)
		if err != nil || info.ModTime().UnixNano() != changed {
			return false
		}
	}
	return true
}
