package kerneltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

// Commands describes the language of Request.Default: one command a line, words separated by blanks.
const Commands = `
echo TEXT           print TEXT and give it as the result
print TEXT          print a line on stdout
stderr TEXT         print a line on stderr
display MIME TEXT   show TEXT as MIME
order K             K numbered outputs: stdout, stderr, display_data in turn
flood N SIZE        N stream messages of SIZE bytes, numbered in metadata.seq
count DURATION      the numbers from 0 on, a line on stdout each DURATION, until it is interrupted
buffers N SIZE      N comm_msg with one binary buffer of SIZE bytes, numbered in metadata.seq
sleep DURATION      interruptible
input PROMPT        ask, print the answer
error NAME TEXT     fail with this exception
env NAME            print an environment variable
cwd                 print the working folder
pid                 print the process id
die CODE            exit at once; a negative code is the number of a signal
hang                answer nothing but heartbeats, ignore interrupts and SIGTERM
hang-all            not even heartbeats
cut CHANNEL         cut all connections of a socket, live on
noreply             no reply
noidle              no idle status
late-reply DURATION the reply comes that long after the idle status
late-idle DURATION  the idle status comes that long after the reply
badsig              print a line with a wrong signature, then one with a right one
replay              print a line, then send the very same message again
hugeframe CHANNEL   a frame that claims 2^62 bytes (iopub or shell)
half CHANNEL        a message cut short, and nothing after it
garbage CHANNEL     random bytes where a frame should begin
`

// A command returns an error for a malformed line, and whether the next line may run.
type command func(r *Request, rest string) (next bool, err error)

