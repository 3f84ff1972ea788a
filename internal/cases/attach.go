package cases

import (
	"fmt"
	"net/http"
	"path"
	"strings"
	"unicode"

	"aftercare/internal/fleet"
)

// MaxFile is how large an attachment may be, in bytes.
const MaxFile = 2 << 20

// fileTypes are what may be attached, by what the content begins with, and the ending its name gets. Nothing of them runs in a
// browser.
var fileTypes = map[string]string{"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "application/pdf": ".pdf",
	"text/plain; charset=utf-8": ".txt", "video/mp4": ".mp4", "video/webm": ".webm"}

func (e *edit) attach(a Action) error {
	f := a.File
	if len(f.Body) == 0 || len(f.Body) > MaxFile {
		return fleet.Errorf(fleet.CodeInvalid, "a file of %d bytes: want 1 to %d", len(f.Body), MaxFile)
	}
	f.Type = http.DetectContentType(f.Body)
	ending, ok := fileTypes[f.Type]
	if !ok {
		return fleet.Errorf(fleet.CodeInvalid, "a file of type %s: want a picture (PNG, JPEG, GIF, WebP), a PDF, plain text, or a video (MP4, WebM)", f.Type)
	}
	f.ID = fleet.ID("att", e.c.ID, fmt.Sprint(e.before.Version))
	f.Name, f.Size, f.At, f.By = safeName(f.Name, ending), len(f.Body), e.now, a.Actor
	e.files = append(e.files, f)
	e.audit("attached", withNote(f.Name, a.Note))
	return nil
}

const maxName = 80 // runes

// safeName makes of a name from outside one that any system can save: no folders, no control or direction characters, and the
// ending of what it is.
func safeName(name, ending string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.TrimSuffix(name, path.Ext(name))
	var b strings.Builder
	n := 0
	for _, r := range name {
		switch {
		case n == maxName:
			continue
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
		case r == ' ' || r == '.':
			r = '_'
		default:
			continue
		}
		b.WriteRune(r)
		n++
	}
	if name = strings.Trim(b.String(), "_"); name == "" {
		name = "file"
	}
	return name + ending
}
