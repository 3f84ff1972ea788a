//go:build !unix

package gateway

import "syscall"

// smallReceive leaves the socket as it is: the test takes longer.
func smallReceive(_, _ string, _ syscall.RawConn) error { return nil }
