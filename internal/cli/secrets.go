package cli

import (
	"github.com/weir-tasks/weir/internal/secret"
	"github.com/weir-tasks/weir/internal/work"
)

// Secrets are the flags of what payloads may refer to.
type Secrets struct {
	AllowEnv  []string `help:"Variable of this process' environment that payloads may refer to as {\"$$env\": \"NAME\"}; may be repeated." placeholder:"NAME"`
	AllowFile []string `help:"File, or a pattern of files, that payloads may refer to as {\"$$file\": \"/PATH\"}; may be repeated." placeholder:"/PATH"`
}

// Reveal puts the flags into a worker's options, and reports all that is wrong.
func (s *Secrets) Reveal(o *work.Options) error {
	o.AllowEnv, o.AllowFiles = s.AllowEnv, s.AllowFile
	_, err := secret.New(s.AllowEnv, s.AllowFile)
	return err
}
