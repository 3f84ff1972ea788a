package main

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end the child when this process is killed without a chance to do so itself.
func endWithParent(child *exec.Cmd) {
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
