package secret

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Read reads a file of secrets, of at most 64 KiB. It fails for a file that others than
// its owner and group may read, or others than its owner write. No error has a piece
// of what is in it.
func Read(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold us
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no regular file", path)
	case info.Mode().Perm()&0o027 != 0:
		return "", fmt.Errorf("%s has mode %04o: others may read or write it; chmod 600 %s (of a Kubernetes secret, defaultMode: 0440)", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxFile {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return string(text), nil
}
