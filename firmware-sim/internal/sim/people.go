package sim

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"aftercare/firmware-sim/internal/signal"
)

// Shares of households and people.
const (
	alone      = 0.35 // one person
	three      = 0.25 // three; the others are two
	muted      = 0.10 // want no word of maintenance on the phone
	digesters  = 0.20 // want what can wait once a week
	likeTips   = 0.30 // agreed to be told how to use a thing better
	likeReview = 0.40 // agreed to be asked for a review
)

// personID names a member of a household; member 0 is the owner of its devices.
func personID(household, member int) string {
	return fmt.Sprintf("h%05d-%c", household, 'a'+member)
}

func householdRegion(cfg Config, household int) string {
	return regions[int(signal.NewSeed(cfg.Seed, fmt.Sprintf("household-%d", household)).U(970, 0)*float64(len(regions)))]
}

// writePeople writes the list that "aftercare replay" reads beside the devices: who lives together, in the order in which they
// hear, and how they want to. Preferences are "<topic> <channel> <want>" and consents purposes, with semicolons between.
func writePeople(w io.Writer, cfg Config) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"id", "household", "rank", "name", "locale", "zone", "preferences", "consents"}) // Flush says it
	for h := range cfg.Households {
		seed := signal.NewSeed(cfg.Seed, fmt.Sprintf("household-%d", h))
		members := 2
		switch u := seed.U(971, 0); {
		case u < alone:
			members = 1
		case u < alone+three:
			members = 3
		}
		locale, zone := speech(householdRegion(cfg, h))
		for m := range members {
			k := int64(m)
			var wishes, consents []string
			if seed.U(972, k) < muted {
				wishes = append(wishes, "maintenance ntfy never")
			}
			if seed.U(973, k) < digesters {
				wishes = append(wishes, "maintenance ntfy digest", "tip ntfy digest")
			}
			if seed.U(974, k) < likeTips {
				consents = append(consents, "tips")
			}
			if seed.U(975, k) < likeReview {
				consents = append(consents, "review")
			}
			_ = c.Write([]string{personID(h, m), fmt.Sprintf("h%05d", h), strconv.Itoa(m), fmt.Sprintf("Person %d-%d", h+1, m+1), locale, zone,
				strings.Join(wishes, ";"), strings.Join(consents, ";")})
		}
	}
	c.Flush()
	return c.Error()
}

// speech is the language and the zone of a region; where neither of our languages is spoken it is English.
func speech(region string) (locale, zone string) {
	switch country, _, _ := strings.Cut(region, "-"); country {
	case "DE":
		return "de-DE", "Europe/Berlin"
	case "AT":
		return "de-AT", "Europe/Vienna"
	case "CH":
		return "de-CH", "Europe/Zurich"
	case "GB":
		return "en-GB", "Europe/London"
	case "FR":
		return "en-GB", "Europe/Paris"
	default:
		return "en-GB", "Europe/Amsterdam"
	}
}
