package kernel

// cause is what ended a process, as the metric says it. There are no others than these.
type cause string

const (
	byExit         cause = "exit"          // by itself, with whatever code
	bySignal       cause = "signal"        // from whomever, but for those below
	byMemory       cause = "out_of_memory" // the system ended it
	byDisk         cause = "disk_limit"
	byUnknown      cause = "unknown" // it was an earlier server's child
	byUnresponsive cause = "unresponsive"
	byConnection   cause = "connection" // it broke again and again
	byRestart      cause = "restart"    // somebody asked for it
	byShutdown     cause = "shutdown"   // somebody asked for it
	byCulling      cause = "culled"
	byStop         cause = "server_stopped"
)

var causes = []cause{
	byExit, bySignal, byMemory, byDisk, byUnknown, byUnresponsive, byConnection, byRestart, byShutdown, byCulling, byStop,
}

// cause is what ended a process that nobody has ended on purpose.
func (e Exit) cause() cause {
	switch {
	case e.OverDisk:
		return byDisk
	case e.OutOfMemory:
		return byMemory
	case e.Unknown:
		return byUnknown
	case e.Signal != 0:
		return bySignal
	}
	return byExit
}
