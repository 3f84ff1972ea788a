package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"aftercare/internal/fleet"
)

// EncodeSummary makes the records of a summary of the fleet, one for each partition: JSON, compressed. One that is stored twice within two
// minutes is there once. They are received at the summary's time.
func EncodeSummary(partitions int, sum fleet.Summary) ([]Record, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(sum), z.Close()); err != nil {
		return nil, fmt.Errorf("encode the summary of the fleet: %w", err)
	}
	out := make([]Record, partitions)
	for p := range out {
		out[p] = Record{Stream: Readings, Partition: p, Kind: KindSummary, Received: sum.At,
			ID: fmt.Sprintf("summary.%d.%d", p, sum.At.UnixMilli()), Body: b.Bytes()}
	}
	return out, nil
}

// maxSummary bounds what a summary unpacks to.
const maxSummary = 4 << 20

// DecodeSummary reads the body of a record made by EncodeSummary.
func DecodeSummary(body []byte) (sum fleet.Summary, err error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	var text []byte
	if err == nil {
		text, err = io.ReadAll(io.LimitReader(z, maxSummary)) // to the end: there is the checksum
	}
	if err == nil {
		err = json.Unmarshal(text, &sum)
	}
	if err != nil {
		return fleet.Summary{}, fmt.Errorf("decode the summary of the fleet: %w", err)
	}
	return sum, nil
}
