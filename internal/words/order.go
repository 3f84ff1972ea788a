package words

import (
	"strings"

	"aftercare/internal/fleet"
)

// orderReasons are the reasons that nobody wrote.
var orderReasons = map[string]two{
	fleet.ReasonNoAnswer: {"There was no answer in time", "Es kam rechtzeitig keine Antwort"},
	fleet.ReasonOver:     {"The problem is over", "Das Problem ist behoben"},
	fleet.ReasonIncident: {"The fault is known and is being put right for all devices", "Der Fehler ist bekannt und wird für alle Geräte behoben"},
}

// OrderReason says in a language why an order ended; what somebody wrote stays as it is.
func OrderReason(lang, reason string) string {
	known, _, _ := strings.Cut(reason, ":")
	if t, ok := orderReasons[known]; ok {
		return t.in(lang)
	}
	return reason
}
