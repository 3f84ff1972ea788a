package registry

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// Bounds of a list of devices.
const (
	maxListBytes = 8 << 20
	maxListRows  = 10_000
	maxRowBytes  = 8 << 10
	maxCellBytes = 256
)

// columns are what a list's header may name, in the order in which a row is checked.
var columns = []string{"serial", "model", "name", "room", "region", "firmware", "hardware", "batch", "parent", "owner", "seller",
	"installed_at", "warranty_until", "contract", "contract_until"}

// row is one line of a list.
type row struct {
	line  int
	cells map[string]string // by column; no empty ones
	bad   *fleet.Problem
	d     fleet.Device
	known bool
}

func (r *row) fail(column, hint, format string, args ...any) {
	if r.bad == nil {
		r.bad = &fleet.Problem{Line: r.line, Path: column, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
}

// readList splits a list into rows. What makes all of it unusable, such as a column nobody knows, is the error.
func readList(text []byte) ([]row, error) {
	bad := func(format string, args ...any) error { return fleet.Errorf(fleet.CodeInvalid, format, args...) }
	if len(text) > maxListBytes {
		return nil, bad("the list is longer than %d MiB", maxListBytes>>20)
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, bad("the list is UTF-16: save it as CSV UTF-8")
	}
	s := scanner{text: bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), sep: ',', line: 1}
	first, _, _ := bytes.Cut(bytes.TrimLeft(s.text, "\r\n"), []byte("\n"))
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		s.sep = ';'
	}
	line, header, problem, ok := s.next()
	if !ok {
		return nil, bad("the list is empty: its first line has to name the columns")
	}
	if problem != "" {
		return nil, bad("line %d, the header: %s", line, problem)
	}
	for i, h := range header {
		header[i] = strings.ToLower(strings.TrimSpace(h))
		if !slices.Contains(columns, header[i]) {
			return nil, bad("line %d, the header: column %q is not known; known are %s", line, h, strings.Join(columns, ", "))
		}
		if slices.Contains(header[:i], header[i]) {
			return nil, bad("line %d, the header: column %q is there twice", line, h)
		}
	}
	if !slices.Contains(header, "serial") || !slices.Contains(header, "model") {
		return nil, bad("line %d, the header: the columns serial and model are required", line)
	}
	return s.rows(header)
}

func (s *scanner) rows(header []string) ([]row, error) {
	var out []row
	for {
		line, cells, problem, ok := s.next()
		if !ok {
			return out, nil
		}
		if len(out) == maxListRows {
			return nil, fleet.Errorf(fleet.CodeInvalid, "the list has more than %d rows: divide it", maxListRows)
		}
		r := row{line: line, cells: make(map[string]string, len(cells))}
		for len(cells) > len(header) && cells[len(cells)-1] == "" { // spreadsheets like to add such
			cells = cells[:len(cells)-1]
		}
		switch {
		case problem != "":
			r.fail("", "", "%s", problem)
		case len(cells) != len(header):
			r.fail("", "", "%d cells, and the header names %d", len(cells), len(header))
		default:
			for i, c := range cells {
				r.cell(header[i], c)
			}
		}
		out = append(out, r)
	}
}

func (r *row) cell(column, text string) {
	switch {
	case text == "":
		return
	case len(text) > maxCellBytes:
		r.fail(column, "", "longer than %d bytes", maxCellBytes)
	case !utf8.ValidString(text):
		r.fail(column, "save the list as CSV UTF-8", "not UTF-8")
	case strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f }):
		r.fail(column, "", "a control character")
	}
	r.cells[column] = text
}

// scanner reads one line after the other. No cell has a line break in it, not even in quotes: so an open quote spoils its own row
// and swallows no other, as it would with encoding/csv.
type scanner struct {
	text []byte
	sep  byte
	line int // of what comes next
}

// next returns a row's line and cells, or what is wrong with it; empty lines are no rows. ok is false at the end.
func (s *scanner) next() (line int, cells []string, problem string, ok bool) {
	for len(s.text) > 0 {
		text, rest, _ := bytes.Cut(s.text, []byte("\n"))
		s.text, line = rest, s.line
		s.line++
		if text = bytes.TrimRight(text, "\r"); len(text) > 0 {
			cells, problem = split(text, s.sep)
			return line, cells, problem, true
		}
	}
	return 0, nil, "", false
}

// split returns the cells of a line.
func split(text []byte, sep byte) (cells []string, problem string) {
	if len(text) > maxRowBytes {
		return nil, fmt.Sprintf("the row is longer than %d bytes", maxRowBytes)
	}
	for at := 0; ; at++ {
		var cell string
		var ok bool
		if at < len(text) && text[at] == '"' {
			if cell, at, ok = quoted(text, at+1); !ok {
				return nil, "a quote that begins a cell is not closed in its line"
			}
			if at < len(text) && text[at] != sep {
				return nil, "after a closing quote the cell has to end; a quote inside is written twice"
			}
		} else {
			n := bytes.IndexByte(text[at:], sep)
			if n < 0 {
				n = len(text) - at
			}
			cell, at = strings.TrimSpace(string(text[at:at+n])), at+n
		}
		cells = append(cells, cell)
		if at == len(text) {
			return cells, ""
		}
	}
}

// quoted reads a cell after its opening quote, and returns where the text goes on after the closing one.
func quoted(text []byte, at int) (cell string, next int, ok bool) {
	var b strings.Builder
	for {
		n := bytes.IndexByte(text[at:], '"')
		if n < 0 {
			return "", 0, false
		}
		b.Write(text[at : at+n])
		at += n + 1
		if at == len(text) || text[at] != '"' {
			return b.String(), at, true
		}
		b.WriteByte('"')
		at++
	}
}
