package email

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/mail"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"aftercare/internal/fleet"
)

// domain is that of the sender: what message ids are made in.
func (c *Channel) domain() string {
	from, err := address(c.config.From)
	if err != nil {
		return "localhost"
	}
	return from.Address[strings.LastIndexByte(from.Address, '@')+1:]
}

// build writes the mail. Its Message-ID follows from the message's, so that a second try is the same mail.
func (c *Channel) build(m fleet.Message, rcpt *mail.Address) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(c.config.From); err != nil {
		return nil, err
	}
	msg.ToMailAddress(&mail.Address{Address: rcpt.Address})
	if c.config.ReplyTo != "" {
		if err := msg.ReplyTo(c.config.ReplyTo); err != nil {
			return nil, err
		}
	}
	msg.Subject(line(m.Title))
	msg.SetDateWithValue(c.now())
	msg.SetMessageIDWithValue(id("message", m.Tenant, m.ID) + "@" + c.domain())
	if about := m.CaseID + m.Ref; about != "" { // mail programs show what is about one case together
		msg.SetGenHeaderPreformatted(gomail.HeaderReferences, "<"+id("case", m.Tenant, about)+"@"+c.domain()+">")
	}
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	c.unsubscribe(msg, m.StopURL)
	msg.SetBodyString(gomail.TypeTextPlain, text(m.Body, m.Title))
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, text(m.HTML, ""))
		if len(m.Chart) > 0 {
			msg.EmbedReadSeeker("chart.png", bytes.NewReader(m.Chart), gomail.WithFileContentID("<chart>"), gomail.WithFileContentType("image/png"))
		}
	}
	for _, a := range m.Attachments {
		msg.AttachReadSeeker(line(a.Name), bytes.NewReader(a.Body), gomail.WithFileContentType(gomail.ContentType(line(a.Type))))
	}
	return msg, nil
}

// unsubscribe lets mail programs show a button of their own. One click is for https only (RFC 8058).
func (c *Channel) unsubscribe(msg *gomail.Msg, url string) {
	if url == "" || strings.ContainsFunc(url, func(r rune) bool { return r <= ' ' || r > '~' || r == '<' || r == '>' }) {
		return
	}
	msg.SetGenHeaderPreformatted(gomail.HeaderListUnsubscribe, "<"+url+">")
	if strings.HasPrefix(url, "https://") {
		msg.SetGenHeaderPreformatted(gomail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
}

// id is 32 hexadecimal digits that only the same parts give.
func id(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// maxLine is the longest subject in characters; words made it far shorter.
const maxLine = 250

// line makes text fit for a header: one line, nothing unseen, nothing that would be decoded as an encoded word.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "=?", "= ?")
	if r := []rune(s); len(r) > maxLine {
		s = string(r[:maxLine-1]) + "…"
	}
	if s == "" {
		s = "-"
	}
	return s
}

// text keeps paragraphs and takes out what is not text; instead stands in for an empty one.
func text(s, instead string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return -1
		}
		return r
	}, strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\r\n", "\n"))
	if strings.TrimSpace(s) == "" && instead != "" {
		return text(instead, "")
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}
