package app

import (
	"cmp"
	"container/heap"
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// How people in a replay behave: everything is drawn from the message's id, so that the same file gives the same people.
const (
	openShare    = 0.75            // of the messages that rang are opened
	openFirst    = 2 * time.Minute // at the earliest, and most soon
	openLast     = 12 * time.Hour  // at the latest
	answerShare  = 0.25            // of those opened are answered at once
	fixedShare   = 0.6             // of those who have a thing serviced say that it is fixed
	fixedLatest  = 6 * time.Hour   // after the service
	toldMessages = 8               // remembered of each device
)

// replayLife is what people do with their messages.
type replayLife struct {
	r     *replay
	acts  replayActs
	known map[string][]toldMessage // by serial, oldest first
}

// toldMessage is one that a person has.
type toldMessage struct {
	message, caseID, person string
	topic                   fleet.Topic
}

// replayAct is something that a person will do: look at a message, or answer it.
type replayAct struct {
	at     time.Time
	what   string // "opened" or a verdict
	device string
	toldMessage
}

func newReplayLife(r *replay) *replayLife {
	return &replayLife{r: r, known: map[string][]toldMessage{}}
}

// told is called with each message that rang.
func (l *replayLife) told(m *ReplayMessage) {
	if m.Event != fleet.EventOpened && m.Event != fleet.EventEscalated && m.Event != fleet.EventReminder || m.Case == "" {
		return
	}
	have := l.known[m.Device]
	t := toldMessage{message: m.Message, caseID: m.Case, person: m.Person, topic: m.Topic}
	if slices.Contains(have, t) {
		return // on another channel
	}
	l.r.tape.use.watch(m.Device)
	l.known[m.Device] = append(have[max(0, len(have)-toldMessages):], t)
	rng := drawn(m.Message, m.Person)
	if rng.Float64() > openShare {
		return
	}
	wait := time.Duration(float64(openFirst) * math.Pow(float64(openLast/openFirst), rng.Float64()))
	l.will(replayAct{at: m.At.Add(wait), what: "opened", device: m.Device, toldMessage: t})
	if rng.Float64() > answerShare {
		return
	}
	v := fleet.VerdictNotNow
	switch u := rng.Float64(); {
	case u < 0.1:
		v = fleet.VerdictNotTrue
	case u < 0.15 && m.Topic != fleet.TopicSafety:
		v = fleet.VerdictStop
	case m.Topic == fleet.TopicSafety, u < 0.5 && m.Topic == fleet.TopicFault:
		v = fleet.VerdictBook
	case u < 0.5 && m.Topic == fleet.TopicMaintenance:
		v = fleet.VerdictOrder
	}
	l.will(replayAct{at: m.At.Add(wait + time.Minute), what: string(v), device: m.Device, toldMessage: t})
}

// drawn is a source of chance that depends on the texts only.
func drawn(texts ...string) *rand.Rand {
	h := fnv.New64a()
	for _, t := range texts {
		_, _ = h.Write([]byte(t + "\n"))
	}
	return rand.New(rand.NewPCG(h.Sum64(), 7)) //nolint:gosec // nothing is secret here
}

// serviced is called when somebody entered a service: who was told of something with that part may say that it is fixed.
func (l *replayLife) serviced(ctx context.Context, x *replayFact) error {
	component := componentOf(l.r.options.Files.Rules)
	said := map[string]bool{}
	for _, t := range slices.Backward(l.known[x.Device]) {
		if said[t.caseID] {
			continue
		}
		said[t.caseID] = true
		k, err := l.r.store.Case(ctx, l.r.options.Tenant, t.caseID)
		if err != nil {
			return err
		}
		if !k.State.Open() || component(k.Rule) != x.Component {
			continue
		}
		if rng := drawn(t.message, t.person, x.Time.String()); rng.Float64() < fixedShare {
			wait := time.Duration(float64(fixedLatest) * rng.Float64())
			l.will(replayAct{at: x.Time.Add(wait), what: string(fleet.VerdictFixed), device: x.Device, toldMessage: t})
		}
	}
	return nil
}

func (l *replayLife) will(a replayAct) { heap.Push(&l.acts, a) }

// live lets people do what it is time for.
func (l *replayLife) live(ctx context.Context) error {
	tenant := l.r.options.Tenant
	for len(l.acts) > 0 && !l.acts[0].at.After(l.r.now) {
		a := heap.Pop(&l.acts).(replayAct)
		if err := l.r.outreach.MarkDelivery(ctx, tenant, a.message, a.what, l.r.now); err != nil {
			return err
		}
		l.r.outbox.did(&a)
		if a.what == "opened" {
			continue
		}
		if err := l.r.cases.Answer(ctx, fleet.Answer{Tenant: tenant, MessageID: a.message, CaseID: a.caseID, PersonID: a.person,
			Verdict: fleet.Verdict(a.what), Topic: a.topic, At: l.r.now}); err != nil {
			return err
		}
	}
	return nil
}

// replayActs is a heap of them; the order of those at one time is definite.
type replayActs []replayAct

func (h replayActs) Len() int { return len(h) }
func (h replayActs) Less(i, j int) bool {
	a, b := &h[i], &h[j]
	return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.message, b.message), cmp.Compare(a.person, b.person), cmp.Compare(a.what, b.what)) < 0
}
func (h replayActs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is part of heap.Interface.
func (h *replayActs) Push(x any) { *h = append(*h, x.(replayAct)) }

// Pop is part of heap.Interface.
func (h *replayActs) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
