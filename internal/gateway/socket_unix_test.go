//go:build unix

package gateway

import "syscall"

// smallReceive gives a socket that is not connected yet a small receive buffer.
func smallReceive(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
}
