package lsp

// known is a language server that is looked for: what jupyter_lsp knows of it, and where else it comes from.
type known struct {
	key       string
	display   string // default: the key
	languages []string
	mimeTypes []string
	home      string // the project's page
	install   map[string]string
	env       map[string]string
	memory    bool     // it reads no documents from the disk
	module    string   // of Python, run with -m
	scripts   []string // of Node, below node_modules
	programs  []string // found by name
	args      []string // after the module, the script or the program
	needs     func(*places, string) bool
	hint      string
}

var (
	python     = []string{"python"}
	pythonMIME = []string{"text/python", "text/x-ipython"}
	scriptMIME = []string{
		"application/typescript", "text/typescript-jsx", "text/javascript", "text/ecmascript", "application/javascript",
		"application/x-javascript", "application/ecmascript", "text/jsx",
	}
	scriptLanguages = []string{"javascript", "jsx", "typescript", "typescript-jsx", "typescriptreact", "javascriptreact"}
	unbuffered      = map[string]string{"PYTHONUNBUFFERED": "1"}
	stdio           = []string{"--stdio"}
)

// fromNode says how a package of Node's is installed.
func fromNode(pkg string) map[string]string {
	return map[string]string{"npm": "npm install --save-dev " + pkg, "yarn": "yarn add --dev " + pkg, "jlpm": "jlpm add --dev " + pkg}
}

// fromPython says how a package of Python's is installed.
func fromPython(pip, conda string) map[string]string {
	return map[string]string{"pip": "pip install " + pip, "conda": "conda install -c conda-forge " + conda}
}

// inNode is what is said of those that are no program of their own.
const inNode = "It needs Node.js, and is looked for in node_modules of the root folder, of the Python in use, and of npm."

