package overlay

import "github.com/nbserv/nbserv/contents/nbformat"

// cells are the code cells of one notebook.
type cells struct {
	byID   map[string]nbformat.Cell
	byCode map[string]nbformat.Cell // but those whose code another one has
	ids    bool                     // they have ids in the file
}

func index(nb *nbformat.Notebook) cells {
	c := cells{byID: map[string]nbformat.Cell{}, byCode: map[string]nbformat.Cell{}, ids: nb.HasIDs()}
	twins := map[string]bool{}
	for cell := range nb.CodeCells() {
		if id := cell.ID(); id != "" {
			c.byID[id] = cell
		}
		code := cell.Source()
		if _, there := c.byCode[code]; there {
			twins[code] = true
		}
		c.byCode[code] = cell
	}
	for code := range twins {
		delete(c.byCode, code)
	}
	return c
}

// find finds x's cell in a notebook: by its id, and in one whose file has no ids, or had none when the cell was found
// first, by its code if that is the code of no other cell. The place is new when x was not found at path before. mu is
// held.
func (x *execution) find(path string, all cells) (cell nbformat.Cell, p *place, ok bool) {
	p = x.Places[path]
	if p == nil {
		p = &place{Cell: x.Cell, ByCode: !all.ids}
	}
	if cell, ok = all.byID[p.Cell]; !ok && p.ByCode {
		cell, ok = all.byCode[x.Code]
	}
	if ok && x.Places[path] == nil {
		x.Places[path] = p
		x.dirty = true
	}
	return cell, p, ok
}
