// Package e2e tests the product from outside: the real binary, the real simulator, real servers. It also holds the tests
// about the project as a whole. It has no code of its own; nobody imports it.
package e2e

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// edge is what the services at the edge share: nouns, the way things look on the way, being watched.
var edge = []string{"fleet", "wire", "obs"}

// mayImport says who of our packages may import whom, with the reason. A package that is not named may not exist.
var mayImport = map[string]struct {
	who    []string
	reason string
}{
	"fleet":                     {nil, "the nouns are at the bottom"},
	"obs":                       {nil, "being watched must not pull anything in"},
	"wire":                      {[]string{"fleet"}, "formats know nouns only"},
	"chart":                     {[]string{"fleet"}, "drawing knows nouns only"},
	"words":                     {[]string{"fleet"}, "texts know nouns only"},
	"egress":                    {[]string{"fleet"}, "the dialer serves everybody"},
	"seal":                      {nil, "signing a link needs nothing of ours"},
	"journal":                   {edge, "one technology an edge; edges do not know each other"},
	"ingest":                    {edge, "asks for a journal and a registry through interfaces of its own"},
	"gateway":                   {edge, "a door knows ingest only as an interface"},
	"presence":                  {edge, "asks the registry and ingest through interfaces of its own"},
	"bridge":                    {edge, "a door knows ingest only as an interface"},
	"history":                   {edge, "InfluxDB is known here alone"},
	"history/embedded":          {edge, "the server in the process is a part of its own"},
	"rules":                     {append([]string{"rules/detect"}, edge...), "rules read records, nothing else; their detectors are plain functions"},
	"rules/engine":              {append([]string{"rules"}, edge...), "runs programs made by rules"},
	"rules/ruletest":            {[]string{"fleet", "wire", "rules"}, "runs rules on records it makes"},
	"rules/detect":              {nil, "detectors are functions on numbers"},
	"rules/score":               {[]string{"fleet"}, "compares findings with the truth of a simulation"},
	"cases":                     {[]string{"fleet", "obs"}, "decides; stores through an interface"},
	"incidents":                 {[]string{"fleet", "obs"}, "decides; stores through an interface"},
	"dispatch":                  {[]string{"fleet", "obs", "words"}, "decides; stores through an interface"},
	"commands":                  {[]string{"fleet", "obs"}, "decides; stores through an interface"},
	"registry":                  {[]string{"fleet", "words", "obs"}, "decides; stores through an interface"},
	"store":                     {[]string{"fleet", "obs"}, "SQL is known here alone"},
	"outreach":                  {[]string{"fleet", "words", "chart", "seal", "obs"}, "decides what is sent; channels send"},
	"outreach/channeltest":      {[]string{"fleet", "outreach"}, "the one contract of all channels"},
	"outreach/channel/*":        {[]string{"fleet", "outreach", "egress", "obs"}, "one way out a folder"},
	"api":                       {[]string{"fleet", "words", "chart", "egress", "obs"}, "shows; asks through interfaces of its own"},
	"web":                       {[]string{"fleet", "words", "chart", "egress", "obs"}, "shows; asks through interfaces of its own"},
	"web/owner":                 {[]string{"fleet", "words", "chart", "seal", "obs"}, "what owners and partners see from outside; shares nothing with the desk"},
	"web/partner":               {[]string{"fleet", "words", "seal", "obs"}, "one page a work order, on the owners' listener"},
	"config":                    {[]string{"*"}, "reads the packages' own Config types"},
	"app":                       {[]string{"*"}, "wires everything"},
	"e2e":                       {[]string{"*"}, "tests only"},
	"/configs":                  {nil, "files only"},
	"/cmd/aftercare":            {[]string{"*"}, "the tools are about any package"},
	"/firmware-sim":             {[]string{"/firmware-sim/*"}, "a device knows nothing of the server but MQTT"},
	"/firmware-sim/internal/**": {[]string{"/firmware-sim/*"}, "a device knows nothing of the server but MQTT"},
}

// configMayNot keeps config to Config types: these have none of interest and would drag in servers.
var configMayNot = []string{"app", "e2e"}

// TestImportRules fails on any import between our packages that the table does not allow. Test files may import more.
func TestImportRules(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "data") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		pkg := name(filepath.ToSlash(rel))
		rule, ok := lookup(pkg)
		if !ok {
			t.Errorf("%s: package %s has no row in the import table", path, pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			ours, ok := strings.CutPrefix(p, "aftercare/")
			if !ok {
				continue
			}
			seen++
			if n := name(ours); !allowed(rule.who, n) || pkg == "config" && slices.Contains(configMayNot, n) {
				t.Errorf("%s imports %s: %s", path, n, rule.reason)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("looked at %d imports only: the test does not see the project", seen)
	}
}

// name is a package's path below internal, or with a leading slash from the root.
func name(path string) string {
	if n, ok := strings.CutPrefix(path, "internal/"); ok {
		return n
	}
	return "/" + path
}

func lookup(pkg string) (r struct {
	who    []string
	reason string
}, ok bool) {
	if r, ok = mayImport[pkg]; ok {
		return r, true
	}
	for pattern, r := range mayImport {
		if match(pattern, pkg) {
			return r, true
		}
	}
	return r, false
}

func allowed(who []string, pkg string) bool {
	return slices.ContainsFunc(who, func(p string) bool { return match(p, pkg) })
}

// match: "*" is everything, "x/*" and "x/**" what is below x.
func match(pattern, pkg string) bool {
	prefix, wild := strings.CutSuffix(strings.TrimSuffix(pattern, "*"), "*")
	if !wild && !strings.HasSuffix(pattern, "*") {
		return pattern == pkg
	}
	return strings.HasPrefix(pkg, strings.TrimSuffix(prefix, "*"))
}

// TestTopLevelFolders: the layout is given.
func TestTopLevelFolders(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	given := []string{"cmd", "internal", "firmware-sim", "configs", "dashboards"}
	made := []string{"bin", "data"} // by make, ignored by git
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(given, e.Name()) && !slices.Contains(made, e.Name()) {
			t.Errorf("folder %s is not one of %v", e.Name(), given)
		}
	}
}
