package cases

import (
	"context"
	"time"

	"aftercare/internal/fleet"
)

// Adopt makes an open case a child of an incident: what was to be said of the case alone is taken back, but for a danger, and its
// owner gets the incident's message. It does nothing for a case that is its child already; CodeConflict for one that is over.
func (c *Cases) Adopt(ctx context.Context, tenant, caseID, incidentID, actor, why string, at time.Time) error {
	a := Action{Tenant: tenant, CaseID: caseID, Actor: actor, Note: why, At: at}
	return c.act(ctx, a, func(e *edit) error {
		if e.c.IncidentID == incidentID {
			return nil
		}
		if _, err := Next(e.c.State, verbAdopt, a.Actor); err != nil {
			return err
		}
		e.c.IncidentID = incidentID
		e.audit(string(verbAdopt), withNote(incidentID, a.Note))
		kind, severity, plain := worth(&e.c)
		topic := fleet.TopicOf(kind, severity)
		if topic == fleet.TopicSafety {
			return nil
		}
		e.recall("covered by incident "+incidentID, fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder)
		if plain && topic != "" && e.c.Live {
			e.asked(severity)
			e.incidentMessage(e.now)
		}
		return nil
	})
}

// Release takes a case out of its incident: it is a problem of its own again, and who has not heard of it as such hears now. It does
// nothing for a case that is no child of one.
func (c *Cases) Release(ctx context.Context, tenant, caseID, actor, why string, at time.Time) error {
	a := Action{Tenant: tenant, CaseID: caseID, Actor: actor, Note: why, At: at}
	return c.act(ctx, a, func(e *edit) error {
		if e.c.IncidentID == "" {
			return nil
		}
		if _, err := Next(e.c.State, verbRelease, a.Actor); err != nil {
			return err
		}
		was := e.c.IncidentID
		e.c.IncidentID = ""
		e.recall("the case is no part of the incident any more", fleet.EventIncident)
		kind, severity, plain := worth(&e.c)
		if e.c.State.Open() && e.c.Live && plain && fleet.TopicOf(kind, severity) != "" {
			e.asked(severity)
			e.message(fleet.EventOpened, e.cause(), e.now, e.now).Ref = fleet.RefBack
		}
		e.audit(string(verbRelease), withNote(was, a.Note))
		return nil
	})
}
