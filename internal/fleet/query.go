package fleet

import "time"

// CaseFilter selects cases of one tenant; zero members select everything.
type CaseFilter struct {
	Tenant string
	States []CaseState
	Device string // serial
	Kind   Kind
	// ByTime sorts the newest first; else the most severe first and among those the oldest.
	ByTime bool
	After  string // id of the last case of the page before; empty for the first page
	Limit  int    // 0 means 100
}

// CaseCount is how many cases there are of one state and kind.
type CaseCount struct {
	State CaseState
	Kind  Kind
	N     int
}

// DeviceFilter selects devices of one tenant; zero members select everything.
type DeviceFilter struct {
	Tenant   string
	Category string
	OwnerID  string
	Query    string // part of the serial, the name, the room or the model, letters of either case
	Limit    int    // 0 means 100
	Offset   int
}

// OutboxCount is how many outbox rows there are of one kind and state ("pending", "leased", "dead"), and when the oldest
// of them was due. Rows that are done are not counted.
type OutboxCount struct {
	Kind   OutboxKind
	State  string
	N      int
	Oldest time.Time
}
