package cli

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weir-tasks/weir/internal/egress"
	"github.com/weir-tasks/weir/internal/work"
)

// Networks are the flags of what runs http and ping tasks.
type Networks struct {
	AllowNet     []string `help:"Network or address that http and ping tasks may reach whatever --egress says; may be repeated." placeholder:"CIDR"`
	DenyNet      []string `help:"Network or address that they may not reach, whatever else says so; may be repeated." placeholder:"CIDR"`
	AllowPort    []string `help:"Port that http tasks may use with --egress public, besides 80 and 443; may be repeated. What --allow-net has may be reached at any." placeholder:"PORT"`
	MaxRedirects int      `help:"Redirects that one http request follows, from 1 to 10." default:"3"`
}

// Restrict puts the flags into a worker's options, and reports all that is wrong.
func (n *Networks) Restrict(o *work.Options, mode string) error {
	var errAllow, errDeny, errPort, errRedirects error
	o.Egress = egress.Mode(mode)
	o.AllowNet, errAllow = networks("--allow-net", n.AllowNet)
	o.DenyNet, errDeny = networks("--deny-net", n.DenyNet)
	if o.AllowPorts, errPort = egress.ParsePorts(n.AllowPort); errPort != nil {
		errPort = fmt.Errorf("--allow-port: %w", errPort)
	}
	if o.MaxRedirects = n.MaxRedirects; o.MaxRedirects < 1 || o.MaxRedirects > 10 {
		errRedirects = fmt.Errorf("--max-redirects %d: must be from 1 to 10; a task that is to follow none expects 3xx", o.MaxRedirects)
	}
	return errors.Join(errAllow, errDeny, errPort, errRedirects)
}

func networks(flag string, texts []string) ([]netip.Prefix, error) {
	parsed, err := egress.ParseNetworks(texts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return parsed, nil
}
