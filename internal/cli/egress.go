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
	AllowNet []string `help:"Network or address that http and ping tasks may reach whatever --egress says; may be repeated." placeholder:"CIDR"`
	DenyNet  []string `help:"Network or address that they may not reach, whatever else says so; may be repeated." placeholder:"CIDR"`
}

// Restrict puts the flags into a worker's options, and reports all that is wrong.
func (n *Networks) Restrict(o *work.Options, mode string) error {
	var errAllow, errDeny error
	o.Egress = egress.Mode(mode)
	o.AllowNet, errAllow = networks("--allow-net", n.AllowNet)
	o.DenyNet, errDeny = networks("--deny-net", n.DenyNet)
	return errors.Join(errAllow, errDeny)
}

func networks(flag string, texts []string) ([]netip.Prefix, error) {
	parsed, err := egress.ParseNetworks(texts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return parsed, nil
}
