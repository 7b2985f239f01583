// Package events tells subscribers what happens in the server: Jupyter's event system, /api/events and
// /api/events/subscribe. An event is a JSON object that its schema allows; schemas are JSON Schema (draft 7) in YAML,
// named by their $id, with a version. https://jupyter-events.readthedocs.io
//
// A Bus hands events to subscribers; a subscriber that falls too far behind is ended, not waited for. The package
// starts no goroutines of its own.
package events
