package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// minWindow keeps a bucket of a window at several seconds.
const minWindow = time.Minute

var units = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// parseDuration reads what rule files call a time: numbers with s, m, h, d or w behind them, such as "90s", "1.5h", "14d"
// or "1d12h". Zero and negative ones are errors, and so is what does not fit into 100 years.
func parseDuration(s string) (time.Duration, error) {
	var total float64
	rest := s
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if end <= 0 {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		n, err := strconv.ParseFloat(rest[:end], 64)
		unit, ok := units[rest[end]]
		if err != nil || !ok {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		total += n * float64(unit)
		rest = rest[end+1:]
	}
	const most = 100 * 365 * 24 * float64(time.Hour)
	if total < float64(time.Millisecond) || total > most {
		return 0, fmt.Errorf("%q is not a duration above zero", s)
	}
	return time.Duration(total).Round(time.Millisecond), nil
}

// formatDuration is the inverse for messages: whole days are written as such.
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
