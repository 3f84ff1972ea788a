package outreach

import (
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// affordable holds what does not fit into what a household is written. The inbox rings for nobody and is no contact; danger passes,
// and so does what shares the place of another message.
func affordable(p *plan) (verdict, string) {
	switch _, has := p.contacts[p.message()]; {
	case !p.outside():
		return proceed, "the inbox rings for nobody"
	case p.topic == fleet.TopicSafety:
		return proceed, "safety passes"
	case p.along:
		return proceed, "goes along with another one"
	case has:
		return proceed, "its place is taken"
	}
	days, weeks := p.limits()
	until, inDay, inWeek := room(p.contacts, p.now, days, weeks)
	if until.After(p.now) {
		p.until = until
		return hold, fmt.Sprintf("the household had %d messages in 24 hours and %d in seven days", inDay, inWeek)
	}
	return proceed, fmt.Sprintf("the household had %d messages in 24 hours and %d in seven days", inDay, inWeek)
}

// limits are how many messages the household may have had for this one to fit, 0 for no limit. A fault has a reserve; the last place of
// a day and of a week is kept from what matters least, tips and reviews.
func (p *plan) limits() (days, weeks int) {
	of := func(limit int) int {
		switch {
		case limit == 0:
			return 0
		case p.topic == fleet.TopicFault:
			return limit + p.config.BudgetReserve
		case p.topic == fleet.TopicTip || p.topic == fleet.TopicReview:
			return max(1, limit-1)
		}
		return limit
	}
	return of(p.config.BudgetDay), of(p.config.BudgetWeek)
}

// room says when there is room for one more: now, or when enough contacts are out of the way; and how many there were.
func room(contacts map[string]time.Time, now time.Time, days, weeks int) (until time.Time, inDay, inWeek int) {
	times := make([]time.Time, 0, len(contacts))
	for _, t := range contacts {
		times = append(times, t)
	}
	slices.SortFunc(times, time.Time.Compare)
	until = now
	free := func(limit int, span time.Duration) int {
		n := 0
		for _, t := range times {
			if t.After(now.Add(-span)) {
				n++
			}
		}
		if limit > 0 && n >= limit {
			if at := times[len(times)-limit].Add(span); at.After(until) {
				until = at
			}
		}
		return n
	}
	inDay, inWeek = free(days, day), free(weeks, week)
	return until, inDay, inWeek
}

// awake holds what may wait over the night, on channels that ring. Only danger does not wait.
func awake(p *plan) (verdict, string) {
	switch {
	case !p.outside() || !slices.Contains(p.config.QuietChannels, p.row.Channel):
		return proceed, p.channel() + " does not ring"
	case p.topic == fleet.TopicSafety:
		return proceed, "safety passes"
	}
	zone := p.zone.String()
	if !p.zoneHers {
		zone += " (her own is not known)"
	}
	until, quiet := quietUntil(p.now.In(p.zone), p.config.QuietFrom, p.config.QuietUntil)
	if !quiet {
		return proceed, "day in " + zone
	}
	p.until = until
	return hold, "quiet hours until " + until.Format("15:04") + " in " + zone
}

// digested holds what the person wants to hear with others until the first digest after it was decided.
func digested(p *plan) (verdict, string) {
	if !p.outside() || p.want != fleet.WantDigest {
		return proceed, "not for the digest"
	}
	weekday, hour := time.Weekday(p.config.DigestDay), p.config.DigestHour
	if p.person.DigestHour != 0 {
		weekday, hour = p.person.DigestDay, p.person.DigestHour
	}
	at := nextDigest(p.target.Made.In(p.zone), weekday, hour)
	if !at.After(p.now) {
		return proceed, "the digest is due"
	}
	p.until = at
	return hold, "digest on " + at.Format("Mon 2 Jan 15:04")
}

const (
	gatherTime = 5 * time.Second // after which rows that others work on are free, or gone
	yieldTime  = time.Minute     // after which the one that was to take this one along has done so, or has not
)

// accompanied sees to it that what waited for the same person and channel goes as one: the most important message takes the others
// along. The others wait for it; it waits for those that somebody is working on. What may have been sent goes as it went.
func accompanied(p *plan) (verdict, string) {
	soon := p.now.Add(gatherTime)
	switch {
	case p.along || !p.outside() || p.topic == fleet.TopicSafety:
		return proceed, "goes by itself"
	case p.bound:
		p.until = p.now.Add(yieldTime)
		return merge, "goes along with " + p.target.With
	case slices.ContainsFunc(p.leased, func(q *plan) bool { return q.wasWith(p) }):
		p.until = soon
		return merge, "gathers what went along"
	case p.tried():
		return proceed, "was tried before"
	case !p.row.Held():
		return proceed, "did not wait"
	}
	for _, q := range append(slices.Clone(p.free), p.leased...) {
		if !q.row.DueAt.After(soon) && q.first(p) {
			p.until = p.now.Add(yieldTime)
			return merge, "goes along with " + q.row.ID
		}
	}
	for _, q := range p.leased {
		if !q.row.DueAt.After(soon) {
			p.until = soon
			return merge, "gathers what goes along"
		}
	}
	return proceed, fmt.Sprintf("%d others wait", len(p.free))
}

// first says whether p goes before q: the more important topic, then the older one.
func (p *plan) first(q *plan) bool {
	if a, b := rank(p.target.Topic), rank(q.topic); a != b {
		return a < b
	}
	if c := p.target.Made.Compare(q.target.Made); c != 0 {
		return c < 0
	}
	return p.row.ID < q.row.ID
}
