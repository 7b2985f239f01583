package adapters

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/sessions"
)

func TestCollectAgainstPython(t *testing.T) {
	m := realFixture(t, "python3")
	r := run(t, m, "import sys; print('é'); print('e', file=sys.stderr); x = 6*7; x", Limits{})
	require.Equal(t, "é\n", r.Stdout)
	require.Equal(t, "e\n", r.Stderr)
	require.Len(t, r.Outputs, 1)
	require.JSONEq(t, `"42"`, string(r.Outputs[0].Data["text/plain"]))

	r = run(t, m, "1/0", Limits{})
	require.Equal(t, "ZeroDivisionError", r.Error.Name)
	require.Equal(t, "division by zero", r.Error.Value)
	require.Contains(t, r.Error.Traceback, "1/0")
	require.NotContains(t, r.Error.Traceback, "\x1b")

	r = run(t, m, "from IPython.display import display, HTML\nh = display(HTML('<i>1</i>'), display_id=True)\nh.update(HTML('<i>2</i>'))", Limits{})
	require.Len(t, r.Outputs, 1)
	require.JSONEq(t, `"<i>2</i>"`, string(r.Outputs[0].Data["text/html"]))

	s, err := m.Create(t.Context(), sessions.CreateRequest{Path: "s", Type: "test"})
	require.NoError(t, err)
	r, err = Collect(m.Execute(t.Context(), s.ID, kernel.ExecuteRequest{UserExpressions: map[string]string{"v": "x + 1"}}), Limits{})
	require.NoError(t, err)
	require.Contains(t, string(r.UserExpressions["v"]), `"43"`)
}
