package journal

import "aftercare/internal/wire"

// The server keeps a consumer's position without a checksum: a flipped bit that makes it a higher number would make the consumer
// pass over records, and nobody would notice. So the journal keeps a copy with its marks, and a consumer that is further than its
// copy starts behind the copy. After a kill the copy is some seconds old; then what was committed since is read once more, as any
// reader must bear. A position that is lower than the copy is left as it is: it was set back, or costs the same.
//
// After a power cut there may be no copy, or one that was written earlier. A consumer without a copy is believed.

// startOf returns the sequence that a consumer has to start at, 0 for where the server has it; floor is how far the server says that
// it has committed.
func (j *Journal) startOf(stream wire.Stream, durable string, floor uint64) uint64 {
	if j.cfg.URL != "" {
		return 0
	}
	key := string(stream) + "/" + durable
	j.mu.Lock()
	defer j.mu.Unlock()
	copied, known := j.committed[key]
	if !known {
		j.committed[key] = floor
		return 0
	}
	if floor <= copied {
		return 0
	}
	j.log.Info("journal: a consumer's position is beyond what is known to be committed: it starts there again", "stream", stream,
		"consumer", durable, "position", floor, "committed", copied)
	return copied + 1
}

// noteCommitted remembers how far a consumer has committed.
func (j *Journal) noteCommitted(stream wire.Stream, durable string, seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.committed[string(stream)+"/"+durable] = seq
}
