// Package types holds a task type of one's own, known to worker and producer.
package types

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/weir-tasks/weir/tasks"
)

// Text is both payload and result.
type Text struct {
	Text string `json:"text" validate:"required,max=100" weir:"line" doc:"what to shout"`
}

// Shout makes a text loud.
var Shout = tasks.Define("shout", tasks.Policy{Timeout: 5 * time.Second, Retries: 2}, shout)

func shout(_ context.Context, in Text) (Text, error) {
	if !strings.ContainsFunc(in.Text, unicode.IsLetter) {
		return Text{}, tasks.Permanent(errors.New("nothing to shout"))
	}
	return Text{strings.ToUpper(in.Text) + "!"}, nil
}
