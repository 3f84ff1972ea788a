package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// name is what a device is called at the start and in the middle of a sentence (German: in the nominative).
type name struct{ start, mid string }

// maxThing keeps a name short enough to leave half of a title to what happened.
const maxThing = 48

// things returns the owner's name for a device, or its label and room, and a shorter form for a title that is too long.
func things(lang string, d *fleet.Device, m *fleet.Model) (full, short name) {
	label := ""
	if m != nil {
		label = Clean(m.Label.In(lang), 30)
	}
	if label == "" {
		label = Clean(strings.ReplaceAll(d.Category, "-", " "), 30)
	}
	if label == "" {
		label = map[string]string{"de": "Gerät"}[lang]
		if label == "" {
			label = "device"
		}
	}
	short = withArticle(lang, label)
	if own := Clean(d.Name, maxThing); own != "" {
		return ownName(lang, own, label), short
	}
	full = short
	if room := Clean(d.Room, 24); room != "" {
		where := inRoom(lang, room)
		full = name{full.start + " " + where, full.mid + " " + where}
	}
	return full, short
}

// ownName keeps the owner's words. Only where they begin with an article, or with what the thing is ("Washing machine in
// the cellar"), does a sentence want it otherwise: "The washing machine in the cellar".
func ownName(lang, own, label string) name {
	first, rest, _ := strings.Cut(own, " ")
	switch strings.ToLower(first) {
	case "the", "my", "our":
		if lang == "en" {
			return name{capital(own), strings.ToLower(first) + " " + rest}
		}
	case "der", "die", "das", "mein", "meine", "unser", "unsere":
		if lang == "de" {
			return name{capital(own), strings.ToLower(first) + " " + rest}
		}
	}
	if len(own) >= len(label) && strings.EqualFold(own[:len(label)], label) && endsWord(own[len(label):]) {
		n := withArticle(lang, label)
		n.start += own[len(label):]
		n.mid += own[len(label):]
		return name{n.start, n.mid}
	}
	start := own
	if r := []rune(own); len(r) < 2 || !unicode.IsUpper(r[1]) { // "iMower" stays
		start = capital(own)
	}
	return name{start, own}
}

func endsWord(rest string) bool {
	r, n := utf8.DecodeRuneInString(rest)
	return n == 0 || !unicode.IsLetter(r)
}

// withArticle says "the washing machine", "die Waschmaschine". A German word whose gender is not known stays alone.
func withArticle(lang, label string) name {
	if lang == "en" {
		return name{"The " + label, "the " + label}
	}
	article := germanArticle(label)
	if article == "" {
		return name{capital(label), label}
	}
	return name{capital(article) + " " + label, article + " " + label}
}

// germanEndings gives the gender of a compound by its last part, longest endings first where one contains another.
var germanEndings = []struct{ ending, article string }{
	{"autobatterie", "die"}, {"batterie", "die"}, {"maschine", "die"}, {"waage", "die"}, {"säge", "die"}, {"kamera", "die"}, {"anlage", "die"},
	{"heizung", "die"}, {"pumpe", "die"}, {"station", "die"}, {"truhe", "die"}, {"wallbox", "die"}, {"säule", "die"}, {"lampe", "die"}, {"uhr", "die"},
	{"presse", "die"}, {"konsole", "die"}, {"steuerung", "die"}, {"leuchte", "die"}, {"schere", "die"}, {"haube", "die"}, {"kombination", "die"},
	{"schrank", "der"}, {"roboter", "der"}, {"mäher", "der"}, {"schrauber", "der"}, {"drucker", "der"}, {"fernseher", "der"}, {"laptop", "der"},
	{"trockner", "der"}, {"spüler", "der"}, {"herd", "der"}, {"ofen", "der"}, {"sauger", "der"}, {"bohrer", "der"}, {"hammer", "der"}, {"schleifer", "der"},
	{"scanner", "der"}, {"kopierer", "der"}, {"rechner", "der"}, {"computer", "der"}, {"akku", "der"}, {"automat", "der"}, {"router", "der"},
	{"wagen", "der"}, {"lautsprecher", "der"}, {"monitor", "der"}, {"bildschirm", "der"}, {"motor", "der"}, {"grill", "der"}, {"wecker", "der"}, {"lader", "der"},
	{"gerät", "das"}, {"auto", "das"}, {"rad", "das"}, {"telefon", "das"}, {"tablet", "das"}, {"notebook", "das"}, {"fahrzeug", "das"}, {"werkzeug", "das"},
	{"e-bike", "das"}, {"tor", "das"}, {"schloss", "das"}, {"thermostat", "das"}, {"ladegerät", "das"},
}

func germanArticle(label string) string {
	l := strings.ToLower(label)
	for _, g := range germanEndings {
		if strings.HasSuffix(l, g.ending) {
			return g.article
		}
	}
	return ""
}

// rooms are the places people name again and again: as typed in either language, and how one says it in a sentence.
var rooms = []struct{ en, de, inEn, inDe string }{
	{"cellar", "keller", "in the cellar", "im Keller"}, {"basement", "untergeschoss", "in the basement", "im Untergeschoss"},
	{"kitchen", "küche", "in the kitchen", "in der Küche"}, {"bathroom", "bad", "in the bathroom", "im Bad"},
	{"living room", "wohnzimmer", "in the living room", "im Wohnzimmer"}, {"bedroom", "schlafzimmer", "in the bedroom", "im Schlafzimmer"},
	{"children's room", "kinderzimmer", "in the children's room", "im Kinderzimmer"}, {"study", "arbeitszimmer", "in the study", "im Arbeitszimmer"},
	{"office", "büro", "in the office", "im Büro"}, {"hall", "flur", "in the hall", "im Flur"}, {"hallway", "diele", "in the hallway", "in der Diele"},
	{"garage", "garage", "in the garage", "in der Garage"}, {"garden", "garten", "in the garden", "im Garten"},
	{"laundry room", "waschküche", "in the laundry room", "in der Waschküche"}, {"laundry", "waschraum", "in the laundry", "im Waschraum"},
	{"utility room", "hauswirtschaftsraum", "in the utility room", "im Hauswirtschaftsraum"}, {"pantry", "speisekammer", "in the pantry", "in der Speisekammer"},
	{"attic", "dachboden", "in the attic", "auf dem Dachboden"}, {"workshop", "werkstatt", "in the workshop", "in der Werkstatt"},
	{"shed", "schuppen", "in the shed", "im Schuppen"}, {"balcony", "balkon", "on the balcony", "auf dem Balkon"},
	{"terrace", "terrasse", "on the terrace", "auf der Terrasse"}, {"carport", "carport", "in the carport", "im Carport"},
	{"driveway", "einfahrt", "in the driveway", "in der Einfahrt"}, {"car", "auto", "in the car", "im Auto"},
	{"dining room", "esszimmer", "in the dining room", "im Esszimmer"}, {"guest room", "gästezimmer", "in the guest room", "im Gästezimmer"},
	{"warehouse", "lager", "in the warehouse", "im Lager"}, {"storage room", "abstellraum", "in the storage room", "im Abstellraum"},
}

// inRoom says where: "in the cellar", "im Keller"; a room that is not in the list stands in parentheses as it was typed.
func inRoom(lang, room string) string {
	l := strings.ToLower(room)
	for _, r := range rooms {
		if l == r.en || l == r.de {
			if lang == "de" {
				return r.inDe
			}
			return r.inEn
		}
	}
	return "(" + strings.Trim(room, "() ") + ")"
}
