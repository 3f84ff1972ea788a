package registry

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// SpanKind says what a span of a device is about.
type SpanKind string

// The kinds of spans.
const (
	Maintenance SpanKind = "maintenance" // somebody works on it
	Storage     SpanKind = "storage"     // it is put away on purpose
)

// What one device may have of each: its facts stay a small record.
const (
	maxLimits = 100
	maxSpans  = 32
)

// Facts returns what rules may look at besides a device's readings.
func (r *Registry) Facts(ctx context.Context, key fleet.DeviceKey) (fleet.Facts, error) {
	return r.store.DeviceFacts(ctx, key)
}

// SetLimits gives a device values of its own for rules' named limits ("rule-id.limit") and takes away those named in unset,
// CodeNotFound if it has no such. Whether there is such a rule and limit is the caller's to check: the registry knows no rules.
func (r *Registry) SetLimits(ctx context.Context, key fleet.DeviceKey, set map[string]float64, unset []string) error {
	var told []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if math.IsNaN(set[name]) || math.IsInf(set[name], 0) {
			return fleet.Errorf(fleet.CodeInvalid, "limit %s: %v is no value", name, set[name])
		}
		told = append(told, name+"="+strconv.FormatFloat(set[name], 'g', -1, 64))
	}
	for _, name := range unset {
		told = append(told, name+" unset")
	}
	return r.edit(ctx, key, fleet.ActionLimits, strings.Join(told, ", "), func(f *fleet.Facts) error {
		for _, name := range unset {
			if _, ok := f.Limits[name]; !ok {
				return fleet.Errorf(fleet.CodeNotFound, "device %q has no value of its own for %q; it has %s", key, name, listed(f.Limits))
			}
			delete(f.Limits, name)
		}
		if f.Limits == nil {
			f.Limits = map[string]float64{}
		}
		maps.Copy(f.Limits, set)
		if len(f.Limits) > maxLimits {
			return fleet.Errorf(fleet.CodeInvalid, "device %q: at most %d limits of its own", key, maxLimits)
		}
		return nil
	})
}

func listed(limits map[string]float64) string {
	if len(limits) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(limits)), ", ")
}

// Serviced notes work on a component after which its use is counted anew. A component that the model's profile does not name,
// or a time to come, is CodeInvalid.
func (r *Registry) Serviced(ctx context.Context, key fleet.DeviceKey, s fleet.Service) error {
	if s.At.IsZero() {
		s.At = r.now()
	}
	s.At = s.At.Truncate(time.Millisecond)
	if s.At.After(r.now().Add(time.Minute)) {
		return fleet.Errorf(fleet.CodeInvalid, "service at %s: that is in the future", s.At.Format(time.RFC3339))
	}
	if len(s.By) > maxFact {
		return fleet.Errorf(fleet.CodeInvalid, "by %.20q...: at most %d bytes", s.By, maxFact)
	}
	if s.By == "" {
		s.By = actor(ctx)
	}
	detail := fmt.Sprintf("%s, %s, by %s", s.Component, s.At.UTC().Format(time.RFC3339), s.By)
	return r.edit(ctx, key, fleet.ActionServiced, detail, func(f *fleet.Facts) error {
		if err := r.checkComponent(f.Model, s.Component); err != nil {
			return err
		}
		f.Services = append(f.Services, s)
		return nil
	})
}

func (r *Registry) checkComponent(model, name string) error {
	m, ok := r.models[model]
	if !ok {
		return fleet.Errorf(fleet.CodeInvalid, "there is no profile of model %q, so its components are not known", model)
	}
	var names []string
	for _, c := range m.Components {
		if c.Name == name {
			return nil
		}
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return fleet.Errorf(fleet.CodeInvalid, "the profile of %s names no components", model)
	}
	return fleet.Errorf(fleet.CodeInvalid, "%s has no component %q: it has %s", model, name, strings.Join(names, ", "))
}

// AddSpan says from when to when a device is in maintenance or put away; a zero From is now, a zero To until further notice. A
// span that overlaps one of the same kind is CodeConflict.
func (r *Registry) AddSpan(ctx context.Context, key fleet.DeviceKey, kind SpanKind, s fleet.Span) error {
	if s.From.IsZero() {
		s.From = r.now()
	}
	s.From, s.To = s.From.Truncate(time.Millisecond), s.To.Truncate(time.Millisecond)
	if !s.To.IsZero() && !s.From.Before(s.To) {
		return fleet.Errorf(fleet.CodeInvalid, "%s from %s to %s: want from before to", kind, s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
	}
	return r.edit(ctx, key, actionOf(kind), SpanText(s), func(f *fleet.Facts) error {
		spans := spansOf(f, kind)
		*spans = recent(*spans, r.now())
		for _, have := range *spans {
			if (s.To.IsZero() || have.From.Before(s.To)) && (have.To.IsZero() || s.From.Before(have.To)) {
				return fleet.Errorf(fleet.CodeConflict, "device %q is in %s %s already: end that first", key, kind, SpanText(have))
			}
		}
		if len(*spans) >= maxSpans {
			return fleet.Errorf(fleet.CodeInvalid, "device %q: at most %d spans of %s", key, maxSpans, kind)
		}
		*spans = append(*spans, s)
		return nil
	})
}

// EndSpan ends the maintenance or storage a device is in now, or calls off the next one. CodeNotFound if there is none.
func (r *Registry) EndSpan(ctx context.Context, key fleet.DeviceKey, kind SpanKind) error {
	now := r.now().Truncate(time.Millisecond)
	return r.edit(ctx, key, actionOf(kind), "ended", func(f *fleet.Facts) error {
		spans := spansOf(f, kind)
		*spans = recent(*spans, now)
		for i := range *spans { // sorted
			s := &(*spans)[i]
			switch {
			case s.From.Before(now) && s.Holds(now):
				s.To = now
				return nil
			case !s.From.Before(now):
				*spans = slices.Delete(*spans, i, i+1)
				return nil
			}
		}
		return fleet.Errorf(fleet.CodeNotFound, "device %q is not in %s", key, kind)
	})
}

func spansOf(f *fleet.Facts, kind SpanKind) *[]fleet.Span {
	if kind == Storage {
		return &f.Stored
	}
	return &f.Maintenance
}

func actionOf(kind SpanKind) string {
	if kind == Storage {
		return fleet.ActionStored
	}
	return fleet.ActionMaintenance
}

// SpanText says a span in words for those who keep the system.
func SpanText(s fleet.Span) string {
	if s.To.IsZero() {
		return "from " + s.From.UTC().Format(time.RFC3339) + " until further notice"
	}
	return "from " + s.From.UTC().Format(time.RFC3339) + " to " + s.To.UTC().Format(time.RFC3339)
}

// edit changes a device that is not revoked, with its security event.
func (r *Registry) edit(ctx context.Context, key fleet.DeviceKey, action, detail string, do func(*fleet.Facts) error) error {
	err := r.store.EditFacts(ctx, key, func(f *fleet.Facts) error {
		if f.Revoked {
			return fleet.Errorf(fleet.CodeInvalid, "device %q is revoked", key)
		}
		return do(f)
	}, r.event(actor(ctx), action, key, detail))
	if err != nil {
		return err
	}
	r.takeIn(ctx)
	return nil
}
