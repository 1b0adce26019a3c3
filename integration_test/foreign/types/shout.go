// Package types holds a task type of one's own, known to worker and producer.
package types

import (
	"context"
	"strings"
	"time"

	"github.com/weir-tasks/weir/tasks"
)

// Text is the payload and the result.
type Text struct {
	Text string `json:"text" validate:"required" weir:"line"`
}

// Shout makes a text loud.
var Shout = tasks.Define("shout", tasks.Policy{Timeout: 5 * time.Second, Retries: 2},
	func(_ context.Context, in Text) (Text, error) {
		return Text{strings.ToUpper(in.Text) + "!"}, nil
	})
