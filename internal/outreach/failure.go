package outreach

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// class says what a failed try means for the next.
type class uint8

const (
	again class = iota // try again by the schedule, not before the failure's own wish
	never              // the same message will fail the same way
	gone               // no message will ever arrive there
)

// failure is an error with its class.
type failure struct {
	err   error
	class class
	after time.Duration
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// Again classifies a failure that may pass; after is the receiver's wish (Retry-After), 0 for none.
func Again(err error, after time.Duration) error {
	return &failure{err: err, class: again, after: max(after, 0)}
}

// Never classifies a failure that trying again does not change.
func Never(err error) error { return &failure{err: err, class: never} }

// Gone classifies the answer that an endpoint does not exist any more and wants no further message.
func Gone(err error) error { return &failure{err: err, class: gone} }

// classify returns the class of a channel's error; unclassified ones may pass.
func classify(err error) (class, time.Duration) {
	var f *failure
	if errors.As(err, &f) {
		return f.class, f.after
	}
	return again, 0
}

// ClassOf names the class of a channel's error, "again", "never" or "gone", and how long the receiver wants to be left alone;
// "" for nil.
func ClassOf(err error) (string, time.Duration) {
	if err == nil {
		return "", 0
	}
	c, after := classify(err)
	return [...]string{again: "again", never: "never", gone: "gone"}[c], after
}

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 24 * time.Hour

// Status classifies an HTTP answer as Standard Webhooks does: any 2xx is success, 410 means the endpoint is gone, redirects
// are not followed, and the rest is tried again, since a receiver that is set up wrong is put right within days; only answers
// that judge the request itself are final. retryAfter is the header of that name, seconds or a date.
func Status(code int, retryAfter string, now time.Time) error {
	err := fmt.Errorf("the receiver answered %d %s", code, http.StatusText(code))
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusGone:
		return Gone(err)
	case code < 400:
		return Never(fmt.Errorf("%w: redirects are not followed", err))
	}
	switch code {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusRequestHeaderFieldsTooLarge, http.StatusNotImplemented:
		return Never(err)
	}
	return Again(err, parseRetryAfter(retryAfter, now))
}

func parseRetryAfter(s string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// Transport classifies the error of a call that got no answer. A *egress.Refused, or anything else that says so with a
// method Permanent, is final; the rest may pass. The result names the channel and holds no address, nothing we sent and
// nothing the receiver sent: url.Error quotes the whole URL, and what is malformed is quoted too and may be our own token echoed.
func Transport(channel string, err error) error {
	var u *url.Error
	for errors.As(err, &u) && u.Err != nil {
		err = u.Err
	}
	var p interface{ Permanent() bool }
	if errors.As(err, &p) && p.Permanent() {
		return Never(fmt.Errorf("%s: %w", channel, err))
	}
	return Again(&told{channel + ": " + say(err), err}, 0)
}

// told is an error with a text of ours in the place of its own.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }

func (t *told) Unwrap() error { return t.err }

// say puts the failure of a connection into words that people may read.
func say(err error) string {
	var (
		timeout net.Error
		dns     *net.DNSError
		dial    *net.OpError
		expired x509.CertificateInvalidError
		name    x509.HostnameError
		signer  x509.UnknownAuthorityError
		errno   syscall.Errno
	)
	switch {
	case errors.As(err, &dns):
		return "the receiver's name does not resolve"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the receiver did not answer in time"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return "the receiver's certificate has expired or is not yet valid"
	case errors.As(err, &name):
		return "the receiver's certificate is for another name"
	case errors.As(err, &signer):
		return "the receiver's certificate is not of an authority that is trusted"
	case errors.As(err, &errno):
		return "no connection: " + errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &dial):
		return "the receiver broke the connection off"
	default:
		return "the receiver does not speak the protocol"
	}
}
