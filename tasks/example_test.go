package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-tasks/weir/tasks"
)

// Greet is a task type of a program's own: one file like this one.
var Greet = tasks.Define("greet", tasks.Policy{Timeout: time.Second, Retries: 5}, greet)

type GreetPayload struct {
	Name  string `json:"name" weir:"line" validate:"required,max=20" doc:"whom to greet"`
	Times int    `json:"times,omitzero" validate:"gte=1,lte=3"`
}

type GreetResult struct {
	Text string `json:"text"`
}

// Defaults fills in what a payload leaves out.
func (p *GreetPayload) Defaults() { p.Times = 1 }

func greet(_ context.Context, p GreetPayload) (GreetResult, error) {
	if p.Name == "nobody" {
		return GreetResult{}, tasks.Permanent(errors.New("nobody is there"))
	}
	return GreetResult{Text: strings.Repeat("Hello, "+p.Name+"! ", p.Times)}, nil
}

func ExampleDefine() {
	for _, line := range []string{"Ada", `{"name":"Bob","times":2}`, `{"name":"Eve","times":0}`, `{"nam":"Zoe"}`, "nobody"} {
		payload, err := Greet.Type().FromLine(line)
		if err != nil {
			fmt.Println(err)
			continue
		}
		result, err := Greet.Type().Run(context.Background(), payload)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(string(result))
	}
	// Output:
	// {"text":"Hello, Ada! "}
	// {"text":"Hello, Bob! Hello, Bob! "}
	// field "times": must be 1 or greater
	// field "nam": unknown field
	// nobody is there
}