var commands = map[string]command{
	"echo":       (*Request).cmdEcho,
	"print":      printer("stdout"),
	"stderr":     printer("stderr"),
	"display":    (*Request).cmdDisplay,
	"order":      (*Request).cmdOrder,
	"flood":      (*Request).cmdFlood,
	"count":      (*Request).cmdCount,
	"buffers":    (*Request).cmdBuffers,
	"sleep":      (*Request).cmdSleep,
	"input":      (*Request).cmdInput,
	"error":      (*Request).cmdError,
	"env":        (*Request).cmdEnv,
	"cwd":        (*Request).cmdCwd,
	"pid":        func(r *Request, _ string) (bool, error) { return r.line(strconv.Itoa(os.Getpid())) },
	"die":        (*Request).cmdDie,
	"hang":       func(r *Request, _ string) (bool, error) { return r.hang(false) },
	"hang-all":   func(r *Request, _ string) (bool, error) { return r.hang(true) },
	"cut":        (*Request).cmdCut,
	"noreply":    func(r *Request, _ string) (bool, error) { r.NoReply(); return true, nil },
	"noidle":     func(r *Request, _ string) (bool, error) { r.NoIdle(); return true, nil },
	"late-reply": (*Request).cmdLateReply,
	"late-idle":  (*Request).cmdLateIdle,
	"badsig":     (*Request).cmdBadSig,
	"replay":     (*Request).cmdReplay,
	"hugeframe":  raw(hugeFrame(flagMore)),
	"half":       raw(append(appendFrameHeader(nil, flagMore, 9), "<IDS|"...)),
	"garbage":    raw([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffgarbage")),
}

func commandNames() []string { return slices.Sorted(maps.Keys(commands)) }

// runCommands runs the lines of an execute_request's code until one ends the execution.
func (r *Request) runCommands() {
	for line := range strings.Lines(r.Code()) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		run, ok := commands[name]
		if !ok {
			r.Error("NameError", fmt.Sprintf("no command %q", name))
			return
		}
		next, err := run(r, strings.TrimSpace(rest))
		if err != nil {
			r.Error("SyntaxError", fmt.Sprintf("%s: %v", name, err))
		}
		if err != nil || !next || r.interrupted() {
			return
		}
	}
}

func (r *Request) line(text string) (bool, error) {
	r.Stream("stdout", text+"\n")
	return true, nil
}

func printer(stream string) command {
	return func(r *Request, text string) (bool, error) {
		r.Stream(stream, text+"\n")
		return true, nil
	}
}

func (r *Request) cmdEcho(text string) (bool, error) {
	r.Stream("stdout", text+"\n")
	r.Result(text)
	return true, nil
}

func (r *Request) cmdDisplay(rest string) (bool, error) {
	mime, text, _ := strings.Cut(rest, " ")
	r.Display(map[string]any{mime: text})
	return true, nil
}

func (r *Request) cmdCount(rest string) (bool, error) {
	pause, err := time.ParseDuration(rest)
	for i := 0; err == nil; i++ {
		r.Stream("stdout", strconv.Itoa(i)+"\n")
		if !r.Sleep(pause) {
			break
		}
	}
	return false, err
}

func (r *Request) cmdOrder(rest string) (bool, error) {
	n, err := strconv.Atoi(rest)
	for i := 0; i < n && !r.interrupted(); i++ {
		text := strconv.Itoa(i)
		switch i % 3 {
		case 0:
			r.Stream("stdout", text+"\n")
		case 1:
			r.Stream("stderr", text+"\n")
		default:
			r.Display(map[string]any{"text/plain": text})
		}
	}
	return true, err
}

func (r *Request) cmdFlood(rest string) (bool, error) {
	n, size, err := twoNumbers(rest)
	if err != nil {
		return false, err
	}
	text := strings.Repeat("x", max(size-1, 0)) + "\n"
	content := toJSON(map[string]string{"name": "stdout", "text": text})
	for i := 0; i < n && !r.interrupted(); i++ {
		r.PublishBuffers("stream", content, seq(i))
	}
	return true, nil
}

func (r *Request) cmdBuffers(rest string) (bool, error) {
	n, size, err := twoNumbers(rest)
	if err != nil {
		return false, err
	}
	buffer := make([]byte, size)
	for i := range buffer {
		buffer[i] = byte(i)
	}
	content := toJSON(map[string]any{"comm_id": "synth", "data": emptyObject})
	for i := 0; i < n && !r.interrupted(); i++ {
		r.PublishBuffers("comm_msg", content, seq(i), buffer)
	}
	return true, nil
}

func (r *Request) cmdSleep(rest string) (bool, error) {
	d, err := time.ParseDuration(rest)
	return err == nil && r.Sleep(d), err
}

func (r *Request) cmdInput(prompt string) (bool, error) {
	value, ok := r.Input(prompt, false)
	switch {
	case ok:
		return r.line(value)
	case !r.interrupted():
		r.Error("StdinNotImplementedError", "the client takes no input requests")
	}
	return false, nil
}

func (r *Request) cmdError(rest string) (bool, error) {
	name, text, _ := strings.Cut(rest, " ")
	r.Error(name, text)
	return false, nil
}

func (r *Request) cmdEnv(name string) (bool, error) {
	if r.k.opts.Getenv != nil {
		return r.line(r.k.opts.Getenv(name))
	}
	return r.line(os.Getenv(name))
}

func (r *Request) cmdCwd(string) (bool, error) {
	if r.k.opts.Cwd != "" {
		return r.line(r.k.opts.Cwd)
	}
	wd, err := os.Getwd()
	if err != nil {
		r.Error("OSError", err.Error())
		return false, nil
	}
	return r.line(wd)
}

func (r *Request) cmdDie(rest string) (bool, error) {
	code, err := strconv.Atoi(rest)
	if err != nil {
		return false, err
	}
	e := kernel.Exit{Code: code}
	if code < 0 {
		e = kernel.Exit{Code: -1, Signal: syscall.Signal(-code)}
	}
	r.NoReply()
	r.NoIdle()
	r.k.Die(e)
	return false, nil
}

// hang waits for the kernel's end, deaf to interrupts.
func (r *Request) hang(all bool) (bool, error) {
	r.k.hung.Store(true)
	r.k.deaf.Store(all)
	r.NoReply()
	r.NoIdle()
	<-r.k.ending
	return false, nil
}

func (r *Request) cmdCut(name string) (bool, error) {
	if !slices.Contains(socketNames[:], name) {
		return false, fmt.Errorf("no socket %q", name)
	}
	r.k.Disconnect(name)
	return true, nil
}

func (r *Request) cmdLateReply(rest string) (bool, error) {
	r.Idle()
	return r.cmdSleep(rest)
}

func (r *Request) cmdLateIdle(rest string) (bool, error) {
	r.OK()
	return r.cmdSleep(rest)
}

func (r *Request) cmdBadSig(string) (bool, error) {
	m := r.message(kernel.IOPub, "stream", map[string]string{"name": "stdout", "text": "forged\n"})
	frames := kernel.NewCodec([]byte("not the kernel's key")).Encode(m)
	r.k.sockets["iopub"].publish(append([][]byte{topic(m)}, frames...))
	return r.line("genuine")
}

func (r *Request) cmdReplay(string) (bool, error) {
	m := r.message(kernel.IOPub, "stream", map[string]string{"name": "stdout", "text": "once\n"})
	r.k.send(nil, m)
	r.k.send(nil, m)
	return true, nil
}

// raw is the command that writes b where a frame should begin, on a channel.
func raw(b []byte) command {
	return func(r *Request, channel string) (bool, error) {
		ch, ok := kernel.ParseChannel(channel)
		if !ok || ch == kernel.Stdin || ch == kernel.Control {
			return false, errors.New("the channel is iopub or shell")
		}
		r.Raw(ch, b)
		return true, nil
	}
}

// seq is the metadata of a numbered message.
func seq(i int) json.RawMessage {
	return append(strconv.AppendInt([]byte(`{"seq":`), int64(i), 10), '}')
}

func twoNumbers(rest string) (a, b int, err error) {
	words := strings.Fields(rest)
	if len(words) != 2 {
		return 0, 0, errors.New("two numbers are needed")
	}
	if a, err = strconv.Atoi(words[0]); err != nil {
		return 0, 0, err
	}
	if b, err = strconv.Atoi(words[1]); err == nil && (a < 0 || b < 0) {
		err = errors.New("a number is negative")
	}
	return a, b, err
}
