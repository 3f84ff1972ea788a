//go:build !linux && !darwin

package journal

// freeShare is not known here; JetStream's own limits remain.
func freeShare(string) (float64, error) { return 1, nil }
