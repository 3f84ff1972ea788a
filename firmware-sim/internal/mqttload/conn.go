package mqttload

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	keepAlive  = 60 * time.Second
	pingAfter  = 20 * time.Second // of silence on our side
	burst      = 64               // most publishes in one write
	drainTime  = 5 * time.Second  // how long open acknowledgements are waited for at the end
	drainShort = time.Second      // the same when asked to stop
)

// slot is one place in the window of a connection; its packet id is its index plus one.
type slot struct {
	busy  bool
	seq   int64
	ts    int64         // device time, ms
	sched time.Duration // when it was due, since the start
}

// conn is one device's connection: one goroutine writes, one reads. What they share is under mu.
type conn struct {
	cfg      *Config
	index    int
	serial   string
	username string
	password string
	template template
	start    time.Time // zero of the schedule; set before Run

	mu      sync.Mutex
	slots   []slot
	next    int // the slot of the next message: ids are used in a ring
	busy    int
	issued  int64 // messages numbered so far
	acked   int64
	strange int64 // acknowledgements nobody waited for
	lastAck time.Duration
	hist    histogram
	ranges  []ackedRange

	wake chan struct{} // something was acknowledged, or the reader ended
	out  []byte
}

// Run sends until ctx ends or all messages are acknowledged, and waits for open acknowledgements for a while. Without
// reconnect the first broken connection ends it; the error says why. stop is the parent that asks for a quick end.
func (c *conn) Run(ctx, stop context.Context, nc net.Conn, r *bufio.Reader) error {
	var deadline time.Time // of everything, known once ctx has ended
	for {
		err := c.session(ctx, stop, nc, r)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && deadline.IsZero() {
			deadline = time.Now().Add(drainTime)
		}
		if !c.cfg.Reconnect {
			return err
		}
		for {
			if stop.Err() != nil || !deadline.IsZero() && (time.Now().After(deadline) || c.open() == 0) {
				return err
			}
			select {
			case <-stop.Done():
				return err
			case <-time.After(200 * time.Millisecond):
			}
			if nc, r, err = c.dial(stop); err == nil {
				break
			}
			if ctx.Err() != nil && deadline.IsZero() {
				deadline = time.Now().Add(drainTime)
			}
		}
	}
}

func (c *conn) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy
}

// dial connects and authenticates.
func (c *conn) dial(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", c.cfg.Address)
	if err != nil {
		return nil, nil, fmt.Errorf("connect %s: %w", c.serial, err)
	}
	r := bufio.NewReaderSize(nc, 16<<10)
	err = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if err == nil {
		_, err = nc.Write(appendConnect(nil, c.username, c.password, keepAlive))
	}
	if err == nil {
		err = readConnack(r)
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = nc.Close() // the first error is the one that says what is wrong
		return nil, nil, fmt.Errorf("connect %s: %w", c.serial, err)
	}
	return nc, r, nil
}

// session writes and reads on one connection. It returns nil when everything due was sent and acknowledged or ctx ended
// and the wait for acknowledgements is over.
func (c *conn) session(ctx, stop context.Context, nc net.Conn, r *bufio.Reader) error {
	read := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		read <- c.read(r)
		c.notify()
		_ = nc.Close() // ends a write that waits for a server that is gone
	})
	unstop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now().Add(drainTime)) })
	unstop2 := context.AfterFunc(stop, func() { _ = nc.SetDeadline(time.Now().Add(drainShort)) })
	err := c.repeat(nc)
	if err == nil {
		err = c.write(ctx, stop, nc, read)
	}
	unstop()
	unstop2()
	if err == nil {
		_, _ = nc.Write([]byte{typeDisconnect, 0}) // courtesy; the connection closes anyway
	}
	_ = nc.Close()
	reader.Wait() // it may still be counting acknowledgements
	return err
}

// repeat sends what an earlier connection left open, in order, marked as repetitions.
func (c *conn) repeat(nc net.Conn) error {
	c.mu.Lock()
	c.out = c.out[:0]
	for i := range c.slots {
		at := (c.next + i) % len(c.slots) // the oldest is the one that would be reused next
		if s := &c.slots[at]; s.busy {
			c.out = c.template.append(c.out, uint16(at+1), s.ts, s.seq, true)
		}
	}
	c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	_, err := nc.Write(c.out)
	return err
}

