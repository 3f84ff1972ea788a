package owner

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"strings"
	"sync"
)

// The icons are drawn here, so that nothing binary is in the sources: the sign of assets/icon.svg, a line that rises and settles
// on a rounded square of 32 units.
var line = [][2]float64{{5, 18}, {11, 18}, {14, 9}, {19, 24}, {22, 18}, {27, 18}}

var (
	iconGround = color.NRGBA{0x0b, 0x61, 0x57, 0xff}
	iconInk    = color.NRGBA{0xff, 0xff, 0xff, 0xff}
)

// iconKinds are the pictures that exist: size in pixels, share of the square that the sign takes, rounded corners. A maskable icon
// is cut to a circle by the phone; a badge is a silhouette.
var iconKinds = map[string]struct {
	size   int
	scale  float64
	corner float64
	badge  bool
}{
	"192.png": {192, 1, 7, false}, "512.png": {512, 1, 7, false}, "maskable.png": {512, .72, 0, false},
	"apple.png": {180, .92, 0, false}, "badge.png": {96, 1.1, 0, true},
}

var iconCache sync.Map // by name: []byte

func (s *Site) icon(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, ok := iconKinds[name]; !ok {
		http.NotFound(w, r)
		return
	}
	b, ok := iconCache.Load(name)
	if !ok {
		b, _ = iconCache.LoadOrStore(name, drawIcon(name))
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "public, max-age=604800")
	_, _ = w.Write(b.([]byte))
}

func drawIcon(name string) []byte {
	k := iconKinds[name]
	img := image.NewNRGBA(image.Rect(0, 0, k.size, k.size))
	unit := float64(k.size) / 32
	for y := range k.size {
		for x := range k.size {
			px, py := (float64(x)+.5)/unit, (float64(y)+.5)/unit
			ground := cover(-roundedSquare(px, py, k.corner), unit)
			sx, sy := 16+(px-16)/k.scale, 16+(py-16)/k.scale
			ink := cover(1.3-distance(sx, sy), unit*k.scale)
			if k.badge {
				img.SetNRGBA(x, y, color.NRGBA{0xff, 0xff, 0xff, uint8(255 * ink)})
				continue
			}
			c := color.NRGBA{mix(iconGround.R, iconInk.R, ink), mix(iconGround.G, iconInk.G, ink), mix(iconGround.B, iconInk.B, ink), uint8(255 * ground)}
			img.SetNRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img) // into memory: it cannot fail
	return b.Bytes()
}

// cover is how much of a pixel is inside, from the distance to the edge in units.
func cover(inside, unit float64) float64 { return math.Max(0, math.Min(1, inside*unit+.5)) }

func mix(a, b uint8, t float64) uint8 { return uint8(float64(a) + (float64(b)-float64(a))*t) }

// roundedSquare is the signed distance to the edge of the square, negative inside.
func roundedSquare(x, y, corner float64) float64 {
	dx, dy := math.Abs(x-16)-(16-corner), math.Abs(y-16)-(16-corner)
	return math.Hypot(math.Max(dx, 0), math.Max(dy, 0)) + math.Min(math.Max(dx, dy), 0) - corner
}

// distance is that of a point to the line.
func distance(x, y float64) float64 {
	best := math.Inf(1)
	for i := 1; i < len(line); i++ {
		ax, ay := line[i-1][0], line[i-1][1]
		bx, by := line[i][0]-ax, line[i][1]-ay
		t := math.Max(0, math.Min(1, ((x-ax)*bx+(y-ay)*by)/(bx*bx+by*by)))
		best = math.Min(best, math.Hypot(x-ax-t*bx, y-ay-t*by))
	}
	return best
}

// manifest makes the pages installable.
func (s *Site) manifest(w http.ResponseWriter, r *http.Request) {
	v := s.visit(w, r, anyone)
	type icon struct {
		Src     string `json:"src"`
		Sizes   string `json:"sizes"`
		Type    string `json:"type"`
		Purpose string `json:"purpose,omitempty"`
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Header().Set("Vary", "Accept-Language, Cookie")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": "/me", "name": s.cfg.Name, "short_name": s.cfg.Name, "description": v.T("home.lead"), "lang": v.Lang,
		"start_url": "/me", "scope": "/", "display": "standalone", "background_color": "#fafaf8", "theme_color": "#0b6157",
		"icons": []icon{{"/icons/192.png", "192x192", "image/png", ""}, {"/icons/512.png", "512x512", "image/png", ""},
			{"/icons/maskable.png", "512x512", "image/png", "maskable"}, {"/assets/icon.svg", "any", "image/svg+xml", ""}},
	})
}

// worker is the service worker. It is read again when it has changed, whatever caches say, and names the assets' version so that
// it does.
func (s *Site) worker(w http.ResponseWriter, _ *http.Request) {
	b, _ := assetFiles.ReadFile("assets/sw.js") // embedded: it is there
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Service-Worker-Allowed", "/")
	_, _ = w.Write([]byte(strings.ReplaceAll(string(b), "@VERSION@", assetVersion)))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
