package web

import (
	"net/url"
	"strings"
)

// attachment is the header that makes a browser save a file, with its name in both forms of RFC 6266: one for old readers with
// nothing but plain letters, and the whole one, percent-encoded.
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	if plain == "" {
		plain, name = "file", "file"
	}
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}
