package sim

import (
	"encoding/csv"
	"fmt"
	"io"
	"time"

	"aftercare/firmware-sim/internal/life"
	"aftercare/firmware-sim/internal/signal"
)

// shares says how many devices of a model there are among 300. Base stations come first: a list that is imported names a
// station before what speaks through it.
var shares = []struct {
	model, prefix, name string
	n                   int
}{
	{"base-b4", "BS", "charging station", 20}, {"drill-d18", "DR", "drill", 44}, {"washer-w7", "WM", "washing machine", 42},
	{"fridge-f3", "FR", "fridge", 42}, {"mower-m2", "MO", "mower", 36}, {"printer-p5", "PR", "printer", 32},
	{"laptop-l4", "LA", "laptop", 34}, {"ev-charger-e11", "EV", "charger", 25}, {"car-c6", "CA", "car", 25},
}

var regions = []string{"DE-BY", "DE-BE", "DE-HH", "DE-NW", "AT-9", "AT-5", "CH-ZH", "FR-IDF", "GB-ENG", "NL-NH"}

// fleet builds homes and devices, deals out faults and habits, and draws what is odd.
func fleet(cfg Config) ([]*node, error) {
	seed := signal.NewSeed(cfg.Seed, "fleet")
	start := cfg.Start.Unix()
	weather := life.NewWeather(cfg.Seed, start, cfg.Days)
	homes := map[string]*life.Home{}
	home := func(name string) *life.Home {
		if homes[name] == nil {
			homes[name] = life.NewHome(cfg.Seed, name, weather, start, cfg.Days)
		}
		return homes[name]
	}
	var nodes, stations []*node
	for _, s := range shares {
		var group []*node
		for i := range max(1, (s.n*cfg.Devices+150)/300) {
			serial := fmt.Sprintf("SIM-%s-%04d", s.prefix, i+1)
			place := fmt.Sprintf("home-%04d", int(signal.NewSeed(cfg.Seed, serial).U(980, 0)*float64(cfg.Devices)/2.2))
			if cfg.Households > 0 { // everybody has about as many
				place = fmt.Sprintf("home-%04d", (len(nodes)+i)%cfg.Households)
			}
			var parent *node
			switch s.model {
			case "base-b4":
				place = fmt.Sprintf("workshop-%04d", i)
			case "drill-d18":
				parent = stations[i%len(stations)]
				place = parent.place
			case "printer-p5":
				place = fmt.Sprintf("office-%04d", i/2)
			}
			l, err := life.New(s.model, serial, cfg.Seed, home(place), start)
			if err != nil {
				return nil, err
			}
			l.Befall(cfg.Days)
			n := newNode(l, place, parent, cfg.Seed)
			n.name = fmt.Sprintf("%s %d", s.name, i+1)
			group = append(group, n)
		}
		if s.model == "base-b4" {
			stations = group
		}
		deal(cfg, seed, s.model, group)
		nodes = append(nodes, group...)
	}
	return nodes, nil
}

// Shares of a model's devices that get a fault, a second one, and a habit.
const (
	faulty = 0.4
	twice  = 0.2 // of the faulty ones
	habits = 0.1
)

// deal gives the devices of a model their faults and habits: every kind in turn, so that a small fleet has each of them.
func deal(cfg Config, seed signal.Seed, model string, group []*node) {
	var faults, own []string
	for _, abrupt := range []bool{false, true, false} { // wear is twice as frequent as what comes without warning
		for _, k := range life.Kinds() {
			if k.Model != model || k.Due || k.Mishap || k.Sort() == "healthy" {
				continue
			}
			if k.Habit {
				own = append(own, k.Name)
			} else if k.Abrupt == abrupt {
				faults = append(faults, k.Name)
			}
		}
	}
	order, turn := shuffled(seed, model, len(group)), shuffled(seed, "kinds of "+model, len(faults))
	share := cfg.Faulty
	if share == 0 {
		share = faulty
	}
	n := int(share*float64(len(group)) + 0.5)
	when := func(i int, lo, hi float64) int64 {
		return cfg.Start.Unix() + int64((lo+(hi-lo)*group[order[i%len(order)]].seed.U(981, int64(i)))*float64(cfg.Days)*signal.Day)
	}
	for i := range n {
		if cfg.Healthy {
			break
		}
		l := group[order[i]].life
		first, second := faults[turn[i%len(turn)]], faults[turn[(i+1)%len(turn)]]
		l.Inflict(first, when(i, 0.12, 0.62))
		if float64(i) < twice*float64(n) && first != second {
			l.Inflict(second, when(i+100, 0.3, 0.7))
		}
	}
	if len(own) == 0 || cfg.Healthy {
		return
	}
	for i := range int(habits*float64(len(group)) + 0.7) {
		from := when(i+200, 0.15, 0.5)
		// From the other end of the shuffled list: mostly devices without a fault.
		group[order[len(order)-1-i]].life.Adopt(own[i%len(own)], from, from+int64(0.3*float64(cfg.Days)*signal.Day))
	}
}

// shuffled returns 0 to n-1 in an order drawn from the seed (Fisher and Yates).
func shuffled(seed signal.Seed, what string, n int) []int {
	s := signal.NewSeed(uint64(seed), what)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := int(s.U(1, int64(i)) * float64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// writeDevices writes the list that "aftercare device import" reads.
func writeDevices(w io.Writer, cfg Config, nodes []*node) error {
	c := csv.NewWriter(w)
	head := []string{"serial", "model", "name", "region", "firmware", "hardware", "batch", "parent", "installed_at", "warranty_until"}
	if cfg.Households > 0 {
		head = append(head, "owner")
	}
	_ = c.Write(head) // Flush says it
	for i, n := range nodes {
		parent := ""
		if n.parent != nil {
			parent = n.parent.life.Serial
		}
		installed := cfg.Start.AddDate(0, 0, -int(n.seed.Between(982, 0, 20, 900)))
		batch := installed.AddDate(0, -2, 0)
		region := regions[int(n.seed.U(983, 0)*float64(len(regions)))]
		if cfg.Households > 0 {
			region = householdRegion(cfg, i%cfg.Households)
		}
		row := []string{n.life.Serial, n.life.Model, n.name, region, n.life.Firmware,
			string(rune('A' + i%2)), fmt.Sprintf("%d-Q%d", batch.Year(), (int(batch.Month())+2)/3), parent,
			installed.Format(time.DateOnly), installed.AddDate(2, 0, 0).Format(time.DateOnly)}
		if cfg.Households > 0 {
			row = append(row, personID(i%cfg.Households, 0))
		}
		_ = c.Write(row)
	}
	c.Flush()
	return c.Error()
}
