package contents

import "fmt"

// childEnv makes the test binary a child process that runs one of children instead of the tests.
const childEnv = "NBSERV_CONTENTS_CHILD"

// children are what a child process can do. They return an exit code.
var children = map[string]func() int{}

func runChild(name string) int {
	child, ok := children[name]
	if !ok {
		fmt.Println("no child", name)
		return 2
	}
	return child()
}
