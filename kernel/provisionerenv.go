package kernel

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/nbserv/nbserv/internal/fault"
)

const (
	// markVar holds a random value by which the members of one process tree are found, wherever they go.
	markVar   = "NBSERV_KERNEL_PROCESS"
	markBytes = 16
	// kernelIDVar tells programs in a kernel which one it is.
	kernelIDVar = "NBSERV_KERNEL_ID"
	ownPrefix   = "NBSERV_"

	maxEnvVarBytes = 128 << 10 // Linux' MAX_ARG_STRLEN
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)

// serverOnly are variables of the server and of those that started it. Kernels neither inherit nor may be
// given them: credentials (S6), and what makes a kernel act on the server's supervisor or parent. Without
// JPY_PARENT_PID a kernel does not end itself when the server does.
var serverOnly = map[string]bool{
	"JUPYTER_TOKEN": true, "JUPYTER_PASSWORD": true, "JUPYTERHUB_API_TOKEN": true, "JPY_API_TOKEN": true,
	"JUPYTERHUB_COOKIE_SECRET": true, "JPY_COOKIE_SECRET": true, "JUPYTERHUB_CRYPT_KEY": true, "CONFIGPROXY_AUTH_TOKEN": true,
	"JUPYTER_GATEWAY_AUTH_TOKEN": true, "JUPYTER_GATEWAY_HTTP_PWD": true, "KG_AUTH_TOKEN": true, "EG_AUTH_TOKEN": true,
	"JPY_PARENT_PID": true, "JPY_INTERRUPT_EVENT": true, "IPY_INTERRUPT_EVENT": true,
	"NOTIFY_SOCKET": true, "WATCHDOG_PID": true, "WATCHDOG_USEC": true, "CREDENTIALS_DIRECTORY": true,
	"LISTEN_FDS": true, "LISTEN_PID": true, "LISTEN_FDNAMES": true,
}

// loaders are variables that run code of their choice before a program's own, whatever the program is: also
// in a wrapper that a kernelspec put around its kernel to confine it (S11).
var loaders = map[string]bool{
	"GLIBC_TUNABLES": true, "GCONV_PATH": true, "LOCPATH": true,
	"BASH_ENV": true, "ENV": true, "SHELLOPTS": true, "BASHOPTS": true, "PS4": true, "IFS": true,
	"PYTHONHOME": true, "PYTHONSTARTUP": true, "PYTHONEXECUTABLE": true, "PYTHONWARNINGS": true,
	"PERL5OPT": true, "PERL5DB": true, "RUBYOPT": true, "NODE_OPTIONS": true,
	"JAVA_TOOL_OPTIONS": true, "_JAVA_OPTIONS": true, "JDK_JAVA_OPTIONS": true,
}

// CheckEnv says whether a client may add these variables to a kernel's environment. Names are letters, digits
// and underscores; values are taken as they are, with no templates. Invalid are variables of the dynamic
// loader (LD_…, DYLD_…) and their like in shells and interpreters, and those that are the server's own.
func CheckEnv(env map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		value := env[name]
		switch {
		case !envName.MatchString(name):
			return fault.New(fault.Invalid, "env: %.64q is not a name of letters, digits and underscores", name)
		case strings.HasPrefix(name, "LD_"), strings.HasPrefix(name, "DYLD_"), loaders[name]:
			return fault.New(fault.Invalid, "env: %s may not be set: it changes how programs are loaded", name)
		case strings.HasPrefix(name, ownPrefix), serverOnly[name]:
			return fault.New(fault.Invalid, "env: %s may not be set: it belongs to the server", name)
		case strings.ContainsRune(value, 0):
			return fault.New(fault.Invalid, "env: the value of %s has a zero byte", name)
		case len(name)+len(value)+2 > maxEnvVarBytes:
			return fault.New(fault.Invalid, "env: %s is longer than the %d bytes a variable can have", name, maxEnvVarBytes)
		}
	}
	return nil
}

// kernelEnviron is the part of the server's environment that kernels inherit.
func kernelEnviron(environ, secrets []string) map[string]string {
	env := parseEnviron(environ)
	maps.DeleteFunc(env, func(name, _ string) bool {
		return strings.HasPrefix(name, ownPrefix) || serverOnly[name] || slices.Contains(secrets, name)
	})
	return env
}

// CleanEnviron is environ ("NAME=value") without the server's secrets and what else is the server's own: what programs
// of the user's may see.
func CleanEnviron(environ []string) []string {
	env := kernelEnviron(environ, nil)
	lines := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		lines = append(lines, name+"="+env[name])
	}
	return lines
}

// parseEnviron makes a map of "NAME=value" lines; of duplicates the last one counts, as in os/exec.
func parseEnviron(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// specEnv is the environment of a kernel without the client's part: what it inherits and the kernelspec's own.
func (l *Local) specEnv(s Spec, box *Sandbox) map[string]string {
	env := maps.Clone((*l.environ.Load()))
	if box != nil {
		env = box.environ((*l.environ.Load()))
	}
	for name, value := range s.Env {
		env[name] = expandVars(value, (*l.environ.Load()))
	}
	if strings.HasPrefix(strings.ToLower(s.Language), "python") {
		delete(env, "PYTHONEXECUTABLE") // as jupyter_client: it makes another Python believe to be the server's
	}
	return env
}

// env is a kernel's whole environment: inherited, then the client's, then the kernelspec's, which has the last
// word as in jupyter_client.
func (l *Local) env(a Launch, mark string) []string {
	env := l.specEnv(a.Spec, a.Sandbox)
	for name, value := range a.Env {
		if _, fixed := a.Spec.Env[name]; !fixed {
			env[name] = value
		}
	}
	switch {
	case a.Sandbox != nil:
		env["PWD"] = a.Sandbox.mount()
	case a.Cwd != "":
		env["PWD"] = a.Cwd
	}
	env[kernelIDVar] = a.KernelID
	env[markVar] = mark
	lines := make([]string, 0, len(env))
	for name, value := range env {
		lines = append(lines, name+"="+value)
	}
	return lines
}

// specVar is a reference in a kernelspec's env, in the syntax of Python's string.Template.
var specVar = regexp.MustCompile(`\$(?:\$|[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})`)

// expandVars replaces $NAME, ${NAME} and $$ in s. Names that env does not have stay as they are.
func expandVars(s string, env map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	return specVar.ReplaceAllStringFunc(s, func(ref string) string {
		if ref == "$$" {
			return "$"
		}
		if v, ok := env[strings.Trim(ref, "${}")]; ok {
			return v
		}
		return ref
	})
}

// Inherited is the part of a server's environment that kernels may see, and so may the process that runs them.
func Inherited(environ, secrets []string) []string {
	env := kernelEnviron(environ, secrets)
	lines := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		lines = append(lines, name+"="+env[name])
	}
	return lines
}
