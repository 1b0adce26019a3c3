// Package secret reads the values that payloads refer to: variables of the worker's
// environment and files beside it, and of these only what its operator has named; and
// files of secrets, such as keys and passwords, that a command is given.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"unicode/utf8"
)

// maxFile is the largest value, in bytes.
const maxFile = 64 << 10

var variableRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Store is what may be referred to.
type Store struct {
	variables []string
	files     []string // patterns as of filepath.Match
}

// New returns a Store of these variables and files; a file may be a pattern, whose * does
// not match a slash. It reports all that is wrong.
func New(variables, files []string) (*Store, error) {
	var errs []error
	for _, name := range variables {
		if !variableRE.MatchString(name) {
			errs = append(errs, fmt.Errorf("--allow-env %q: is no variable's name", name))
		}
	}
	for _, pattern := range files {
		_, err := filepath.Match(pattern, "")
		if err != nil || !filepath.IsAbs(pattern) || pattern != filepath.Clean(pattern) {
			errs = append(errs, fmt.Errorf("--allow-file %q: must be an absolute path or pattern, as /run/secrets/*", pattern))
		}
	}
	return &Store{variables, files}, errors.Join(errs...)
}

// Env is the value of a variable.
func (s *Store) Env(name string) (string, error) {
	if !slices.Contains(s.variables, name) {
		return "", errors.New("is not allowed here; start the worker with --allow-env and its name")
	}
	value, ok := os.LookupEnv(name)
	if !ok {
		return "", errors.New("is not set in the worker's environment")
	}
	return checked([]byte(value))
}

// File is the content of a file, without the end of its last line.
func (s *Store) File(path string) (string, error) {
	matches := func(pattern string) bool { ok, _ := filepath.Match(pattern, path); return ok }
	if path != filepath.Clean(path) || !slices.ContainsFunc(s.files, matches) {
		return "", errors.New("is not allowed here; start the worker with --allow-file and its path")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold us
	if err != nil {
		return "", fmt.Errorf("cannot be read on the worker: %w", errors.Unwrap(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.New("is no regular file on the worker")
	}
	value, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", errors.New("cannot be read on the worker")
	}
	value = bytes.TrimSuffix(value, []byte("\n"))
	return checked(bytes.TrimSuffix(value, []byte("\r")))
}

func checked(value []byte) (string, error) {
	switch {
	case len(value) > maxFile:
		return "", fmt.Errorf("is larger than %d bytes", maxFile)
	case !utf8.Valid(value):
		return "", errors.New("is not UTF-8 text")
	}
	return string(value), nil
}
