package adapters

// Text keeps the beginning and the end of what is written to it. One goroutine at a time.
type Text struct{ text text }

// NewText makes a Text that keeps about limit bytes.
func NewText(limit int) *Text { return &Text{newText(limit)} }

// Write implements io.Writer and never fails.
func (t *Text) Write(p []byte) (int, error) {
	t.text.add(string(p))
	return len(p), nil
}

// String is the text, with a note where its middle is left out.
func (t *Text) String() string { return t.text.String() }
