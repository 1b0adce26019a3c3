package work

import (
	"fmt"
	"log/slog"
	"strings"
)

// asynqLog passes asynq's log lines on. Its Info is a worker's own life, which
// weir reports in its words; so one level less.
type asynqLog struct{ log *slog.Logger }

func (a asynqLog) Debug(args ...any) {}
func (a asynqLog) Info(args ...any)  { a.log.Debug(text(args)) }
func (a asynqLog) Warn(args ...any)  { a.log.Debug(text(args)) }
func (a asynqLog) Error(args ...any) { a.log.Warn(text(args)) }
func (a asynqLog) Fatal(args ...any) { a.log.Error(text(args)) }

func text(args []any) string { return "asynq: " + strings.TrimSpace(fmt.Sprint(args...)) }
