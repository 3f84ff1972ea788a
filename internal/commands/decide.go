package commands

import (
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// What can happen to a command.
type eventKind uint8

const (
	evSent   eventKind = iota // handed to a connection
	evAway                    // there is no connection
	evAcked                   // its PUBACK came
	evReply                   // the device answered
	evTime                    // nothing but time went on
	evGone                    // the device is revoked or not registered any more
	evCancel                  // somebody does not want it any more
)

type event struct {
	kind  eventKind
	at    time.Time // reply: when it arrived; else now
	reply fleet.CommandReply
	by    string // cancel
}

// What decide says is to be done.
type action uint8

const (
	actNothing action = iota
	actKeep           // write the command, and nothing else: when it is due
	actTell           // write it, its history, and the record for all who watch
)

const (
	maxReason = 500     // bytes of a device's words
	maxResult = 8 << 10 // bytes of JSON

	notNowMin = 5 * time.Second // however soon a busy device wants to be asked again
)

// Why a reply changed nothing; labels of the replies counter.
const (
	replyFinal   = "after_final"
	replyOld     = "old"
	replyUnknown = "unknown_status"
)

// decide says what an event does to a command. A final state stays. The result is a copy; its version is the store's matter.
func (c Config) decide(k fleet.Command, e event) (fleet.Command, action, string) {
	if k.State.Final() {
		return k, actNothing, replyFinal
	}
	// A device that says it has done it has done it, late or not.
	if e.kind != evReply && !e.at.Before(c.end(&k)) {
		why := "the device never came to take it"
		switch {
		case k.State == fleet.CommandRunning:
			why = "the device began and never said how it ended"
		case k.State == fleet.CommandNotNow:
			why = "the device said not now until it was too late"
		case k.Attempts > 0:
			why = "the device did not answer"
		}
		return finish(k, fleet.CommandExpired, why)
	}
	switch e.kind {
	case evSent:
		return c.sent(k, e.at)
	case evAway:
		// The longer it waits the less often it is looked after; the device's return does not wait for that.
		k.DueAt = c.bound(&k, e.at.Add(min(max(e.at.Sub(later(k.CreatedAt, k.SentAt))/2, c.RetryMin), c.RetryMax)))
		return k, actKeep, "the device is away"
	case evAcked:
		if k.State != fleet.CommandSent && k.State != fleet.CommandWaiting {
			return k, actNothing, "acknowledged before"
		}
		k.State = fleet.CommandDelivered
		return k, actTell, ""
	case evReply:
		return c.answered(k, e)
	case evGone:
		return finish(k, fleet.CommandCancelled, "the device is revoked or not registered any more")
	case evCancel:
		if k.State == fleet.CommandRunning {
			return k, actNothing, "the device has begun"
		}
		return finish(k, fleet.CommandCancelled, "by "+e.by)
	default:
		return k, actNothing, ""
	}
}

// end is when a command expires: one that was begun in time may take a while longer.
func (c Config) end(k *fleet.Command) time.Time {
	if k.State == fleet.CommandRunning {
		return k.ExpiresAt.Add(c.RunLimit)
	}
	return k.ExpiresAt
}

// bound keeps a due time from missing the expiry, which is found by it.
func (c Config) bound(k *fleet.Command, due time.Time) time.Time {
	if end := c.end(k); due.After(end) {
		return end
	}
	return due
}

func (c Config) sent(k fleet.Command, at time.Time) (fleet.Command, action, string) {
	act := actKeep
	if k.State == fleet.CommandWaiting || k.State == fleet.CommandNotNow {
		k.State, k.Reason, act = fleet.CommandSent, "", actTell
	}
	gap := c.RetryMax
	if k.State != fleet.CommandRunning && k.Attempts < 16 {
		gap = min(c.RetryMin<<k.Attempts, c.RetryMax)
	}
	k.Attempts++
	k.SentAt = at
	k.DueAt = c.bound(&k, at.Add(gap))
	return k, act, fmt.Sprintf("attempt %d", k.Attempts)
}

func (c Config) answered(k fleet.Command, e event) (fleet.Command, action, string) {
	r := e.reply
	state, known := map[string]fleet.CommandState{"running": fleet.CommandRunning, "done": fleet.CommandDone,
		"failed": fleet.CommandFailed, "refused": fleet.CommandRefused, "not_now": fleet.CommandNotNow}[r.Status]
	at := e.at.Truncate(time.Millisecond) // as it is stored: a redelivered answer must not look newer than itself
	switch {
	case !known:
		return k, actNothing, replyUnknown
	case !state.Final() && !at.After(k.AnsweredAt):
		return k, actNothing, replyOld
	}
	k.AnsweredAt = later(k.AnsweredAt, at)
	reason := clip(r.Reason)
	if len(r.Result) <= maxResult {
		k.Result = r.Result
	} else {
		reason = strings.TrimSpace(fmt.Sprintf("%s (its result of %d bytes is left out)", reason, len(r.Result)))
	}
	if state.Final() {
		return finish(k, state, reason)
	}
	k.State, k.Reason = state, reason
	gap := c.RetryMax
	if state == fleet.CommandNotNow {
		gap = c.NotNow
		if r.RetryS > 0 {
			gap = max(time.Duration(min(r.RetryS, int64(MaxExpires/time.Second)))*time.Second, notNowMin)
		}
	}
	k.DueAt = c.bound(&k, at.Add(gap))
	return k, actTell, reason
}

func finish(k fleet.Command, s fleet.CommandState, reason string) (fleet.Command, action, string) {
	k.State, k.Reason, k.DueAt = s, reason, time.Time{}
	return k, actTell, reason
}

func clip(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.ToValidUTF8(s, "")
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
