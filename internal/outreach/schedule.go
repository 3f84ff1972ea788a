package outreach

import (
	"hash/fnv"
	"strconv"
	"time"
)

// schedule is what Standard Webhooks recommends: ten tries over a little more than three days.
var schedule = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// scheduleSpan is the sum of the schedule.
const scheduleSpan = 75*time.Hour + 35*time.Minute + 5*time.Second

// nextTry says when to try again after the given count of tries, and false when it is time to give up: after as many tries
// as the schedule has, but not before half its span is over, because a try that a stop of the server cut short counts as
// one. Each wait is moved by up to a fifth either way, always the same for one row and try, so that
// rows which failed together do not come back together. A receiver's wish for more time is honoured.
func nextTry(id string, tries int, age, after time.Duration) (time.Duration, bool) {
	if tries > len(schedule) && age >= scheduleSpan/2 {
		return 0, false
	}
	wait := schedule[min(max(tries, 1), len(schedule))-1]
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "#" + strconv.Itoa(tries)))
	fifth := wait / 5
	wait += time.Duration(h.Sum64()%uint64(2*fifth+1)) - fifth //nolint:gosec // both are positive and small
	return max(wait, after), true
}
