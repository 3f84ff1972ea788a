package words

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Marks around every value in a template's output, so that a full stop inside a value is not taken for the end of a
// sentence, and in the place of a value that is missing. They are private-use characters, which Clean takes out of
// everything that comes from outside.
const (
	markOpen  = '\uE000'
	markClose = '\uE001'
	markMiss  = '\uE002'
)

// phrase is what a template function returns. An empty one is false in {{if}} and {{with}}, and printing it leaves the mark
// that takes the surrounding sentence out.
type phrase string

// String puts the marks on; fmt and text/template call it.
func (p phrase) String() string {
	if p == "" {
		return string(markMiss)
	}
	return string(markOpen) + string(p) + string(markClose)
}

func isMark(r rune) bool { return r == markOpen || r == markClose || r == markMiss }

func dropMarks(s string) string {
	return strings.Map(func(r rune) rune {
		if isMark(r) {
			return -1
		}
		return r
	}, s)
}

// assemble takes out what misses its value (a parenthesis, a clause behind a semicolon, else the sentence), then the marks.
// whole is false when something was taken out.
func assemble(raw string) (text string, whole bool) {
	whole = true
	var kept []string
	for _, sentence := range sentences(raw) {
		s, ok := mend(sentence)
		whole = whole && ok
		value := strings.HasPrefix(strings.TrimSpace(s), string(markOpen))
		s = Clean(dropMarks(s), 0)
		s = strings.NewReplacer(" .", ".", " ,", ",", "..", ".", "...", "…").Replace(s)
		if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			if r := []rune(s); value && len(r) > 1 && !unicode.IsUpper(r[1]) {
				s = capital(s) // a cause from a dictionary may begin small; "iMower" stays
			}
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, " "), whole
}

// mend returns the sentence without the parts that miss a value, "" when nothing is left, and whether it was whole.
func mend(s string) (string, bool) {
	if !strings.ContainsRune(s, markMiss) {
		return s, true
	}
	for {
		open, end := parenthesis(s)
		if open < 0 {
			break
		}
		s = strings.TrimRight(s[:open], " ") + s[end:]
	}
	clauses := strings.Split(s, ";")
	var kept []string
	for _, c := range clauses {
		if !strings.ContainsRune(c, markMiss) {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 || strings.ContainsRune(clauses[0], markMiss) {
		return "", false
	}
	s = strings.TrimSpace(strings.Join(kept, ";"))
	if last, _ := utf8.DecodeLastRuneInString(s); last != '.' && last != '?' {
		s += "."
	}
	return s, false
}

// parenthesis finds the first innermost parenthesis that misses a value: the byte before which it opens and the one behind
// its end, or -1.
func parenthesis(s string) (int, int) {
	open := -1
	missing := false
	for i, r := range s {
		switch r {
		case '(':
			open, missing = i, false
		case markMiss:
			missing = true
		case ')':
			if open >= 0 && missing {
				return open, i + 1
			}
			open = -1
		}
	}
	return -1, -1
}

// abbreviations end with a full stop that ends no sentence.
var abbreviations = map[string]bool{"ca": true, "bzw": true, "etc": true, "usw": true, "nr": true, "no": true, "st": true,
	"approx": true, "inkl": true, "evtl": true, "ggf": true, "max": true, "vs": true}

// sentences splits a template's output behind full stops, question and exclamation marks that stand outside of values.
func sentences(raw string) []string {
	var out []string
	runes := []rune(raw)
	start, depth := 0, 0
	for i, r := range runes {
		switch r {
		case markOpen:
			depth++
		case markClose:
			depth--
		case '.', '!', '?':
			if depth == 0 && endsSentence(runes, i) {
				out = append(out, string(runes[start:i+1]))
				start = i + 1
			}
		}
	}
	if rest := strings.TrimSpace(string(runes[start:])); rest != "" {
		out = append(out, rest)
	}
	return out
}

// endsSentence looks at what stands before and behind a mark: "94 s. Yours" ends one, "am 14. Dezember", "z. B. der" and
// "3.5" do not.
func endsSentence(runes []rune, i int) bool {
	next := i + 1
	for next < len(runes) && unicode.IsSpace(runes[next]) {
		next++
	}
	if next == len(runes) {
		return true
	}
	if next == i+1 {
		return false
	}
	if r := runes[next]; !unicode.IsUpper(r) && !unicode.IsDigit(r) && !isMark(r) && r != '(' && r != '"' && r != '„' && r != '“' {
		return false
	}
	if runes[i] != '.' || i == 0 {
		return true
	}
	if unicode.IsDigit(runes[i-1]) {
		return false
	}
	from := i
	for from > 0 && unicode.IsLetter(runes[from-1]) {
		from--
	}
	word := strings.ToLower(string(runes[from:i]))
	return utf8.RuneCountInString(word) != 1 && !abbreviations[word] || isUnit(runes, from)
}

// isUnit tells "94 s." from "z. B.": a single letter behind a number or a value is a unit.
func isUnit(runes []rune, from int) bool {
	j := from - 1
	for j >= 0 && unicode.IsSpace(runes[j]) {
		j--
	}
	return j >= 0 && (unicode.IsDigit(runes[j]) || runes[j] == markClose)
}
