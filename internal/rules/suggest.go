package rules

import (
	"fmt"
	"slices"
	"strings"
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// didYouMean names the candidate nearest to a misspelt word, or all candidates when they are few and none is near.
func didYouMean(word string, candidates []string) string {
	best, bestDist := "", 1+len(word)/4
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c), bestDist); d <= bestDist && (best == "" || d < bestDist) {
			best, bestDist = c, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if parts := partly(word, candidates); len(parts) == 1 {
		return fmt.Sprintf("did you mean %q?", parts[0])
	}
	if n := len(candidates); n > 0 && n <= 12 {
		return "one of " + strings.Join(candidates, ", ")
	}
	return ""
}

// partly lists the candidates that hold a word: "pump" is in "drain-pump".
func partly(word string, candidates []string) (out []string) {
	for _, c := range candidates {
		if len(word) >= 3 && strings.Contains(strings.ToLower(c), strings.ToLower(word)) {
			out = append(out, c)
		}
	}
	return out
}

// distance is the Levenshtein distance of two short words; anything above limit is limit+1.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diag, row[j] = row[j], min(row[j]+1, row[j-1]+1, diag+cost)
		}
	}
	return row[len(b)]
}

// Suggest says what somebody may have meant by a misspelt name: the nearest candidate, or all when they are few; empty: who knows.
func Suggest(word string, candidates []string) string { return didYouMean(word, candidates) }
