package report

import (
	"fmt"
	"strings"
	"time"
)

// plainLine is a batch's progress where there is no terminal.
func plainLine(c Counts, s *speed) string {
	var parts []string
	if c.Total >= 0 {
		parts = append(parts, fmt.Sprintf("%d/%d done (%s)", c.Done(), c.Total, percent(c.Done(), c.Total)))
	} else {
		parts = append(parts, fmt.Sprintf("%d done", c.Done()), fmt.Sprintf("%d read", c.Read))
	}
	if v, ok := s.perSecond(); ok {
		parts = append(parts, perSecond(v))
	}
	parts = append(parts, fmt.Sprintf("in flight %d", c.Active), fmt.Sprintf("ok %d", c.OK), fmt.Sprintf("failed %d", c.Failed))
	if c.Cancelled > 0 {
		parts = append(parts, fmt.Sprintf("cancelled %d", c.Cancelled))
	}
	parts = append(parts, fmt.Sprintf("retries %d", c.Retries))
	if d, ok := s.eta(c); ok {
		parts = append(parts, "eta "+coarse(d))
	}
	return strings.Join(parts, ", ")
}

// percent rounds down: 100.0% means all of them.
func percent(n, of int64) string {
	if of <= 0 {
		return "100.0%"
	}
	tenths := n * 1000 / of
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}

// perSecond is a rate with three digits that mean something.
func perSecond(v float64) string {
	switch {
	case v == 0:
		return "0/s"
	case v < 1:
		return fmt.Sprintf("%.2f/s", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f/s", v)
	}
	return fmt.Sprintf("%.0f/s", v)
}

// coarse is a duration in its two largest units.
func coarse(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
}