// knowns are the language servers that jupyter_lsp 2.3 knows, by its names for them.
var knowns = []known{
	{key: "pylsp", display: "python-lsp-server (pylsp)", languages: python, mimeTypes: pythonMIME, module: "pylsp", programs: []string{"pylsp"},
		home: "https://github.com/python-lsp/python-lsp-server", install: fromPython("'python-lsp-server[all]'", "python-lsp-server"), env: unbuffered},
	{key: "pyls", languages: python, mimeTypes: pythonMIME, module: "pyls", programs: []string{"pyls"},
		home: "https://github.com/palantir/python-language-server", install: fromPython("'python-language-server[all]'", "python-language-server"), env: unbuffered},
	{key: "jedi-language-server", languages: python, mimeTypes: pythonMIME, programs: []string{"jedi-language-server"},
		home: "https://github.com/pappasam/jedi-language-server", install: fromPython("-U jedi-language-server", "jedi-language-server"), env: unbuffered},
	{key: "basedpyright", languages: python, mimeTypes: pythonMIME, programs: []string{"basedpyright-langserver"}, args: stdio, memory: true,
		home: "https://github.com/DetachHead/basedpyright", install: fromPython("basedpyright", "basedpyright")},
	{key: "pyright", languages: python, mimeTypes: pythonMIME, scripts: []string{"pyright/langserver.index.js"}, args: stdio, memory: true,
		programs: []string{"pyright-langserver"}, home: "https://github.com/microsoft/pyright", install: fromNode("pyright"), hint: inNode},
	{key: "pyrefly", display: "Pyrefly", languages: python, mimeTypes: pythonMIME, programs: []string{"pyrefly"}, args: []string{"lsp"}, memory: true,
		home: "https://github.com/facebook/pyrefly", install: with(fromPython("pyrefly", "pyrefly"), "uv", "uv add pyrefly")},

	{key: "r-languageserver", languages: []string{"r"}, mimeTypes: []string{"text/x-rsrc"}, programs: []string{"Rscript"},
		args: []string{"--slave", "-e", "languageserver::run()"}, needs: hasRLanguageServer, home: "https://github.com/REditorSupport/languageserver",
		install: map[string]string{"cran": `install.packages("languageserver")`, "conda": "conda install -c conda-forge r-languageserver"},
		hint:    "It needs Rscript on PATH, and R's package languageserver in a library of R."},
	{key: "julia-language-server", display: "LanguageServer.jl", languages: []string{"julia"}, programs: []string{"julia"},
		mimeTypes: []string{"text/julia", "text/x-julia", "application/julia"}, needs: hasJuliaLanguageServer,
		args: []string{"--project=.", "-e", "using LanguageServer, LanguageServer.SymbolServer; runserver()", "."},
		home: "https://github.com/julia-vscode/LanguageServer.jl", install: map[string]string{"julia": `using Pkg; Pkg.add("LanguageServer")`},
		hint: "It needs julia on PATH, and LanguageServer in the default environment of Julia."},
	{key: "texlab", languages: []string{"tex", "latex"}, mimeTypes: []string{"text/x-latex", "text/x-tex"}, programs: []string{"texlab"},
		home: "https://github.com/latex-lsp/texlab", install: map[string]string{"conda": "conda install -c conda-forge texlab chktex"},
		env: map[string]string{"RUST_BACKTRACE": "1"}, hint: "texlab has to be on PATH."},

	{key: "bash-language-server", languages: []string{"bash", "sh"}, mimeTypes: []string{"text/x-sh", "application/x-sh"}, args: []string{"start"},
		scripts:  []string{"bash-language-server/out/cli.js", "bash-language-server/bin/main.js"},
		programs: []string{"bash-language-server"}, home: "https://github.com/bash-lsp/bash-language-server", install: fromNode("bash-language-server"), hint: inNode},
	{key: "dockerfile-language-server-nodejs", languages: []string{"dockerfile"}, mimeTypes: []string{"text/x-dockerfile"}, args: stdio,
		scripts: []string{"dockerfile-language-server-nodejs/lib/server.js"}, programs: []string{"docker-langserver"},
		home: "https://github.com/rcjsuen/dockerfile-language-server-nodejs", install: fromNode("dockerfile-language-server-nodejs"), hint: inNode},
	{key: "typescript-language-server", languages: scriptLanguages, mimeTypes: scriptMIME, args: stdio,
		scripts: []string{"typescript-language-server/lib/cli.mjs"}, programs: []string{"typescript-language-server"},
		home: "https://github.com/typescript-language-server/typescript-language-server", install: fromNode("typescript-language-server"), hint: inNode},
	{key: "javascript-typescript-langserver", display: "javascript-typescript-langserver (deprecated)", languages: scriptLanguages, mimeTypes: scriptMIME,
		scripts: []string{"javascript-typescript-langserver/lib/language-server-stdio.js"}, programs: []string{"javascript-typescript-stdio"},
		home: "https://github.com/sourcegraph/javascript-typescript-langserver", install: fromNode("javascript-typescript-langserver"), hint: inNode},
	{key: "sql-language-server", languages: []string{"sql"}, args: []string{"up", "--method", "stdio"},
		mimeTypes: []string{"application/sql", "text/sql", "text/x-sql", "text/x-mysql", "text/x-mariadb", "text/x-pgsql"},
		scripts:   []string{"sql-language-server/dist/bin/cli.js"}, programs: []string{"sql-language-server"},
		home: "https://github.com/joe-re/sql-language-server", install: fromNode("sql-language-server"), hint: inNode},
	{key: "unified-language-server", languages: []string{"markdown", "ipythongfm", "gfm"}, args: []string{"--parser=remark-parse", "--stdio"},
		mimeTypes: []string{"text/x-gfm", "text/x-ipythongfm", "text/x-markdown"}, scripts: []string{"unified-language-server/src/server.js"},
		home: "https://github.com/unifiedjs/unified-language-server", install: fromNode("unified-language-server"), hint: inNode},
	{key: "yaml-language-server", languages: []string{"yaml"}, mimeTypes: []string{"text/x-yaml", "text/yaml"}, args: stdio,
		scripts: []string{"yaml-language-server/bin/yaml-language-server"}, programs: []string{"yaml-language-server"},
		home: "https://github.com/redhat-developer/yaml-language-server", install: fromNode("yaml-language-server"), hint: inNode},
	vscode("css", []string{"css", "less", "scss"}, []string{"text/x-scss", "text/css", "text/x-less"}),
	vscode("html", []string{"html"}, []string{"text/html"}),
	vscode("json", []string{"json"}, []string{"application/json", "application/x-json", "application/ld+json"}),
}

// vscode is one of the language servers of Visual Studio Code: the package that jupyter_lsp knows, or, as that is no
// longer kept up, the program of vscode-langservers-extracted.
func vscode(kind string, languages, mimeTypes []string) known {
	key := "vscode-" + kind + "-languageserver-bin"
	return known{key: key, languages: languages, mimeTypes: mimeTypes, args: stdio, scripts: []string{key + "/" + kind + "ServerMain.js"},
		programs: []string{kind + "-languageserver", "vscode-" + kind + "-language-server"},
		home:     "https://github.com/vscode-langservers/" + key, install: fromNode(key), hint: inNode}
}

func with(m map[string]string, key, value string) map[string]string {
	m[key] = value
	return m
}

// spec is what is told of k; argv is nil for one that is not installed.
func (k known) spec(argv []string) Spec {
	s := Spec{
		Argv: argv, Env: k.env, Languages: k.languages, Version: specVersion, DisplayName: k.display, MIMETypes: k.mimeTypes,
		URLs: map[string]string{"home": k.home, "issues": k.home + "/issues"}, Install: k.install, Troubleshoot: k.hint,
	}
	if s.DisplayName == "" {
		s.DisplayName = k.key
	}
	if k.memory {
		no := false
		s.OnDisk = &no
	}
	return s
}
