package system

import (
	"errors"
	"io"
	"time"
)

// LastWords is how long somebody who has closed a stream is given to say why.
const LastWords = 2 * time.Second

// cutError is the end of a stream where there must be more of it.
type cutError struct{}

func (cutError) Error() string { return "it was closed before its end" }

func (cutError) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// NoEOF keeps the end of something that is not complete from looking like its proper end.
func NoEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cutError{}
	}
	return err
}

// Text is what an error says; of none, nothing.
func Text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