// write sends messages as they fall due and the window allows, until ctx ends or all are sent; then it waits for the
// open acknowledgements.
func (c *conn) write(ctx, stop context.Context, nc net.Conn, read <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	written := time.Now()
	var grace <-chan time.Time
	done := ctx.Done()
	for {
		wait, finished := pingAfter, ctx.Err() != nil
		if !finished {
			wait, finished = c.fill(time.Now())
			if len(c.out) > 0 {
				written = time.Now()
				if _, err := nc.Write(c.out); err != nil {
					return c.ended(read, err)
				}
				continue
			}
		}
		if finished {
			if c.open() == 0 {
				return nil
			}
			if grace == nil && ctx.Err() != nil {
				grace, done = time.After(graceFor(stop)), stop.Done()
			}
		}
		if idle := time.Since(written); idle > pingAfter {
			written = time.Now()
			if _, err := nc.Write([]byte{typePingreq, 0}); err != nil {
				return c.ended(read, err)
			}
		}
		timer.Reset(min(wait, pingAfter))
		select {
		case <-c.wake:
		case <-timer.C:
		case <-done:
			done = nil
			if ctx.Err() != nil && stop.Err() != nil {
				grace = time.After(drainShort)
			}
		case <-grace:
			return nil
		case err := <-read:
			return fmt.Errorf("connection of %s: %w", c.serial, err)
		}
	}
}

func graceFor(stop context.Context) time.Duration {
	if stop.Err() != nil {
		return drainShort
	}
	return drainTime
}

// ended prefers the reader's reason over the writer's "closed".
func (c *conn) ended(read <-chan error, err error) error {
	select {
	case cause := <-read:
		return fmt.Errorf("connection of %s: %w", c.serial, cause)
	case <-time.After(100 * time.Millisecond):
		return fmt.Errorf("connection of %s: %w", c.serial, err)
	}
}

// fill encodes what is due and fits into the window into c.out. When that is nothing it returns how long to wait, and
// whether there is nothing more to send ever.
func (c *conn) fill(now time.Time) (wait time.Duration, finished bool) {
	c.out = c.out[:0]
	since := now.Sub(c.start)
	ts := now.UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	for range burst {
		if c.cfg.Messages > 0 && c.issued >= c.cfg.Messages {
			return pingAfter, true
		}
		s := &c.slots[c.next]
		if s.busy {
			return pingAfter, false // the reader wakes us
		}
		due := since
		if c.cfg.Rate > 0 {
			n := c.issued*int64(c.cfg.Connections) + int64(c.index)
			due = time.Duration(float64(n) / c.cfg.Rate * float64(time.Second))
			if due > since {
				return due - since, false
			}
		}
		*s = slot{busy: true, seq: c.cfg.FirstSeq + c.issued, ts: ts, sched: due}
		c.out = c.template.append(c.out, uint16(c.next+1), ts, s.seq, false)
		c.issued++
		c.busy++
		c.next = (c.next + 1) % len(c.slots)
	}
	return 0, false
}

func (c *conn) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// read takes acknowledgements until the connection ends; those that are there together are counted together.
func (c *conn) read(r *bufio.Reader) error {
	ids := make([]uint16, 0, 256)
	for {
		id, err := readAck(r)
		if err != nil {
			return err
		}
		ids = append(ids[:0], id)
		for r.Buffered() >= 4 && len(ids) < cap(ids) {
			if id, err = readAck(r); err != nil {
				break
			}
			ids = append(ids, id)
		}
		c.take(ids, time.Since(c.start))
		c.notify()
		if err != nil {
			return err
		}
	}
}

// take counts acknowledgements that were read: only here does a message become acknowledged.
func (c *conn) take(ids []uint16, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if int(id) < 1 || int(id) > len(c.slots) || !c.slots[id-1].busy {
			c.strange++
			continue
		}
		s := &c.slots[id-1]
		s.busy = false
		c.busy--
		c.acked++
		c.hist.add(now - s.sched)
		if n := len(c.ranges); n > 0 && c.ranges[n-1].Last+1 == s.seq {
			c.ranges[n-1].Last = s.seq
		} else {
			c.ranges = append(c.ranges, ackedRange{Serial: c.serial, Boot: c.cfg.Boot, First: s.seq, Last: s.seq})
		}
	}
	c.lastAck = now
}

// takeRanges returns what was acknowledged since the last call.
func (c *conn) takeRanges() []ackedRange {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.ranges
	c.ranges = nil
	return r
}
