// Package detect holds streaming detectors: values that are given one reading after the other and answer with a score or
// an alarm at once, from what came before. Each cites its source. They keep no clock, do no I/O, start no goroutine; one
// value serves one series and is used by one goroutine at a time. Files, tables and thresholds of rules are others' business.
//
// Who may import it: rules, app, cmd. It imports nothing of ours.
package detect
