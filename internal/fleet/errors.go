package fleet

import (
	"errors"
	"fmt"
)

// Code is the machine-readable part of an error; edges translate it once (HTTP status, MQTT reason code, exit code).
type Code string

// The codes.
const (
	CodeInvalid   Code = "invalid"   // the caller's input is wrong
	CodeNotFound  Code = "not_found" // or not yours to see
	CodeConflict  Code = "conflict"  // somebody else changed it first: load again and decide again
	CodeDenied    Code = "denied"
	CodeBusy      Code = "busy" // try again later
	CodeInternal  Code = "internal"
	CodeDuplicate Code = "duplicate" // it exists already, exactly so: nothing was changed
)

// Error carries a code, and an error whose text is a sentence for people.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; %w in the format keeps the cause.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// CodeOf returns the code of the first Error in the chain, CodeInternal if there is none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
