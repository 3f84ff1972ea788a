//go:build !unix

package gateway

import "syscall"

// rawWriter is not available here: every write of acknowledgements takes the slower way through a goroutine.
type rawWriter struct{}

func newRawWriter(syscall.Conn) *rawWriter { return nil }

func (*rawWriter) write([]byte) (int, error) { return 0, nil }

// rawReader is not available here: a connection waits with one byte of buffer instead of none.
type rawReader struct{}

func newRawReader(*framer, syscall.Conn) *rawReader { return nil }

func (*rawReader) read(*framer) error { return nil }
