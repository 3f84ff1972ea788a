package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Clean makes text that came from outside (names people typed, strings devices sent) fit to stand in a sentence: one line,
// composed, without control characters, direction overrides and other invisible characters, private-use characters, tags
// or the characters that make markup, without the "://" of addresses that phones turn into links, and with at most two
// combining marks in a row. Longer than limit characters (0: any length) it is cut behind a word, with an ellipsis.
func Clean(s string, limit int) string {
	s = norm.NFC.String(strings.ToValidUTF8(s, ""))
	s = stripTags(s)
	var b strings.Builder
	marks, space := 0, false
	for _, r := range s {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == nbsp: // ours, between a number and its unit
		case unicode.IsSpace(r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			space = true
			continue
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs), isNonCharacter(r), marks > 2:
			continue
		case strings.ContainsRune("<>`[]{}|\\*", r):
			continue
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		b.WriteRune(r)
	}
	out := strings.TrimSpace(strings.ReplaceAll(b.String(), "://", " "))
	if limit > 0 && utf8.RuneCountInString(out) > limit {
		out = shorten(out, limit)
	}
	return out
}

const nbsp = '\u00a0'

func isNonCharacter(r rune) bool {
	return r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
}

// stripTags takes out <...> where it looks like a tag: "a < b" stays (Clean drops the sign itself).
func stripTags(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 || i+1 >= len(s) {
			break
		}
		c := s[i+1]
		end := strings.IndexByte(s[i:], '>')
		if end < 0 || c != '/' && c != '!' && (c|0x20 < 'a' || c|0x20 > 'z') {
			b.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}
		b.WriteString(s[:i])
		s = s[i+end+1:]
	}
	b.WriteString(s)
	return b.String()
}

// capital makes the first letter a capital one.
func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}
