package lsp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// fakeVariable makes this test's own program a language server.
const fakeVariable = "NBSERV_FAKE_LANGUAGE_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(fakeVariable) != "" {
		fake()
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a language server that does what the method of each message says.
func fake() {
	in := &reader{bufio.NewReaderSize(os.Stdin, lineBuffer)}
	for {
		raw, err := in.next()
		if err != nil {
			return
		}
		var m struct {
			Method string `json:"method"`
			Text   string `json:"text"`
		}
		_ = json.Unmarshal(raw, &m)
		switch m.Method {
		case "echo":
			say(raw)
		case "where":
			dir, _ := os.Getwd()
			say(fmt.Appendf(nil, `{"pid": %d, "dir": %q, "extra": %q, "secret": %q}`, os.Getpid(), dir, os.Getenv("EXTRA"), os.Getenv("SECRET")))
		case "greet": // as those do that take standard output for a log
			fmt.Print("hello\n\nContent-Type: x\r\nwithout an end")
			say(raw)
		case "raw":
			fmt.Print(m.Text)
		case "die":
			fmt.Fprintln(os.Stderr, "last words")
			os.Exit(3)
		case "exit":
			os.Exit(0)
		case "child": // that outlives signals, and holds the output open
			signal.Ignore(syscall.SIGTERM)
			cmd := exec.Command("sleep", "1000")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if cmd.Start() == nil {
				say(fmt.Appendf(nil, `{"pid": %d}`, cmd.Process.Pid))
			}
		case "flood":
			for text := `{"text": "` + strings.Repeat("x", 1<<20) + `"}`; ; {
				say([]byte(text))
			}
		case "stop": // reads nothing more
			say(raw)
			select {}
		}
	}
}

func say(text []byte) { _, _ = os.Stdout.Write(frame(text)) }
